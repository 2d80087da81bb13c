//! Idempotency keys: a call that is repeated with its key is done once.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::sha256_hex;
use crate::ids::{InvalidText, JobId};

/// For how long the same key answers with the first job.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_hours(24);

/// The SHA-256 of an `Idempotency-Key`: what clients put into it is theirs, and is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the header's value.
    pub fn parse(header: &[u8]) -> Result<Self, InvalidText> {
        if (1..=255).contains(&header.len()) && header.iter().all(u8::is_ascii_graphic) {
            Ok(Self(sha256_hex(&[header])))
        } else {
            Err(InvalidText("Must be 1 to 255 visible ASCII characters"))
        }
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a call asked for, boiled down: another body under the same key is told apart by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a call, its body decoded.
    #[must_use]
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        Self(sha256_hex(&[method.as_bytes(), path.as_bytes(), body]))
    }
}

/// What is kept of the first call of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyEntry {
    /// What was asked for.
    pub fingerprint: Fingerprint,
    /// The job that came of it.
    pub job_id: JobId,
    /// Until when the entry counts.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        for good in [b"a".as_slice(), b"!~", &[b'x'; 255]] {
            assert!(IdempotencyKey::parse(good).is_ok());
        }
        for bad in [b"".as_slice(), b"a b", b"\t", "\u{e9}".as_bytes(), &[b'x'; 256]] {
            assert!(IdempotencyKey::parse(bad).is_err());
        }
    }
}
