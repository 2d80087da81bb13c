//! A map to begin with: which column is likely which field, and why. It shows no cell that could be a person's.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::io::Read;

use anyhow::Result;
use jiff::tz::TimeZone;
use records::{RecordId, ResourceType, Schema, Shape};

use super::dates::{Dates, Years};
use super::fields::{Leaf, all_columns};
use super::headers::check_headers;
use super::rows::Rows;
use super::translate::is_json_number;
use super::{VIOLATIONS_COLUMN, check_text};
use crate::names::{likeness, words};
use crate::unusable::unusable;

/// So many rows are looked at.
const ROWS: u64 = 100_000;
/// A column with more different values holds no codes.
const CODES: usize = 12;
/// A guess is worth making from here on.
const LEAST: f64 = 0.82;

/// How people write dates; those with two-digit years last.
const FORMATS: [&str; 24] = [
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y %H:%M",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%m/%d/%y %H:%M",
];

/// A guess that is worth more than a suggestion.
const SURE: f64 = 0.9;

/// Texts that stand for no value, in small letters.
const NULLS: [&str; 12] = ["n/a", "na", "#n/a", "null", "none", "nil", "-", "--", ".", "?", "00/00/0000", "0000-00-00"];

/// What a column's cells look like.
#[derive(Default)]
struct Look {
    filled: u64,
    /// Cells with just one comma, as names have them.
    commas: u64,
    /// What stands for no value.
    nulls: BTreeSet<String>,
    /// The different values, as long as they are few.
    values: BTreeSet<String>,
    has_many: bool,
    numbers: u64,
    /// Which of the formats every cell is written in.
    formats: Vec<usize>,
    /// Whether every cell could be an id, and no two are the same.
    ids: Option<HashSet<String>>,
}

/// Reads a table, and writes a map for records of a type.
pub fn draft_map(reader: impl Read, delimiter: Option<u8>, resource_type: ResourceType) -> Result<String> {
    let schema = resource_type.schema()?;
    let mut rows = Rows::new(reader, delimiter, 0)?;
    let Some(line) = rows.next_row()? else { return Err(unusable("the file has no header")) };
    check_text(&rows.cells, line, None)?;
    let mut headers: Vec<_> =
        (0..rows.cells.len()).map(|at| String::from_utf8_lossy(rows.cells.get(at)).trim().to_owned()).collect();
    while headers.len() > 1 && headers.last().is_some_and(String::is_empty) {
        headers.pop();
    }
    check_headers(&headers, &|_| false).map_err(unusable)?;
    let new = || Look { formats: (0..FORMATS.len()).collect(), ids: Some(HashSet::new()), ..Look::default() };
    let mut looks: Vec<_> = headers.iter().map(|_| new()).collect();
    let dates = all_formats();
    let mut count = 0;
    while count < ROWS
        && let Some(line) = rows.next_row()?
    {
        check_text(&rows.cells, line, Some(&headers))?;
        count += 1;
        for (at, look) in looks.iter_mut().enumerate() {
            look.see(String::from_utf8_lossy(rows.cells.get(at)).trim(), &dates);
        }
    }
    let guesses = guess(&schema, &headers, &looks);
    Ok(Draft { schema: &schema, headers: &headers, looks: &looks, guesses, count }.write())
}

/// Every format by itself; those that cannot tell a century or a zone only have to fit here.
fn all_formats() -> Vec<Option<Dates>> {
    let parse = |format: &&str| {
        let years = format.contains("%y").then_some(Years::Pivot(30));
        let kind = if format.contains("%H") || format.contains("%I") { "date-time" } else { "date" };
        Dates::parse(&[(*format).to_owned()], Some(kind), years, Some(&TimeZone::UTC)).ok()
    };
    FORMATS.iter().map(parse).collect()
}

impl Look {
    fn see(&mut self, cell: &str, dates: &[Option<Dates>]) {
        if cell.is_empty() {
            return;
        }
        if NULLS.contains(&cell.to_lowercase().as_str()) {
            self.nulls.insert(cell.to_owned());
            return;
        }
        self.filled += 1;
        self.commas += u64::from(cell.matches(',').count() == 1);
        self.numbers += u64::from(is_json_number(cell));
        if self.values.len() <= CODES {
            self.values.insert(cell.to_owned());
            self.has_many = self.values.len() > CODES;
        }
        self.formats.retain(|format| matches!(dates.get(*format), Some(Some(dates)) if dates.convert(cell).is_ok()));
        if let Some(ids) = &mut self.ids
            && (RecordId::try_from(cell.to_owned()).is_err() || !ids.insert(cell.to_owned()))
        {
            self.ids = None;
        }
    }

