//! The keys of objects in the bucket: every key is formatted here, and begins with what it is for and
//! whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Compression, FileName};
use crate::ids::{JobId, Partition, Token, UploadId};
use crate::job_type::JobType;

/// The key of an object: `<kind>/<tenant>/<environment>/…`.
///
/// The bucket's lifecycle rules and the functions' policies go by the kind. What a worker writes has a token in
/// its key, its lease's or a fresh one, so that a zombie worker is harmless: nothing references the objects it writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey(String);

/// What objects are for.
const KINDS: [&str; 5] = ["imports", "exports", "reports", "uploads", "chunks"];

fn prefix(kind: &str, partition: &Partition) -> String {
    format!("{kind}/{}/{}/", partition.tenant, partition.environment)
}

impl ObjectKey {
    /// The NDJSON of an import, as the API function received it.
    #[must_use]
    pub fn import(partition: &Partition, job: &JobId) -> Self {
        Self::new("imports", partition, format_args!("{job}.ndjson"))
    }

    /// A file of an export, by its position among the job's files.
    #[must_use]
    pub fn export(partition: &Partition, job: &JobId, token: &Token, file: u32, compression: Compression) -> Self {
        let ending = compression.ending();
        Self::new("exports", partition, format_args!("{job}/{}-{file}.ndjson{ending}", token.as_str()))
    }

    /// A report of an import.
    #[must_use]
    pub fn report(partition: &Partition, job: &JobId, token: &Token, report: Report) -> Self {
        Self::new("reports", partition, format_args!("{job}/{}/{}", token.as_str(), report.file_name()))
    }

    /// A chunk of a file in the making, or (without a number) its tail.
    #[must_use]
    pub fn chunk(FileName { partition, job, file }: &FileName, token: &Token, number: Option<u32>) -> Self {
        let token = token.as_str();
        match number {
            Some(number) => Self::new("chunks", partition, format_args!("{job}/{token}/{file}/{number}")),
            None => Self::new("chunks", partition, format_args!("{job}/{token}/{file}/tail")),
        }
    }

    /// What a client uploads for an import.
    #[must_use]
    pub fn upload(partition: &Partition, upload: &UploadId) -> Self {
        Self::new("uploads", partition, format_args!("{upload}"))
    }

    fn new(kind: &'static str, partition: &Partition, rest: fmt::Arguments<'_>) -> Self {
        debug_assert!(KINDS.contains(&kind));
        Self(format!("{}{rest}", prefix(kind, partition)))
    }

    /// Whether the object belongs to the partition.
    #[must_use]
    pub fn belongs_to(&self, partition: &Partition) -> bool {
        is_of(&self.0, partition)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a key, or the beginning of one, names the partition.
fn is_of(key: &str, partition: &Partition) -> bool {
    let mut segments = key.split('/').skip(1);
    segments.next() == Some(partition.tenant.as_str()) && segments.next() == Some(partition.environment.as_str())
}

/// How the keys of some objects of one partition begin, and of no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// All that a partition has.
    pub fn of_partition(partition: &Partition) -> impl Iterator<Item = Self> {
        KINDS.iter().map(|kind| Self(prefix(kind, partition)))
    }

    /// All that the workers of a job have written: its files, and what they were made of.
    #[must_use]
    pub fn of_results(partition: &Partition, job: &JobId, job_type: JobType) -> [Self; 2] {
        let kind = match job_type {
            JobType::Import => "reports",
            JobType::Export => "exports",
        };
        [kind, "chunks"].map(|kind| Self(format!("{}{job}/", prefix(kind, partition))))
    }

    /// What an import reads: ids have one length, so that no other key begins so.
    #[must_use]
    pub fn of_source(key: &ObjectKey) -> Self {
        Self(key.as_str().to_owned())
    }

    /// Whether all such objects belong to the partition.
    #[must_use]
    pub fn belongs_to(&self, partition: &Partition) -> bool {
        is_of(&self.0, partition)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A report of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Every violation of every line.
    Errors,
    /// The rejected lines, byte for byte.
    Rejected,
    /// Elements of FHIR that flat records have no member for.
    Losses,
    /// What became of every line.
    Results,
}

impl Report {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Errors, Self::Rejected, Self::Losses, Self::Results];

    /// The report of that name.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|report| report.file_name() == name)
    }

    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Errors => "errors.ndjson",
            Self::Rejected => "rejected.ndjson",
            Self::Losses => "losses.ndjson",
            Self::Results => "results.ndjson",
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
        let key = ObjectKey::export(&partition, &job, &Token::new(1), 7, Compression::Gzip);
        assert_eq!(
            key.as_str(),
            "exports/clinic/live/job_00000000000000000000000000/00000000000000000000000000000001-7.ndjson.gz"
        );
        assert!(key.belongs_to(&partition));
        assert!(!key.belongs_to(&"clinic#test".parse().unwrap()));
        assert!(!key.belongs_to(&"clini#live".parse().unwrap()));
    }
}
