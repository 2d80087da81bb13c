//! The stored line: what the store keeps of a record, and an export writes.

use jiff::Timestamp;

use crate::id::RecordId;
use crate::scan::{Record, TAG_SYSTEM};
use crate::violation::Violation;

/// The most bytes a stored line may have: a `DynamoDB` item holds 400 KB, keys and names included
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const MAX_STORED_LINE: usize = 380_000;

/// A placeholder of the stamp's width: RFC 3339, milliseconds, `Z`.
const NO_STAMP: &str = "0000-00-00T00:00:00.000Z";

/// A record as it is stored: a head with `resourceType`, `id` and `meta`, then the original bytes of
/// all other members. Its `meta.lastUpdated` is stamped when the line is sent to the store.
#[derive(Debug, Clone)]
pub struct StoredLine {
    id: RecordId,
    line: String,
    stamp_at: usize,
}

impl Record<'_> {
    /// Puts the stored line together, under the record's own id or else `derived_id`, tagged with `tenant`.
    ///
    /// # Errors
    /// [`ViolationCode::TooLarge`](crate::ViolationCode::TooLarge) when it has more than [`MAX_STORED_LINE`] bytes.
    pub fn into_stored(self, tenant: &str, derived_id: impl FnOnce() -> RecordId) -> Result<StoredLine, Violation> {
        let id = self.id.unwrap_or_else(derived_id);
        let kept: usize = self.members.iter().chain(&self.meta).chain(&self.tags).map(|kept| kept.len() + 1).sum();
        let mut line = String::with_capacity(kept + 256);
        line.push_str(r#"{"resourceType":""#);
        line.push_str(self.schema.resource_type.as_str());
        line.push_str(r#"","id":""#);
        line.push_str(id.as_str());
        line.push_str(r#"","meta":{"lastUpdated":""#);
        let stamp_at = line.len();
        // A tenant id and the system need no JSON escapes.
        for piece in [NO_STAMP, r#"","tag":[{"system":""#, TAG_SYSTEM, r#"","code":""#, tenant, r#""}"#] {
            line.push_str(piece);
        }
        push_all(&mut line, &self.tags);
        line.push(']');
        push_all(&mut line, &self.meta);
        line.push('}');
        push_all(&mut line, &self.members);
        line.push('}');
        if line.len() > MAX_STORED_LINE {
            return Err(Violation::too_large(MAX_STORED_LINE));
        }
        Ok(StoredLine { id, line, stamp_at })
    }
}

/// A raw carriage return can only stand between tokens. It becomes a space: readers that take it for the end of a
/// line would cut the record in two.
fn push_all(line: &mut String, kept: &[&str]) {
    for one in kept {
        line.push(',');
        for (at, piece) in one.split('\r').enumerate() {
            if at > 0 {
                line.push(' ');
            }
            line.push_str(piece);
        }
    }
}

impl StoredLine {
    /// The record's id.
    #[must_use]
    pub fn id(&self) -> &RecordId {
        &self.id
    }

    /// The line, without a terminator.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.line
    }

    /// Writes `meta.lastUpdated`: RFC 3339, milliseconds, `Z`.
    pub fn stamp(&mut self, now: Timestamp) {
        let stamp = format!("{now:.3}");
        debug_assert_eq!(stamp.len(), NO_STAMP.len(), "years of four digits");
        self.line.replace_range(self.stamp_at..self.stamp_at + NO_STAMP.len(), &stamp);
    }
}