    fn formats(&self) -> Vec<&'static str> {
        if self.filled == 0 {
            return Vec::new();
        }
        self.formats.iter().filter_map(|format| FORMATS.get(*format).copied()).collect()
    }

    fn could_be_id(&self) -> bool {
        self.filled > 0 && self.ids.is_some()
    }
}

/// The field for each column, the likeliest pairs first; each field once.
fn guess(schema: &Schema, headers: &[String], looks: &[Look]) -> Vec<Option<(String, f64)>> {
    let fields = all_columns(schema);
    let of_type = words(schema.resource_type().as_str());
    let mut pairs = Vec::new();
    for (column, (header, look)) in headers.iter().zip(looks).enumerate() {
        let heading = words(header);
        for (at, field) in fields.iter().enumerate() {
            let mut like = if field == "id" { of_id(&heading, &of_type, look) } else { likeness(&heading, field) };
            // Cells that are all dates say more than a name.
            let is_date =
                Leaf::resolve(schema, field).is_ok_and(|leaf| matches!(leaf.format, Some("date" | "date-time")));
            if look.filled > 0 && is_date == look.formats().is_empty() {
                like -= 0.15;
            }
            if like > LEAST {
                pairs.push((like, column, at));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
    let mut guesses = vec![None; headers.len()];
    let mut taken = HashSet::new();
    for (like, column, field) in pairs {
        if let Some(guess) = guesses.get_mut(column).filter(|guess| guess.is_none())
            && taken.insert(field)
        {
            *guess = fields.get(field).map(|field| (field.clone(), like));
        }
    }
    guesses
}

/// How like a heading is to the record's own id: `ID`, `MRN` of patients, `Patient ID` in a file of patients.
fn of_id(heading: &[String], of_type: &[String], look: &Look) -> f64 {
    if heading == ["id"] {
        return 1.0;
    }
    if !look.could_be_id() {
        return 0.0;
    }
    let own = [of_type.concat(), "id".to_owned()].concat();
    match heading.concat().as_str() {
        "uuid" | "recordid" => 1.0,
        "mrn" if of_type == ["patient"] => 1.0,
        name if name == own => 0.99,
        _ => 0.0,
    }
}

/// What is known, on its way to a text.
struct Draft<'a> {
    schema: &'a Schema,
    headers: &'a [String],
    looks: &'a [Look],
    guesses: Vec<Option<(String, f64)>>,
    count: u64,
}

impl Draft<'_> {
    fn write(&self) -> String {
        let resource_type = self.schema.resource_type();
        let mut text = format!(
            "# Guessed from the header and {} rows. Check every line, then run: clinik-bulk validate {resource_type} FILE --map THIS\n\
             type = \"{resource_type}\"\n",
            self.count
        );
        let is_local = |at: &usize| {
            self.looks.get(*at).is_some_and(|look| look.formats().iter().any(|f| f.contains("%H") || f.contains("%I")))
        };
        if (0..self.headers.len()).any(|at| is_local(&at) && self.guesses.get(at).is_some_and(Option::is_some)) {
            text.push_str(
                "# Some times have no offset. Say where they were written down:\n# timezone = \"America/New_York\"\n",
            );
        }
        let nulls: BTreeSet<_> = self.looks.iter().flat_map(|look| &look.nulls).map(|null| key(null)).collect();
        if !nulls.is_empty() {
            let nulls: Vec<_> = nulls.into_iter().collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "nulls = [{}]", nulls.join(", "));
        }
        text.push_str("\n[columns]\n");
        for ((header, look), guess) in self.headers.iter().zip(self.looks).zip(&self.guesses) {
            if header == VIOLATIONS_COLUMN {
                continue;
            }
            // Writing to a String cannot fail.
            let _ = match guess {
                _ if self.is_whole_name(header, look) => writeln!(
                    text,
                    "{} = {{ split = \",\", to = [\"lastName\", \"firstName\"] }}  # every cell has one comma",
                    key(header)
                ),
                Some((field, like)) if *like < SURE => {
                    writeln!(text, "# perhaps: {}", self.line(header, look, field))
                }
                Some((field, _)) => writeln!(text, "{}", self.line(header, look, field)),
                None => {
                    writeln!(text, "# {} = {{ drop = true }}  # no field is like it: name one, or drop it", key(header))
                }
            };
        }
        self.unfilled(&mut text);
        text
    }

    /// Whether a column holds last and first names, and no other column does.
    fn is_whole_name(&self, header: &str, look: &Look) -> bool {
        let is_named = matches!(words(header).concat().as_str(), "name" | "fullname" | "patientname");
        let has = |name: &str| self.schema.members().any(|member| member.name() == name);
        let is_filled = |name: &str| self.guesses.iter().flatten().any(|(field, like)| field == name && *like >= SURE);
        let names = ["lastName", "firstName"];
        is_named
            && look.filled > 0
            && look.commas == look.filled
            && names.iter().all(|name| has(name) && !is_filled(name))
    }

    /// What a column most likely is.
    fn line(&self, header: &str, look: &Look, field: &str) -> String {
        let leaf = Leaf::resolve(self.schema, field).ok();
        let mut rule = format!("to = \"{field}\"");
        let mut why = format!("by its name; {} of {} rows have one", look.filled, self.count);
        if leaf.as_ref().is_some_and(|leaf| matches!(leaf.format, Some("date" | "date-time"))) {
            let mut formats = look.formats();
            // What the API reads itself needs no format.
            if look.filled > 0 && !formats.contains(&"%Y-%m-%d") {
                let is_date = leaf.is_some_and(|leaf| leaf.format == Some("date"));
                formats.retain(|format| !(is_date && formats_loses_time(format)));
                match formats[..] {
                    [] => why.push_str("; the cells are not all dates in one of the usual formats: add format = \"…\""),
                    [one] if one.contains("%y") => {
                        let _ = write!(
                            why,
                            "; every cell fits format = \"{one}\": add it, with the century: century = 1900, or pivot = 30"
                        );
                    }
                    [one] => {
                        let _ = write!(rule, ", format = \"{one}\"");
                        why.push_str("; every cell is such a date");
                    }
                    _ => {
                        let _ = write!(
                            why,
                            "; the file does not tell which is meant, add one: format = \"{}\"",
                            formats.join("\" or format = \"")
                        );
                    }
                }
            }
        } else if let Some(options) = options(self.schema, field) {
            self.codes(look, &options, &mut rule, &mut why);
        }
        let of_one = format!("to = \"{field}\"");
        let target = if rule == of_one { format!("\"{field}\"") } else { format!("{{ {rule} }}") };
        format!("{} = {target}  # {why}", key(header))
    }

    /// What codes stand for. A value that could be a name is not shown.
    #[expect(clippy::unused_self, reason = "a part of the draft")]
    fn codes(&self, look: &Look, options: &[String], rule: &mut String, why: &mut String) {
        if look.values.iter().all(|value| options.contains(value)) {
            return;
        }
        if look.has_many {
            why.push_str("; more different values than codes would have: add values = { … }");
            return;
        }
        let is_code = |value: &&String| {
            let is_short =
                value.chars().count() == 1 || (value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_digit()));
            is_short || meant(value, options).is_some()
        };
        let (shown, hidden): (Vec<_>, Vec<_>) = look.values.iter().partition(is_code);
        let (known, open): (Vec<_>, Vec<_>) = shown.into_iter().partition(|value| meant(value, options).is_some());
        if !known.is_empty() {
            let pairs =
                known.iter().filter_map(|value| Some(format!("{} = \"{}\"", key(value), meant(value, options)?)));
            let values = format!("values = {{ {} }}", pairs.collect::<Vec<_>>().join(", "));
            // Some codes alone say little: H beside M is no male.
            if open.is_empty() && hidden.is_empty() {
                let _ = write!(rule, ", {values}");
            } else {
                let _ = write!(why, "; perhaps {values}");
            }
        }
        if !open.is_empty() {
            let open: Vec<_> = open.into_iter().map(|value| key(value)).collect();
            let _ = write!(why, "; say what these stand for: {}", open.join(", "));
        }
        if !hidden.is_empty() {
            let _ = write!(why, "; {} values more are not shown here", hidden.len());
        }
        let _ = write!(why, "; the field takes {}", options.join(", "));
    }

    /// What every record needs, and no column fills.
    fn unfilled(&self, text: &mut String) {
        let is_filled = |name: &str| {
            let mut sure = self.guesses.iter().flatten().filter(|(_, like)| *like >= SURE);
            sure.any(|(field, _)| field.split(['.', '[']).next() == Some(name))
        };
        let open: Vec<_> =
            self.schema.members().filter(|member| member.is_required() && !is_filled(member.name())).collect();
        if open.is_empty() {
            return;
        }
        text.push_str("\n# Every record needs these, and no column fills them:\n# [fields]\n");
        for member in open {
            let options = member.shape().options().map(|options| format!("one of {}", options.join(", ")));
            let what = options.unwrap_or_else(|| member.shape().expected());
            let _ = writeln!(text, "# \"{}\" = \"…\"  # {what}", member.name());
        }
    }
}

