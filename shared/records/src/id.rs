//! The id of a record.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A record's id: 1 to 64 of `A-Za-z0-9-._` (FHIR's `id`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId(String);

/// The text is no record id. The text itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record id is 1 to 64 of A-Za-z0-9-._")]
pub struct InvalidRecordId;

impl RecordId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RecordId {
    type Error = InvalidRecordId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(InvalidRecordId) }
    }
}

impl From<Uuid> for RecordId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken() {
        for good in ["a", "A-b.c_9", &"x".repeat(64)] {
            assert!(RecordId::try_from(good.to_owned()).is_ok());
        }
        for bad in ["", "a b", "a/b", "a#b", "\u{e4}", &"x".repeat(65)] {
            assert_eq!(RecordId::try_from(bad.to_owned()), Err(InvalidRecordId));
        }
    }
}
