//! The map as a text: each column with what it most likely is, and why. It shows no cell that could be a person's.

use std::collections::HashSet;
use std::fmt::Write;

use records::{ResourceType, Schema, ValueRule};

use super::super::VIOLATIONS_COLUMN;
use super::super::fields::{Kind, Leaf, options};
use super::look::{Look, Written, has_time};
use crate::headings::words;

/// A guess that is worth more than a suggestion.
const SURE: f64 = 0.9;

/// What is known, on its way to a text.
pub(super) struct Draft<'a> {
    pub(super) schema: &'a Schema,
    pub(super) headers: &'a [String],
    pub(super) looks: &'a [Look],
    pub(super) guesses: Vec<Option<(String, f64)>>,
    pub(super) count: u64,
    /// The values of all enumerations, in small letters: these are no names.
    pub(super) codes: HashSet<String>,
}

impl Draft<'_> {
    pub(super) fn write(&self) -> String {
        let resource_type = self.schema.resource_type();
        let mut text = format!(
            "# Guessed from the header and {} rows. Check every line, then run: clinik-bulk validate {resource_type} FILE --map THIS\n\
             type = \"{resource_type}\"\n",
            self.count
        );
        let is_moment =
            |field: &str| Leaf::resolve(self.schema, field).is_ok_and(|leaf| leaf.format == Some("date-time"));
        let is_local = |(look, guess): (&Look, &Option<(String, f64)>)| {
            let has_time = match look.written() {
                Written::In(formats) => formats.into_iter().any(has_time),
                Written::Unclear { surely, perhaps } => surely.into_iter().chain(perhaps).any(has_time),
                Written::NoDates | Written::AsIs => false,
            };
            has_time && guess.as_ref().is_some_and(|(field, _)| is_moment(field))
        };
        if self.looks.iter().zip(&self.guesses).any(is_local) {
            text.push_str(
                "# Some times have no offset. Say where they were written down:\n# timezone = \"America/New_York\"\n",
            );
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
                    let values = self.values(look);
                    writeln!(
                        text,
                        "# {} = {{ drop = true }}  # no field is like it: name one, or drop it{values}",
                        key(header)
                    )
                }
            };
        }
        self.unfilled(&mut text);
        text
    }

    /// Whether a column holds last and first names, and no other column does.
    fn is_whole_name(&self, header: &str, look: &Look) -> bool {
        let is_named = matches!(words(header).concat().as_str(), "name" | "fullname" | "patientname");
        let has = |name: &str| self.schema.members().iter().any(|member| member.name == name);
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
        let options = options(self.schema, field);
        let mut rule = String::new();
        let mut why = format!("by its name; {} of {} rows have one", look.filled, self.count);
        if leaf.as_ref().is_some_and(|leaf| matches!(leaf.format, Some("date" | "date-time"))) {
            dates(look, &mut rule, &mut why);
        } else if let Some(options) = options {
            codes(look, options, &mut rule, &mut why);
        } else if !could_be_name(field) {
            why.push_str(&self.values(look));
        }
        let nulls: Vec<_> = look.nulls.iter().map(|null| key(null)).collect();
        if !nulls.is_empty() && !could_be_name(field) {
            let nulls = format!("nulls = [{}]", nulls.join(", "));
            let is_free_text =
                leaf.is_none_or(|leaf| leaf.kind == Kind::Text && leaf.format.is_none()) && options.is_none();
            // Writing to a String cannot fail.
            let _ = if is_free_text {
                write!(why, "; if they are no values, add {nulls}")
            } else {
                write!(rule, ", {nulls}")
            };
        }
        let target = if rule.is_empty() { format!("\"{field}\"") } else { format!("{{ to = \"{field}\"{rule} }}") };
        format!("{} = {target}  # {why}", key(header))
    }

    /// The values of a column that is no enumeration, if they are few and all of them codes: words could be names.
    fn values(&self, look: &Look) -> String {
        let is_code = |value: &String| is_short(value) || self.codes.contains(&value.to_lowercase());
        if look.has_many || look.values.is_empty() || !look.values.iter().all(is_code) {
            return String::new();
        }
        let values: Vec<_> = look.values.iter().map(|value| key(value)).collect();
        format!("; its values are {}", values.join(", "))
    }

    /// What every record needs, and no column fills.
    fn unfilled(&self, text: &mut String) {
        let is_filled = |name: &str| {
            let mut sure = self.guesses.iter().flatten().filter(|(_, like)| *like >= SURE);
            sure.any(|(field, _)| field.split(['.', '[']).next() == Some(name))
        };
        let members = self.schema.members().iter();
        let open: Vec<_> = members.filter(|member| member.required && !is_filled(&member.name)).collect();
        if open.is_empty() {
            return;
        }
        text.push_str("\n# Every record needs these, and no column fills them:\n# [fields]\n");
        for member in open {
            let options = member.rule.options().map(|options| format!("one of {}", options.join(", ")));
            let what = options.unwrap_or_else(|| member.rule.expected());
            let _ = writeln!(text, "# \"{}\" = \"…\"  # {what}", member.name);
        }
    }
}

