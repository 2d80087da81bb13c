//! What becomes of a text before it fills a field.

use std::borrow::Cow;

use uuid::Uuid;

use super::dates::{Dates, NoDate};
use super::fields::Kind;
use super::map::When;

/// The namespace of ids that are hashes: RFC 9562's for object identifiers, so that others can compute them too.
const NAMESPACE: Uuid = Uuid::NAMESPACE_OID;

/// What becomes of a text: trimmed, looked up, read as a date, and put behind a prefix.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub trim: bool,
    pub when: Option<When>,
    /// What becomes of cells that `when` is not for.
    pub rest: Rest,
    pub values: Option<Vec<(String, String)>>,
    pub ignore_case: bool,
    pub otherwise: Option<String>,
    pub dates: Option<Dates>,
    pub prefix: Option<String>,
    pub hash: bool,
    /// Cells that are no value for this field, besides those that are none anywhere.
    pub nulls: Vec<String>,
    pub numbers: Numbers,
    /// Digits are filled up with zeros to so many.
    pub pad: usize,
}

/// How a file writes its numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub decimal: Option<char>,
    pub thousands: Option<char>,
}

impl Numbers {
    /// Whether one character stands for both.
    pub(super) fn contradicts_itself(self) -> bool {
        self.thousands.is_some_and(|thousands| thousands == self.decimal.unwrap_or('.'))
    }

    /// A number as JSON writes it; `None` for what is no number of this file.
    pub(super) fn read(self, text: &str) -> Option<Cow<'_, str>> {
        if self == Self::default() {
            return is_json_number(text).then_some(Cow::Borrowed(text));
        }
        let decimal = self.decimal.unwrap_or('.');
        let (whole, fraction) = text.split_once(decimal).unwrap_or((text, ""));
        // A point that is neither is of another notation.
        if decimal != '.' && self.thousands != Some('.') && text.contains('.') {
            return None;
        }
        let whole = match self.thousands {
            Some(thousands) if whole.contains(thousands) => {
                // Groups of three, but for the first: anything else is no thousands.
                let mut groups = whole.split(thousands);
                let first = groups.next().unwrap_or_default().trim_start_matches('-');
                let is_grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
                if !is_grouped {
                    return None;
                }
                whole.replace(thousands, "")
            }
            _ => whole.to_owned(),
        };
        let number = if text.contains(decimal) { format!("{whole}.{fraction}") } else { whole };
        is_json_number(&number).then_some(Cow::Owned(number))
    }
}

/// What becomes of cells that a rule is not for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Another rule is for them.
    #[default]
    Empty,
    /// No rule is.
    Refused,
}

/// What a text is for a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No value.
    Empty,
    /// How it writes numbers: a value that the map itself names as JSON does, a cell as its file.
    Filled(Numbers),
    /// It cannot be translated: the code, and the rule that it breaks.
    Refused(&'static str, String),
}

