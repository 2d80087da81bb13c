//! Reading a member of a body whose type is not known yet.

use std::fmt;

use model::Label;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::error::Issues;

/// A member that is there and not null.
#[must_use]
pub fn non_null(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A member's text; an issue when it is missing, no string, or holds half of a surrogate pair.
pub fn text(path: &str, raw: Option<&RawValue>, issues: &mut Issues) -> Option<String> {
    let bytes = text_bytes(path, raw, issues)?;
    let text = String::from_utf8(bytes).ok();
    if text.is_none() {
        issues.add(path, "Must be valid Unicode");
    }
    text
}

/// A member's text as bytes; an issue when it is missing or no string. Half of a surrogate pair stands in it as three
/// bytes that are not UTF-8, so that whoever reads the text finds the place.
pub fn text_bytes(path: &str, raw: Option<&RawValue>, issues: &mut Issues) -> Option<Vec<u8>> {
    let rule = match non_null(raw).map(|raw| serde_json::from_str(raw.get())) {
        None => "Required",
        Some(Ok(StringBytes(bytes))) => return Some(bytes),
        Some(Err(_)) => "Expected string",
    };
    issues.add(path, rule);
    None
}

/// A member that names one of some options; the first one unless it is given.
pub fn option<T: Copy + Default>(path: &str, raw: Option<&RawValue>, options: &[(&str, T)], issues: &mut Issues) -> T {
    let Some(name) = non_null(raw).and_then(|raw| text(path, Some(raw), issues)) else { return T::default() };
    let found = options.iter().find(|(option, _)| *option == name);
    if found.is_none() {
        let names: Vec<_> = options.iter().map(|(option, _)| *option).collect();
        issues.add(path, &format!("Must be {}", names.join(" or ")));
    }
    found.map(|(_, value)| *value).unwrap_or_default()
}

/// The label of a job, where one is given.
pub fn label(raw: Option<&RawValue>, issues: &mut Issues) -> Option<Label> {
    let text = text("label", Some(non_null(raw)?), issues)?;
    Label::try_from(text).inspect_err(|error| issues.add("label", &error.to_string())).ok()
}

struct StringBytes(Vec<u8>);

impl<'de> Deserialize<'de> for StringBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = StringBytes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<StringBytes, E> {
                Ok(StringBytes(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_string_and_nothing_else() {
        let read = |json: &str| {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            text_bytes("data", Some(raw), &mut Issues::default())
        };
        assert_eq!(read(r#""a\n\u00e9""#).unwrap(), "a\né".as_bytes());
        assert_eq!(read(r#""a\ud800b""#).unwrap(), b"a\xED\xA0\x80b");
        for other in ["null", "1", "1e400", "true", "[97]", "{}", r#"["a"]"#] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