/// How dates are written. What the API reads itself needs no format.
fn dates(look: &Look, rule: &mut String, why: &mut String) {
    // Writing to a String cannot fail.
    let _ = match look.written() {
        Written::NoDates if look.filled == 0 => Ok(()),
        Written::AsIs => Ok(()),
        Written::NoDates => {
            write!(why, "; the cells are not all dates in one of the usual formats: add format = \"…\"")
        }
        Written::In(formats) if formats.iter().any(|format| format.contains("%y")) => write!(
            why,
            "; every cell fits {}: add it, with the century: century = 1900, or pivot = 30",
            in_map(&formats)
        ),
        Written::In(formats) => {
            why.push_str("; every cell is such a date");
            write!(rule, ", {}", in_map(&formats))
        }
        Written::Unclear { surely, perhaps } if surely.is_empty() => write!(
            why,
            "; the file does not tell which is meant, add what is right of: format = \"{}\"",
            perhaps.join("\" or format = \"")
        ),
        Written::Unclear { surely, perhaps } => write!(
            why,
            "; add formats = [\"{}\", …] with one of \"{}\": the file does not tell which is meant",
            surely.join("\", \""),
            perhaps.join("\" and \"")
        ),
    };
}

/// What codes stand for. A value that could be a name is not shown.
fn codes(look: &Look, options: &[String], rule: &mut String, why: &mut String) {
    if look.values.iter().all(|value| options.contains(value)) {
        return;
    }
    if look.has_many {
        why.push_str("; more different values than codes would have: add values = { … }");
        return;
    }
    let is_code = |value: &&String| is_short(value) || meant(value, options).is_some();
    let (shown, hidden): (Vec<_>, Vec<_>) = look.values.iter().partition(is_code);
    let (known, open): (Vec<_>, Vec<_>) = shown.into_iter().partition(|value| meant(value, options).is_some());
    if !known.is_empty() {
        let pairs = known.iter().filter_map(|value| Some(format!("{} = \"{}\"", key(value), meant(value, options)?)));
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

/// Whether a value is too short for a name.
fn is_short(value: &str) -> bool {
    (value.len() == 1 && value.is_ascii()) || (value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a field holds people's names.
fn could_be_name(field: &str) -> bool {
    field.to_lowercase().contains("name")
}

/// Formats as a map says them.
fn in_map(formats: &[&str]) -> String {
    match formats {
        [one] => format!("format = \"{one}\""),
        several => format!("formats = [\"{}\"]", several.join("\", \"")),
    }
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

/// The values of all enumerations of all types, in small letters.
pub(super) fn all_codes() -> HashSet<String> {
    fn add(rule: &ValueRule, codes: &mut HashSet<String>) {
        codes.extend(rule.options().into_iter().flatten().map(|option| option.to_lowercase()));
        if let Some(items) = rule.items() {
            add(items, codes);
        }
        for member in rule.members() {
            add(&member.rule, codes);
        }
    }
    let mut codes = HashSet::new();
    for known in ResourceType::ALL {
        for member in known.schema().members() {
            add(&member.rule, &mut codes);
        }
    }
    codes
}