fn formats_loses_time(format: &str) -> bool {
    (format.contains("%H") || format.contains("%I"))
        && FORMATS.iter().any(|other| format.starts_with(other) && *other != format)
}

/// The values that a field may have, if they are bounded.
fn options(schema: &Schema, field: &str) -> Option<Vec<String>> {
    let mut shape: Option<Shape<'_>> = None;
    for part in field.split('.') {
        let name = part.split('[').next()?;
        let member = match shape {
            None => schema.members().find(|member| member.name() == name),
            Some(shape) => shape.members()?.find(|member| member.name() == name),
        };
        let found = member?.shape();
        shape = if part.contains('[') { found.items() } else { Some(found) };
    }
    shape?.options().map(<[String]>::to_vec)
}

/// The option that a code stands for: the same but for its case, or the only one with that beginning.
fn meant<'a>(code: &str, options: &'a [String]) -> Option<&'a str> {
    let lower = code.to_lowercase();
    if let Some(same) = options.iter().find(|option| option.to_lowercase() == lower) {
        return Some(same);
    }
    let mut begin = options.iter().filter(|option| option.to_lowercase().starts_with(&lower));
    begin.next().filter(|_| begin.next().is_none()).map(String::as_str)
}

/// A name as TOML writes a key.
fn key(name: &str) -> String {
    // On one line, whatever is in it: JSON's escapes are TOML's, too.
    serde_json::Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> String {
        draft_map(text.as_bytes(), None, ResourceType::Patient).unwrap()
    }

    #[test]
    fn columns_are_guessed_by_name_and_by_what_their_cells_look_like() {
        let map = draft(
            "MRN;Last Name;FIRST;DOB;Sex;CITY;Shoe\n1;Doe;Jane;1/15/1990;F;Bonn;43\n2;Roe;Max;2/1/1985;M;Köln;44\n",
        );
        for line in [
            "\"MRN\" = \"id\"",
            "\"Last Name\" = \"lastName\"",
            "\"FIRST\" = \"firstName\"",
            "\"DOB\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }",
            "\"Sex\" = { to = \"gender\", values = { \"F\" = \"female\", \"M\" = \"male\" } }",
            "\"CITY\" = \"address.city\"",
            "# \"Shoe\" = { drop = true }",
        ] {
            assert!(map.contains(line), "{line}:\n{map}");
        }
    }

    #[test]
    fn what_the_file_does_not_tell_is_left_to_whoever_knows() {
        let map = draft("lastName,DOB\nDoe,1/2/1990\n");
        assert!(map.contains("format = \"%m/%d/%Y\" or format = \"%d/%m/%Y\""), "{map}");
        assert!(map.contains("# \"firstName\" = "), "{map}");
        assert!(draft("firstName,lastName,birthDate\nA,B,1/15/90\n").contains("century"));
    }

    #[test]
    fn no_cell_that_could_be_a_name_is_shown() {
        let map = draft("firstName,lastName,gender,email\nAnn,Xyzzy,Xyzzy,plugh\nBob,Xyzzy,F,plugh\n");
        assert!(!map.contains("Xyzzy") && !map.contains("Ann") && !map.contains("plugh"), "{map}");
        assert!(map.contains("\"F\" = \"female\"") && map.contains("1 values more are not shown"), "{map}");
    }
}
