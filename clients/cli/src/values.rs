//! The arguments' values.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fhir::Unmapped;
use records::ResourceType;

/// A resource type. Completions know them all; an unknown one names the nearest.
#[derive(Debug, Clone)]
pub(crate) struct TypeParser;

impl TypedValueParser for TypeParser {
    type Value = ResourceType;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ResourceType, clap::Error> {
        let parse = |name: &str| sources::resource_type(name);
        TypedValueParser::parse_ref(&parse, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(ResourceType::ALL.iter().map(|known| PossibleValue::new(known.as_str()))))
    }
}

/// A resource type, or a folder. Completions know the types.
#[derive(Debug, Clone)]
pub(crate) struct TypeOrFolder;

impl TypedValueParser for TypeOrFolder {
    type Value = PathBuf;

    fn parse_ref(&self, _: &clap::Command, _: Option<&clap::Arg>, value: &OsStr) -> Result<PathBuf, clap::Error> {
        Ok(PathBuf::from(value))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        TypeParser.possible_values().map(|values| Box::new(values.collect::<Vec<_>>().into_iter()) as _)
    }
}

/// One character between cells, or its name.
pub(crate) fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" | "\t" => Ok(b'\t'),
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "pipe" => Ok(b'|'),
        _ => {
            match text.as_bytes() {
                [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() && *byte != b'"' => Ok(*byte),
                _ => Err("must be one character that is no letter, digit or quote, or: tab, comma, semicolon, pipe"
                    .to_owned()),
            }
        }
    }
}

/// What becomes of elements of FHIR that records have no member for.
pub(crate) const UNMAPPED: [(Unmapped, &str, &str); 2] = [
    (Unmapped::Keep, "keep", "Keep them in x-fhir"),
    (Unmapped::Drop, "drop", "Leave them out, and refuse resources whose meaning that would change"),
];

/// One of these choices, each with its name and what it means.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    choices: [(T, &'static str, &'static str); N],
) -> impl TypedValueParser<Value = T> {
    let values = choices.map(|(_, name, help)| PossibleValue::new(name).help(help));
    let of_name =
        move |chosen: String| choices.into_iter().find(|(_, name, _)| *name == chosen).map(|(choice, ..)| choice);
    PossibleValuesParser::new(values).try_map(move |chosen| of_name(chosen).ok_or("unknown choice"))
}

/// A label of at most so many characters.
pub(crate) fn label(most: usize) -> impl Fn(&str) -> Result<String, String> + Clone {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" ._:-".contains(&byte);
    move |text: &str| {
        if (1..=most).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(text.to_owned())
        } else {
            Err(format!("must be 1 to {most} of A-Za-z0-9 ._:-"))
        }
    }
}

pub(crate) fn since(text: &str) -> Result<String, String> {
    if records::is_rfc3339(text) {
        Ok(text.to_owned())
    } else {
        Err("must be a moment as 2026-01-15T00:00:00Z".to_owned())
    }
}

/// Longer than any import: a clock that far ahead cannot be counted on.
const LONGEST: Duration = Duration::from_hours(365 * 24);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)].into_iter().find(|(name, _)| *name == unit);
    let (Some((_, seconds)), Ok(number)) = (seconds, number.parse::<u64>()) else {
        return Err("must be a number with s, m, h or d, as 90m or 6h".to_owned());
    };
    let time = number.checked_mul(seconds).map(Duration::from_secs).filter(|time| *time <= LONGEST);
    time.ok_or_else(|| "must be at most 365d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_mins(90)));
        assert!(duration("365d").is_ok() && duration("366d").is_err() && duration("200000000000000d").is_err());
        assert!(duration("90").is_err() && duration("h").is_err() && duration("99999999999999999999d").is_err());
    }
}
