//! What can be wrong with a line.

use serde::{Deserialize, Serialize};

/// At most this many violations of one record are reported, then one [`ViolationCode::MoreViolations`].
pub const MAX_VIOLATIONS_PER_RECORD: usize = 100;

/// The stable code of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationCode {
    /// The line is empty or holds white space only.
    BlankLine,
    /// Not JSON: grammar, UTF-8, a lone surrogate, trailing text, or nesting over 128.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// The raw line is over 1 MiB, or the stored line over 380,000 bytes.
    TooLarge,
    /// A member name is there twice in one object.
    DuplicateMember,
    /// `resourceType` is present and not the batch's.
    ResourceTypeMismatch,
    /// `id` is present and not 1 to 64 of `A-Za-z0-9-._`.
    InvalidId,
    /// An earlier line of the batch has the same `id`.
    DuplicateId,
    /// A required member is missing or null.
    Required,
    /// The value has another JSON type than the rule wants.
    Type,
    /// The string is none of the allowed ones.
    Enum,
    /// The string is too long.
    MaxLength,
    /// The string is too short.
    MinLength,
    /// The array has too many items.
    MaxItems,
    /// The array has too few items.
    MinItems,
    /// The number is too small.
    Minimum,
    /// The number is too large.
    Maximum,
    /// The string does not have the wanted format.
    Format,
    /// A FHIR resource says that it was entered in error.
    EnteredInError,
    /// An element that changes what a FHIR resource means would be lost.
    ModifierLost,
    /// The record has more violations than are reported.
    #[serde(rename = "more_faults")]
    MoreViolations,
}

/// One thing wrong with one line: names a member and a rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The kind of violation.
    pub code: ViolationCode,
    /// A JSON pointer to the member, ending at the last one that the type defines; empty for the line.
    pub path: String,
    /// For people: the member with dots and indices, a colon, and the rule.
    pub message: String,
}

impl Violation {
    /// A violation of the line as a whole.
    #[must_use]
    pub fn of_line(code: ViolationCode, message: &str) -> Self {
        Self { code, path: String::new(), message: message.to_owned() }
    }

    /// A line with nothing on it.
    #[must_use]
    pub fn blank_line() -> Self {
        Self::of_line(ViolationCode::BlankLine, "Blank line")
    }

    /// A line or its stored form that is over its limit of bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::of_line(ViolationCode::TooLarge, &format!("Must be at most {limit} bytes"))
    }

    /// A record whose `id` an earlier line of the batch has.
    #[must_use]
    pub fn duplicate_id(first_line: u64) -> Self {
        Self {
            code: ViolationCode::DuplicateId,
            path: "/id".to_owned(),
            message: format!("id: Same as in line {first_line}"),
        }
    }
}
