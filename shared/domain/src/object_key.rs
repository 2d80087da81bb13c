//! Where objects stand in the bucket: every key is formatted here, and begins with what it is for and
//! whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition, Token, UploadId};

/// The key of an object: `<kind>/<tenant>/<environment>/…`.
///
/// The bucket's lifecycle rules and the functions' policies go by the first segment. What a worker
/// writes whole has the token of its lease in the key, so that a worker that lost its lease can only
/// ever write objects that nobody names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectKey(String);

/// What objects are for.
const KINDS: [&str; 4] = ["imports", "exports", "reports", "tails"];

fn prefix(kind: &str, partition: &Partition) -> String {
    format!("{kind}/{}/{}/", partition.tenant, partition.environment)
}

impl ObjectKey {
    /// The NDJSON of an import, as the API function received it.
    #[must_use]
    pub fn import(partition: &Partition, job: &JobId) -> Self {
        Self::new("imports", partition, format_args!("{job}.ndjson"))
    }

    /// The file of an export.
    #[must_use]
    pub fn export(partition: &Partition, job: &JobId, token: &Token) -> Self {
        Self::new("exports", partition, format_args!("{job}/{}.ndjson", token.as_str()))
    }

    /// A report of an import.
    #[must_use]
    pub fn report(partition: &Partition, job: &JobId, token: &Token, report: Report) -> Self {
        Self::new("reports", partition, format_args!("{job}/{}/{}.ndjson", token.as_str(), report.as_str()))
    }

    /// What a segment of an export had left at its end.
    #[must_use]
    pub fn tail(partition: &Partition, job: &JobId, segment: u8, token: &Token) -> Self {
        Self::new("tails", partition, format_args!("{job}/{segment}-{}.ndjson", token.as_str()))
    }

    /// What a client has uploaded for an import.
    #[must_use]
    pub fn upload(partition: &Partition, upload: &UploadId) -> Self {
        Self::new("imports", partition, format_args!("uploads/{upload}"))
    }

    fn new(kind: &'static str, partition: &Partition, rest: fmt::Arguments<'_>) -> Self {
        debug_assert!(KINDS.contains(&kind));
        Self(format!("{}{rest}", prefix(kind, partition)))
    }

    /// How all keys of a partition begin, and no others.
    pub fn prefixes(partition: &Partition) -> impl Iterator<Item = String> {
        KINDS.iter().map(|kind| prefix(kind, partition))
    }

    /// Whether the object belongs to the partition.
    #[must_use]
    pub fn belongs_to(&self, partition: &Partition) -> bool {
        let mut segments = self.0.split('/').skip(1);
        segments.next() == Some(partition.tenant.as_str()) && segments.next() == Some(partition.environment.as_str())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A report of an import, by what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Every fault of every line.
    Errors,
    /// The rejected lines, byte for byte.
    Rejected,
    /// What became of every line.
    Results,
}

impl Report {
    /// The report's name in keys and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Rejected => "rejected",
            Self::Results => "results",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn keys_begin_with_kind_and_partition() {
        let partition: Partition = "clinic#live".parse().unwrap();
        let job = JobId::new(Timestamp::UNIX_EPOCH, 0);
        let key = ObjectKey::export(&partition, &job, &Token::new(1));
        assert_eq!(
            key.as_str(),
            "exports/clinic/live/job_00000000000000000000000000/00000000000000000000000000000001.ndjson"
        );
        assert!(key.belongs_to(&partition));
        assert!(!key.belongs_to(&"clinic#test".parse().unwrap()));
        assert!(!key.belongs_to(&"clini#live".parse().unwrap()));
    }
}
