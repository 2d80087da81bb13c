//! The fields of a type, by their paths: what a cell can fill, and what is meant by a path that is none.

use std::fmt::Write;

use records::{Schema, ValueRule};

use crate::headings::nearest_field;

/// The most items that a column may name in an array.
const MAX_INDEX: usize = 999;

/// What a cell's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

/// One step of a path into a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Item(usize),
}

/// A field that a cell can fill.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub path: Vec<Step>,
    pub kind: Kind,
    /// `date`, `date-time` or `time`, where it is one.
    pub format: Option<&'static str>,
}

/// Why a path is no field that a cell can fill.
pub(super) enum NoField {
    Unknown,
    Because(String),
}

impl Leaf {
    /// A member that the type does not define.
    pub(super) fn unknown(name: &str) -> Self {
        Self { path: vec![Step::Member(name.to_owned())], kind: Kind::Text, format: None }
    }

    /// The field at a path.
    pub(super) fn resolve(schema: &Schema, to: &str) -> Result<Self, NoField> {
        if matches!(to, "id" | "resourceType") {
            return Ok(Self::unknown(to));
        }
        let path = steps(to).ok_or(NoField::Unknown)?;
        let rule = rule_of(schema, to, &path)?;
        match kind(rule) {
            Some(kind) => {
                let format = rule.format().or_else(|| named_date(&path).filter(|_| kind == Kind::Text));
                Ok(Self { path, kind, format })
            }
            None => Err(NoField::Because(needs_more(to, rule))),
        }
    }
}

/// What the value at a path may be.
fn rule_of<'a>(schema: &'a Schema, to: &str, path: &[Step]) -> Result<&'a ValueRule, NoField> {
    let mut rule: Option<&ValueRule> = None;
    for step in path {
        let next = match (step, rule) {
            (Step::Member(name), Some(ValueRule { array: Some(_), string: None, .. })) => {
                return Err(NoField::Because(format!("{to}: an array needs an index, as {}[0]", before(to, name))));
            }
            (Step::Member(name), rule) => {
                let members = rule.map_or(schema.members(), ValueRule::members);
                members.iter().find(|member| member.name == *name).map(|member| &member.rule)
            }
            (Step::Item(index), Some(ValueRule { array: Some(array), .. })) => {
                if let Some(most) = array.max_items.filter(|most| index >= most) {
                    return Err(NoField::Because(format!("{to}: there are at most {most} items, counted from 0")));
                }
                Some(&*array.items)
            }
            (Step::Item(_), _) => None,
        };
        rule = Some(next.ok_or(NoField::Unknown)?);
    }
    rule.ok_or(NoField::Unknown)
}

/// The values that a field may have, if they are bounded.
pub(super) fn options<'a>(schema: &'a Schema, field: &str) -> Option<&'a [String]> {
    rule_of(schema, field, &steps(field)?).ok()?.options()
}

/// Some texts are dates by their names alone, as `onsetDateTime` of conditions.
fn named_date(path: &[Step]) -> Option<&'static str> {
    match path.last() {
        Some(Step::Member(name)) if name.ends_with("DateTime") || name.ends_with("Date") => Some("date-time"),
        _ => None,
    }
}

/// The steps of `contact[0].phone`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, mut indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Member(name.to_owned()));
        while !indices.is_empty() {
            let (index, rest) = indices.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Item(index.parse().ok().filter(|index| *index <= MAX_INDEX)?));
            indices = rest;
        }
    }
    Some(steps)
}

/// The part of a path before a member.
fn before<'a>(path: &'a str, name: &str) -> &'a str {
    path.find(&format!(".{name}")).and_then(|end| path.get(..end)).unwrap_or(path)
}

fn kind(rule: &ValueRule) -> Option<Kind> {
    match rule {
        ValueRule { string: Some(_), .. } => Some(Kind::Text),
        ValueRule { number: Some(number), .. } => Some(if number.integer { Kind::Integer } else { Kind::Number }),
        ValueRule { boolean: true, .. } => Some(Kind::Boolean),
        _ => None,
    }
}

fn needs_more(to: &str, rule: &ValueRule) -> String {
    let (kind, mut parts) = (rule.expected(), Vec::new());
    leaves(to.to_owned(), rule, &mut parts);
    match parts.first() {
        Some(part) => format!("{to} is an {kind}: name a part of it, as {part}"),
        None => format!("{to} is an {kind}, and no part of it is a field"),
    }
}

/// What is said of a path that is no field of the type.
pub(super) fn no_field(schema: &Schema, to: &str) -> String {
    match nearest_field(to, &all_columns(schema)) {
        Some(near) => format!("{to} is not a field of the type (did you mean {near}?)"),
        None => format!("{to} is not a field of the type"),
    }
}

/// Every column that a file of the type may have, the required ones first; of arrays the first item.
#[must_use]
pub fn all_columns(schema: &Schema) -> Vec<String> {
    let mut members: Vec<_> = schema.members().iter().collect();
    members.sort_by_key(|member| !member.required);
    let mut all = vec!["id".to_owned()];
    for member in members {
        leaves(member.name.clone(), &member.rule, &mut all);
    }
    all
}

fn leaves(path: String, rule: &ValueRule, all: &mut Vec<String>) {
    if kind(rule).is_some() {
        all.push(path);
    } else if let Some(items) = rule.items() {
        leaves(format!("{path}[0]"), items, all);
    } else {
        for member in rule.members() {
            leaves(format!("{path}.{}", member.name), &member.rule, all);
        }
    }
}

/// A path for people: `contact[0].phone`.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut dotted = String::new();
    for step in path {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Member(name) if dotted.is_empty() => write!(dotted, "{name}"),
            Step::Member(name) => write!(dotted, ".{name}"),
            Step::Item(index) => write!(dotted, "[{index}]"),
        };
    }
    dotted
}
