//! What an import will do: its sources read once, cut into batches, validated and compressed on the way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};

mod build;
mod compress;
mod request;

pub(crate) use build::{BuildInput, build};
pub(crate) use request::{ImportRequest, SourceRequest, format_of, resolve_sources};

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Columns under a header, with commas, semicolons or another delimiter.
    Csv,
    /// Columns under a header, with tabs.
    Tsv,
}

/// What to do with a column that the type does not define.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownColumns {
    /// Refuse the file.
    Error,
    /// Keep it as a member with text.
    Keep,
    /// Leave it out.
    Drop,
}

/// How many rejected records still count as success.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum MaxRejected {
    Records(u64),
    Percent(f64),
}

impl MaxRejected {
    /// Whether so many of so many are too many.
    pub(crate) fn is_exceeded(self, rejected: u64, read: u64) -> bool {
        match self {
            Self::Records(most) => rejected > most,
            #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^52")]
            Self::Percent(most) => rejected as f64 * 100.0 > most * read as f64,
        }
    }
}

impl FromStr for MaxRejected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a number of records, or a part as 0.5%".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Records).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for MaxRejected {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MaxRejected> for String {
    fn from(most: MaxRejected) -> Self {
        most.to_string()
    }
}

impl fmt::Display for MaxRejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(most) => write!(formatter, "{most}"),
            Self::Percent(most) => write!(formatter, "{most}%"),
        }
    }
}

/// The version of the state folder's files.
pub(crate) const VERSION: u32 = 1;

/// A finished plan. It holds no value of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    pub(crate) version: u32,
    pub(crate) run: String,
    pub(crate) created_at: Timestamp,
    pub(crate) sources: Vec<SourcePlan>,
    pub(crate) batches: Vec<BatchPlan>,
}

/// A source as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourcePlan {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Records read, valid or not.
    pub(crate) records: u64,
    pub(crate) rejected: u64,
    /// Rows of empty cells, which are no records.
    pub(crate) blank_rows: u64,
}

/// A batch, ready to be uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchPlan {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) resource_type: ResourceType,
    pub(crate) records: u64,
    /// Of the compressed file: the exact length of the upload.
    pub(crate) bytes: u64,
    /// Records that get their ids from the service. Done twice, they are stored twice.
    pub(crate) without_id: u64,
    /// Whether all batches before it must have ended: it may replace records of theirs.
    pub(crate) in_order: bool,
}

impl Plan {
    pub(crate) fn read(&self) -> u64 {
        self.sources.iter().map(|source| source.records).sum()
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.sources.iter().map(|source| source.rejected).sum()
    }

    pub(crate) fn to_send(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records).sum()
    }
}

/// A source's name, for people: `-` is stdin.
pub(crate) fn source_name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_bounded_by_number_or_part() {
        let of = |text: &str| text.parse::<MaxRejected>();
        assert!(of("0").unwrap().is_exceeded(1, 10) && !of("1").unwrap().is_exceeded(1, 10));
        assert!(!of("10%").unwrap().is_exceeded(1, 10) && of("9.9%").unwrap().is_exceeded(1, 10));
        assert!(!of("0%").unwrap().is_exceeded(0, 0));
        for bad in ["", "-1", "101%", "x%", "1.5"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
