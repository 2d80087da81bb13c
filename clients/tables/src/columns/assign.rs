//! The map's rules, one after the other, held against the type.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use records::Schema;
use sources::nearest;
use toml::Spanned;

use super::super::dates::{Dates, Years};
use super::super::fields::{Kind, Leaf, NoField, Step, dotted, no_field};
use super::super::map::{FieldRule, Map, Rule, Rules, Scalar};
use super::super::translate::{Numbers, Rest, Translation, write_value};
use super::{Fill, Origin, SAME, trimmed};

/// No number of a record is longer.
const MAX_PAD: usize = 64;

/// The work of assigning.
pub(super) struct Assign<'a> {
    pub(super) schema: &'a Schema,
    pub(super) headers: &'a [String],
    pub(super) map: &'a Map,
    pub(super) zone: Option<TimeZone>,
    pub(super) numbers: Numbers,
    pub(super) fills: Vec<Fill>,
}

impl Assign<'_> {
    /// The fields that are made of several columns or of none; returns the columns that were used.
    pub(super) fn fields(&mut self) -> Result<BTreeSet<usize>, String> {
        let map = self.map;
        // What is not there is left out already.
        let is_needed = |rules: &Spanned<Rules>| !rules.get_ref().0.iter().all(Rule::is_only_drop);
        for (header, rules) in map.columns.iter().filter(|(_, rules)| is_needed(rules)) {
            self.position(header, rules)?;
        }
        let mut used = BTreeSet::new();
        for (field, said) in &map.fields {
            let wrong = |problem: &str| map.wrong(said, &format!("{field}: {problem}"));
            let leaf = self.leaf(field, said)?;
            match said.get_ref() {
                FieldRule::Constant(text) => {
                    if text.is_empty() {
                        return Err(wrong("an empty constant is no value"));
                    }
                    self.check_value(&leaf, text).map_err(|problem| map.wrong(said, &problem))?;
                    let (from, translation) = (Origin::Constant(text.clone()), Translation::default());
                    self.fills.push(Fill { column: None, from, leaf, translation, is_mapped: true, only_with: None });
                }
                FieldRule::Made(rule) => {
                    if rule.to.is_some() || rule.split.is_some() || rule.when.is_some() || rule.drop.is_some() {
                        return Err(wrong("to, split, when and drop are for columns"));
                    }
                    let (names, is_joined) = match (&rule.join, &rule.first_of) {
                        (Some(join), None) if !join.is_empty() => (join, true),
                        (None, Some(first_of)) if !first_of.is_empty() => (first_of, false),
                        _ => return Err(wrong("join, or firstOf, must name the columns that it is made of")),
                    };
                    let with = rule.with.clone().unwrap_or_default();
                    let is_hash_of_several = is_joined && rule.hash == Some(true) && names.len() > 1;
                    check(&[
                        (!is_joined && (rule.with.is_some() || rule.all.is_some()), "with and all are for join"),
                        (
                            is_hash_of_several && with.is_empty(),
                            "hash of several columns needs with, or different records get one id",
                        ),
                        (is_joined && rule.trim.is_some(), "trim is for columns: what is joined is always trimmed"),
                    ])
                    .map_err(wrong)?;
                    let columns =
                        names.iter().map(|header| self.position(header, said)).collect::<Result<Vec<_>, _>>()?;
                    used.extend(columns.iter().copied());
                    let translation = self.translation(rule, &leaf).map_err(|problem| wrong(&problem))?;
                    let (from, between) = if is_joined {
                        (Origin::Join { columns, with, all: rule.all.unwrap_or(false) }, " + ")
                    } else {
                        (Origin::FirstOf(columns), " or ")
                    };
                    let column = Some(names.join(between));
                    let only_with = self.only_with(rule, &leaf, said)?;
                    self.fills.push(Fill { column, from, leaf, translation, is_mapped: true, only_with });
                }
            }
        }
        Ok(used)
    }

    /// Where a column that the map names stands in the file.
    fn position<T>(&self, header: &str, said: &Spanned<T>) -> Result<usize, String> {
        if let Some(at) = self.headers.iter().position(|known| known == header) {
            return Ok(at);
        }
        let near = nearest(header, self.headers.iter().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        Err(self.map.wrong(said, &format!("the map's column \"{header}\" is not in the file{hint}")))
    }

    /// The field that a map names. It must be one, whatever is done with unknown columns.
    fn leaf<T>(&self, to: &str, said: &Spanned<T>) -> Result<Leaf, String> {
        Leaf::resolve(self.schema, to).map_err(|reason| match reason {
            NoField::Unknown => self.map.wrong(said, &no_field(self.schema, to)),
            NoField::Because(reason) => self.map.wrong(said, &reason),
        })
    }

    /// A column that no rule is for.
    pub(super) fn plain(&mut self, at: usize, header: &str, leaf: Leaf) {
        let (trim, numbers) = (self.map.settings.trim.unwrap_or(true), self.numbers);
        let translation = Translation { trim, numbers, ..Translation::default() };
        let (column, from) = (Some(header.to_owned()), Origin::Column(at));
        self.fills.push(Fill { column, from, leaf, translation, is_mapped: false, only_with: None });
    }

    /// What the map says of a column.
    pub(super) fn column(&mut self, at: usize, header: &str, said: &Spanned<Rules>) -> Result<(), String> {
        let (map, Rules(rules)) = (self.map, said.get_ref());
        let wrong = |problem: &str| map.wrong(said, &format!("column \"{header}\": {problem}"));
        for rule in rules {
            if rule.join.is_some() || rule.with.is_some() || rule.all.is_some() || rule.first_of.is_some() {
                return Err(wrong("join, with, all and firstOf are for [fields]"));
            }
            if rule.drop.is_some() {
                return if rule.is_only_drop() && rules.len() == 1 {
                    Ok(())
                } else {
                    Err(wrong("drop stands alone, as { drop = true }"))
                };
            }
            let own = vec![header.to_owned()];
            let targets = rule.to.as_ref().map_or(&own, |targets| &targets.0);
            for (number, to) in targets.iter().enumerate() {
                if targets.iter().take(number).any(|earlier| earlier == to) {
                    return Err(wrong(&format!("to names {to} twice")));
                }
                let leaf = self.leaf(to, said).map_err(|problem| match rule.to {
                    Some(_) => problem,
                    None => format!("{problem}; name the field with to, or drop the column"),
                })?;
                let mut translation = self.translation(rule, &leaf).map_err(|problem| wrong(&problem))?;
                if rules.iter().all(|other| other.when == rule.when) {
                    translation.rest = Rest::Refused;
                }
                let from = match &rule.split {
                    Some(separator) if separator.is_empty() => {
                        return Err(wrong("split must name what stands between the pieces"));
                    }
                    Some(separator) => {
                        Origin::Piece { column: at, separator: separator.clone(), at: number, of: targets.len() }
                    }
                    None => Origin::Column(at),
                };
                let only_with = self.only_with(rule, &leaf, said)?;
                let column = Some(header.to_owned());
                self.fills.push(Fill { column, from, leaf, translation, is_mapped: true, only_with });
            }
        }
        Ok(())
    }

    /// The field without which a rule gives no value to another.
    fn only_with<T>(&self, rule: &Rule, leaf: &Leaf, said: &Spanned<T>) -> Result<Option<Vec<Step>>, String> {
        let Some(field) = &rule.only_with else { return Ok(None) };
        let path = self.leaf(field, said)?.path;
        if path == leaf.path {
            return Err(self.map.wrong(said, &format!("onlyWith: {field} is the field itself")));
        }
        Ok(Some(path))
    }

    /// What becomes of a text, checked against the field.
    fn translation(&self, rule: &Rule, leaf: &Leaf) -> Result<Translation, String> {
        let formats = match (&rule.format, &rule.formats) {
            (Some(_), Some(_)) => return Err("format and formats are two names for one thing".to_owned()),
            (Some(format), None) => vec![format.clone()],
            (None, Some(formats)) if formats.is_empty() => return Err("formats must name at least one".to_owned()),
            (None, formats) => formats.clone().unwrap_or_default(),
        };
        let years = match (rule.century, rule.pivot) {
            (Some(_), Some(_)) => return Err("century and pivot exclude each other".to_owned()),
            (Some(century), None) if century % 100 == 0 && (1800..=2000).contains(&century) => {
                Some(Years::Century(century))
            }
            (Some(_), None) => return Err("century must be 1800, 1900 or 2000".to_owned()),
            (None, Some(pivot)) if pivot < 100 => Some(Years::Pivot(pivot)),
            (None, Some(_)) => return Err("pivot must be a year of two digits, 0 to 99".to_owned()),
            (None, None) => None,
        };
        let hash = rule.hash.unwrap_or(false);
        let numbers = Numbers {
            decimal: rule.decimal.or(self.numbers.decimal),
            thousands: rule.thousands.or(self.numbers.thousands),
        };
        let (is_text, is_date) = (leaf.kind == Kind::Text, !formats.is_empty());
        let is_of_numbers = matches!(leaf.kind, Kind::Integer | Kind::Number) || rule.when.is_some();
        check(&[
            (years.is_some() && !is_date, "century and pivot are for a format with years of two digits (%y)"),
            (rule.values.is_some() && is_date, "values and format exclude each other"),
            (
                rule.values.is_none() && (rule.otherwise.is_some() || rule.ignore_case.is_some()),
                "otherwise and ignoreCase are for values",
            ),
            (
                !is_text && (rule.prefix.is_some() || hash || is_date),
                "prefix, hash and format are for text, and the field is none",
            ),
            (numbers.contradicts_itself(), SAME),
            (
                !is_of_numbers && (rule.decimal.is_some() || rule.thousands.is_some()),
                "decimal and thousands are for numbers, and for when",
            ),
            (
                rule.trim == Some(false) && (!is_text || is_date),
                "trim = false is for texts: numbers, true and false, and dates are read without blanks",
            ),
            (rule.pad.is_some() && (!is_text || is_date), "pad is for digits in a text"),
        ])?;
        if rule.pad.is_some_and(|pad| !(1..=MAX_PAD).contains(&pad)) {
            return Err(format!("pad must be 1 to {MAX_PAD}"));
        }
        let translation = Translation {
            trim: rule.trim.or(self.map.settings.trim).unwrap_or(true),
            when: rule.when,
            rest: Rest::Empty,
            values: rule
                .values
                .as_ref()
                .map(|values| values.iter().map(|(from, Scalar(to))| (from.clone(), to.clone())).collect()),
            ignore_case: rule.ignore_case.unwrap_or(false),
            otherwise: rule.otherwise.as_ref().map(|Scalar(to)| to.clone()),
            dates: is_date.then(|| Dates::parse(&formats, leaf.format, years, self.zone.as_ref())).transpose()?,
            prefix: rule.prefix.clone(),
            hash,
            nulls: trimmed(rule.nulls.as_deref().unwrap_or_default())?,
            numbers,
            pad: rule.pad.unwrap_or(0),
        };
        translation.check_values()?;
        if !hash {
            for text in translation.targets() {
                self.check_value(leaf, &format!("{}{text}", translation.prefix.as_deref().unwrap_or_default()))?;
            }
        }
        Ok(translation)
    }

    /// Whether the type takes a value that the map itself names.
    fn check_value(&self, leaf: &Leaf, text: &str) -> Result<(), String> {
        let mut value = Vec::new();
        if let Some(rule) = write_value(leaf.kind, Numbers::default(), text, &mut value) {
            return Err(format!("{}: {rule}", dotted(&leaf.path)));
        }
        let (mut record, mut pointer) = (String::from_utf8_lossy(&value).into_owned(), String::new());
        for step in leaf.path.iter().rev() {
            (record, pointer) = match step {
                // The type's own name: there is nothing in it to escape.
                Step::Member(name) => (format!("{{\"{name}\":{record}}}"), format!("/{name}{pointer}")),
                Step::Item(_) => (format!("[{record}]"), format!("/0{pointer}")),
            };
        }
        let violations = self.schema.scan(record.as_bytes()).err().unwrap_or_default();
        match violations.into_iter().find(|violation| violation.path == pointer) {
            // The map's own value: it is no patient's.
            Some(violation) => Err(format!("{}, and the map says \"{text}\"", violation.message)),
            None => Ok(()),
        }
    }
}

/// An error for the first of these problems that there is.
fn check<'a>(problems: &[(bool, &'a str)]) -> Result<(), &'a str> {
    match problems.iter().find(|(is_there, _)| *is_there) {
        Some((_, problem)) => Err(*problem),
        None => Ok(()),
    }
}
