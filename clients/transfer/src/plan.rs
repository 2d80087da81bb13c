//! What an import will do: its sources read once, cut into batches, validated and compressed on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fhir::LossLine;
use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};
use sources::{Doubt, Format, unusable};

use crate::state::{Journal, StateFolder};

mod build;
mod compress;
mod history;
mod ids;
mod request;

pub use build::{BuildInput, Finding, Findings, build, check_sources};
pub use request::{Duplicates, ImportRequest, Reading, SourceRequest, Sources, resolve_sources};

/// How many rejected records still count as success.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaxRejected {
    Records(u64),
    Percent(f64),
}

impl MaxRejected {
    /// Whether so many of so many are too many.
    #[must_use]
    pub fn is_exceeded(self, rejected: u64, read: u64) -> bool {
        match self {
            Self::Records(most) => rejected > most,
            #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^52")]
            Self::Percent(most) => rejected as f64 * 100.0 > most * read as f64,
        }
    }
}

impl TryFrom<String> for MaxRejected {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse::<f64>().ok();
                percent.filter(|percent| (0.0..=100.0).contains(percent)).map(Self::Percent)
            }
            None => text.parse().ok().map(Self::Records),
        };
        parsed.ok_or("must be a number of records, or a part as 0.5%")
    }
}

impl From<MaxRejected> for String {
    fn from(most: MaxRejected) -> Self {
        match most {
            MaxRejected::Records(most) => most.to_string(),
            MaxRejected::Percent(most) => format!("{most}%"),
        }
    }
}

/// A finished plan. It holds no value of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub run: String,
    pub created_at: Timestamp,
    pub sources: Vec<SourcePlan>,
    /// How many records the exports name as deleted.
    pub deleted: u64,
    pub batches: Vec<BatchPlan>,
    /// What is no error, and can hardly be meant.
    pub warnings: Vec<Warning>,
    /// What is to be said of FHIR's resources, if there were any.
    pub fhir: Option<FhirPlan>,
}

/// What no records were made of, and what is lost of those that were. It holds no value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FhirPlan {
    /// Resources that were refused, in `refused.ndjson`, and lines that are none.
    pub refused: u64,
    /// How many of each type that has no records, in `unsupported.ndjson`.
    pub unsupported: BTreeMap<String, u64>,
    /// What changes the meaning first, then what most records have lost.
    pub losses: Vec<LossLine>,
    /// Files of the folders that were not read.
    pub unread: Vec<String>,
}

/// Records with a doubtful value in a field, and where the first one stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    pub resource_type: ResourceType,
    pub field: String,
    pub doubt: Doubt,
    pub records: u64,
    pub file: String,
    pub line: u64,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource_type, field, doubt, records, file, line } = self;
        write!(formatter, "{resource_type} {field}: {records} {} (first: {file}, line {line})", doubt.as_str())
    }
}

/// A source as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourcePlan {
    pub path: PathBuf,
    pub format: Format,
    pub bytes: u64,
    pub sha256: String,
    /// Records read, valid or not.
    pub records: u64,
    pub rejected: u64,
    /// Left out, since the chain of exports says that they were deleted, or are older than others.
    pub left_out: u64,
    /// Rows of empty cells, which are no records.
    pub blank_rows: u64,
}

/// A batch, ready to be uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchPlan {
    /// From 1.
    pub number: usize,
    pub resource_type: ResourceType,
    pub records: u64,
    /// Of the compressed file: the exact length of the upload.
    pub bytes: u64,
    /// Records that get their ids from the service. Done twice, they are stored twice.
    pub without_id: u64,
}

impl Plan {
    /// The plan of a run; `None` where it was not planned to its end, and nothing was sent. Journal and plan belong together: where
    /// one of them is missing, nobody knows what was sent.
    pub fn load(folder: &StateFolder, request: &ImportRequest) -> Result<Option<Self>> {
        let (plan, journal) = (folder.plan(), folder.journal());
        let steps = std::fs::metadata(&journal).map(|found| found.len());
        let missing = match (plan.exists(), steps) {
            (true, Ok(_)) => return files::read_json(&plan).map(Some),
            (false, Ok(0)) => return Ok(None),
            (false, Err(_)) if !folder.summary().exists() => return Ok(None),
            (true, Err(_)) => journal,
            (false, _) => plan,
        };
        Err(unusable(format!(
            "{} is missing, and without it nobody knows what was sent. Put it back. If it is lost, look for the import's jobs with \
             `clinik-bulk jobs list`: {} is a part of their labels. Then import what is not stored as a new run; records \
             without ids that are sent again are stored again",
            missing.display(),
            request.run
        )))
    }

    /// Writes the plan down. Behind it records may be sent, so the journal is there before.
    pub fn store(&self, folder: &StateFolder) -> Result<()> {
        Journal::begin(&folder.journal())?;
        files::write_json(&folder.plan(), self)
    }

    #[must_use]
    pub fn read(&self) -> u64 {
        self.sources.iter().map(|source| source.records).sum()
    }

    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.sources.iter().map(|source| source.rejected).sum()
    }

    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.sources.iter().map(|source| source.left_out).sum()
    }

    /// How many records get their ids from the service.
    #[must_use]
    pub fn without_id(&self) -> u64 {
        self.batches.iter().map(|batch| batch.without_id).sum()
    }

    #[must_use]
    pub fn to_send(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records).sum()
    }
}

/// A source's name, for people: `-` is stdin.
#[must_use]
pub fn source_name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_bounded_by_number_or_part() {
        let of = |text: &str| MaxRejected::try_from(text.to_owned());
        assert!(of("0").unwrap().is_exceeded(1, 10) && !of("1").unwrap().is_exceeded(1, 10));
        assert!(!of("10%").unwrap().is_exceeded(1, 10) && of("9.9%").unwrap().is_exceeded(1, 10));
        assert!(!of("0%").unwrap().is_exceeded(0, 0));
        for bad in ["", "-1", "101%", "x%", "1.5"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