impl Translation {
    /// Translates a cell into `out`.
    pub(super) fn translate(&self, cell: &str, nulls: &[String], out: &mut String) -> Outcome {
        out.clear();
        let trimmed = cell.trim();
        let is_null = self.is_null(trimmed, nulls);
        let mut text = if self.trim { trimmed } else { cell };
        let mut is_named = false;
        match &self.values {
            // What is no value is what an empty cell is, unless it is listed itself.
            Some(values) => match (
                self.looked_up(values, trimmed).or_else(|| self.looked_up(values, "").filter(|_| is_null)),
                &self.otherwise,
            ) {
                (Some(to), _) => (text, is_named) = (to, true),
                (None, _) if is_null => return Outcome::Empty,
                (None, Some(otherwise)) => (text, is_named) = (otherwise, true),
                (None, None) => {
                    out.push_str(cell);
                    let known: Vec<_> =
                        values.iter().map(|(from, _)| from.as_str()).filter(|from| !from.is_empty()).collect();
                    return Outcome::Refused("unmapped", format!("Must be one of the map's {}", known.join(", ")));
                }
            },
            None if is_null => return Outcome::Empty,
            None => {}
        }
        if text.is_empty() {
            return Outcome::Empty;
        }
        if let Some(when) = self.when {
            let is_for = self.numbers.read(trimmed).is_some() == (when == When::Number);
            if !is_for && self.rest == Rest::Empty {
                return Outcome::Empty;
            }
            if !is_for {
                out.push_str(cell);
                let rule = match when {
                    When::Number => "Must be a number, or the map must say what becomes of text",
                    When::Text => "Must be text, or the map must say what becomes of numbers",
                };
                return Outcome::Refused("unmapped", rule.to_owned());
            }
        }
        let date;
        if let Some(dates) = &self.dates {
            match dates.convert(text.trim()) {
                Ok(converted) => date = converted,
                Err(refused) => {
                    out.push_str(cell);
                    return Outcome::Refused("format", match refused {
                        NoDate::Unknown => format!("Must be a real date as {}", dates.names()),
                        NoDate::Ambiguous => {
                            "Must be a local time that comes once: this one is skipped or comes twice when the clocks change".to_owned()
                        }
                    });
                }
            }
            text = &date;
        }
        out.push_str(self.prefix.as_deref().unwrap_or_default());
        if text.len() < self.pad && text.bytes().all(|byte| byte.is_ascii_digit()) {
            out.extend(std::iter::repeat_n('0', self.pad - text.len()));
        }
        out.push_str(text);
        if self.hash {
            let hashed = Uuid::new_v5(&NAMESPACE, out.as_bytes()).to_string();
            *out = hashed;
        }
        Outcome::Filled(if is_named { Numbers::default() } else { self.numbers })
    }

    /// Whether a cell is no value for this field.
    pub(super) fn is_null(&self, trimmed: &str, nulls: &[String]) -> bool {
        trimmed.is_empty() || nulls.iter().chain(&self.nulls).any(|null| null == trimmed)
    }

    fn looked_up<'a>(&self, values: &'a [(String, String)], text: &str) -> Option<&'a str> {
        let is_meant = |from: &str| from == text || (self.ignore_case && from.to_lowercase() == text.to_lowercase());
        values.iter().find(|(from, _)| is_meant(from)).map(|(_, to)| to.as_str())
    }

    /// With upper and lower case the same, two entries may say different things of one text.
    pub(super) fn check_values(&self) -> Result<(), String> {
        let values = self.values.as_deref().unwrap_or_default();
        for (at, (from, to)) in values.iter().enumerate() {
            if from.trim() != from {
                return Err(format!("values \"{from}\" has blanks around it, and cells are compared without"));
            }
            let twin = values.iter().take(at).find(|(other, _)| other.to_lowercase() == from.to_lowercase());
            if let Some((other, meant)) = twin.filter(|(_, meant)| self.ignore_case && meant != to) {
                return Err(format!(
                    "values \"{other}\" and \"{from}\" are the same with ignoreCase, and stand for \"{meant}\" and \"{to}\""
                ));
            }
        }
        Ok(())
    }

    /// The values that the map itself names.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        let values = self.values.iter().flatten().map(|(_, to)| to.as_str());
        values.chain(self.otherwise.as_deref()).filter(|text| !text.is_empty())
    }

    pub(super) fn uses_zone(&self) -> bool {
        self.dates.as_ref().is_some_and(Dates::use_zone)
    }
}

/// Whether a text looks like a number that somebody writes in another way: `1,5`, `1.234,5`, `+5`, `.5`, `007`.
pub(super) fn looks_like_number(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'\'' | b' ' | b'+' | b'-');
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().all(is_part) && !is_json_number(text)
}

