//! What the owner of a job calls it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidText;

/// The most characters of a label (openapi.yaml).
const MAX_LABEL: usize = 64;

/// Up to 64 of `A-Za-z0-9 ._:-`. Not for patients' data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(String);

impl TryFrom<String> for Label {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" ._:-".contains(&byte);
        let is_label = (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_label { Ok(Self(text)) } else { Err(InvalidText("Must be 1 to 64 of A-Z a-z 0-9, space and . _ : -")) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_plain() {
        let longest = "x".repeat(MAX_LABEL);
        for text in ["nightly", "run 7: part-2_of.3", longest.as_str()] {
            assert_eq!(Label::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["", "a/b", "naïve", "line\nbreak", "x".repeat(MAX_LABEL + 1).as_str()] {
            assert!(Label::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
