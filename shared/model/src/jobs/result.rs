//! What comes of a job.

use std::borrow::Borrow;

use jiff::Timestamp;
use records::{ResourceType, Violation};
use serde::{Deserialize, Serialize};

use crate::files::ObjectKey;

/// What came of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobOutcome {
    Succeeded,
    /// Completed, with records that were rejected.
    Partial,
    Cancelled,
    Failed,
}

/// The name of the file of an export with `since` that says which records were deleted.
pub const DELETIONS_FILE: &str = "deleted.ndjson";

/// A file that a completed job leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultFile {
    /// What the file is called when it is downloaded, unique in its job.
    pub name: String,
    pub key: ObjectKey,
    /// Of an export with a file for each type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<ResourceType>,
    /// Lines of the file.
    pub records: u64,
    /// Size as it is downloaded.
    pub bytes: u64,
    /// Of the bytes as they are downloaded, in lower-case hexadecimal.
    pub sha256: String,
}

impl ResultFile {
    /// Whether its lines are records: those of `deleted.ndjson` name some that are gone.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.name != DELETIONS_FILE
    }
}

/// What a completed job leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobResult {
    Import {
        /// The first violations, at most [`MAX_INLINE_VIOLATIONS`]. Lists of jobs leave them out.
        #[serde(default)]
        violations: Vec<LineViolation>,
        /// All violations counted.
        violation_count: u64,
        /// The reports: of errors and rejected lines only when there are any.
        files: Vec<ResultFile>,
    },
    Export {
        /// When reading began: what was written later may be missing.
        started_at: Timestamp,
        files: Vec<ResultFile>,
    },
}

impl JobResult {
    #[must_use]
    pub fn files(&self) -> &[ResultFile] {
        match self {
            Self::Import { files, .. } | Self::Export { files, .. } => files,
        }
    }
}

/// How many violations a job's item carries itself.
pub const MAX_INLINE_VIOLATIONS: usize = 100;

/// A violation and the line it was found in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineViolation {
    /// The line, from 1.
    pub line: u64,
    #[serde(flatten)]
    pub violation: Violation,
}

/// The form in which clients are shown a violation, by the status and by the errors report: with the line from 0, too.
#[derive(Debug, Clone, Serialize)]
pub struct ShownViolation<V> {
    index: u64,
    #[serde(flatten)]
    violation: V,
}

impl<V: Borrow<LineViolation>> ShownViolation<V> {
    pub fn new(violation: V) -> Self {
        Self { index: violation.borrow().line - 1, violation }
    }
}