/// Writes a field's value as JSON. A text that is none of its kind is written as it is, and the rule is returned.
pub(super) fn write_value(kind: Kind, numbers: Numbers, text: &str, out: &mut Vec<u8>) -> Option<&'static str> {
    let trimmed = text.trim();
    match kind {
        Kind::Text => write_string(text, out),
        Kind::Integer | Kind::Number => {
            let Some(read) = numbers.read(trimmed) else {
                write_string(text, out);
                return Some(if kind == Kind::Integer {
                    "Must be a whole number, as 42"
                } else if looks_like_number(trimmed) {
                    "Must be a number, as 1.5; a map's decimal and thousands say how the file writes numbers"
                } else {
                    "Must be a number, as 1.5"
                });
            };
            out.extend_from_slice(read.as_bytes());
        }
        Kind::Boolean => {
            let lower = trimmed.to_ascii_lowercase();
            if !matches!(lower.as_str(), "true" | "false") {
                write_string(text, out);
                return Some("Must be true or false; a map's values say what other texts stand for");
            }
            out.extend_from_slice(lower.as_bytes());
        }
    }
    None
}

/// Whether the text is a number as JSON writes it: `007`, `1,5` and `+1` are none.
pub(super) fn is_json_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Writes a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a string always serialises.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(translation: &Translation, cell: &str) -> (Outcome, String) {
        let mut out = String::new();
        let outcome = translation.translate(cell, &["n/a".to_owned()], &mut out);
        (outcome, out)
    }

    fn filled(text: &str) -> (Outcome, String) {
        (Outcome::Filled(Numbers::default()), text.to_owned())
    }

    #[test]
    fn what_is_no_value_is_empty() {
        let plain = Translation { trim: true, ..Translation::default() };
        assert_eq!(translate(&plain, "  n/a ").0, Outcome::Empty);
        assert_eq!(translate(&plain, " ").0, Outcome::Empty);
        assert_eq!(translate(&plain, " x "), filled("x"));
        let kept = Translation::default();
        assert_eq!(translate(&kept, " x "), filled(" x "));
    }

    #[test]
    fn values_are_looked_up_before_anything_is_taken_for_empty() {
        let values = [("", "unknown"), ("n/a", "other"), ("M", "male"), ("-", "")];
        let values = values.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
        let numbers = Numbers { decimal: Some(','), thousands: None };
        let mut sex = Translation { values: Some(values), ignore_case: true, numbers, ..Translation::default() };
        for (cell, expected) in [("", "unknown"), (" n/a", "other"), ("m ", "male")] {
            assert_eq!(translate(&sex, cell), filled(expected), "{cell}");
        }
        assert_eq!(translate(&sex, "-").0, Outcome::Empty);
        let mut out = String::new();
        let outcome = sex.translate("NULL", &["NULL".to_owned()], &mut out);
        assert_eq!((outcome, out), filled("unknown"), "as an empty cell");
        assert!(matches!(translate(&sex, "X").0, Outcome::Refused("unmapped", _)));
        sex.otherwise = Some(String::new());
        assert_eq!(translate(&sex, "X").0, Outcome::Empty);
    }

    #[test]
    fn numbers_are_read_as_the_file_writes_them() {
        let german = Numbers { decimal: Some(','), thousands: Some('.') };
        for (text, number) in [("5,4", "5.4"), ("1.234,5", "1234.5"), ("-12.345.678", "-12345678"), ("7", "7")] {
            assert_eq!(german.read(text).as_deref(), Some(number), "{text}");
        }
        for text in ["1.5", "12.34,5", "1,2,3", ".123", "x", "", "1,", "007"] {
            assert_eq!(german.read(text), None, "{text}");
        }
        assert_eq!(Numbers::default().read("5,4"), None);
        let comma = Numbers { decimal: Some(','), thousands: None };
        assert_eq!((comma.read("1,5").as_deref(), comma.read("1.500"), comma.read("1.5,2")), (Some("1.5"), None, None));
        assert!(
            looks_like_number("5,4")
                && looks_like_number("+5")
                && !looks_like_number("5.4")
                && !looks_like_number("<5")
        );
    }

    #[test]
    fn a_hash_is_the_uuid_that_others_compute_too() {
        let id = Translation { hash: true, prefix: Some("a-".to_owned()), ..Translation::default() };
        // Python: uuid.uuid5(uuid.NAMESPACE_OID, "a-7")
        assert_eq!(translate(&id, "7"), filled("81b2b2f1-ca4e-5b63-aaca-6b0d6b81a251"));
    }
}
