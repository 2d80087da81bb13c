//! The contract's JSON. Members that are not used are not read.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ApiError;

/// Reads an answer. The parser's own message would quote it.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    T::deserialize(value).map_err(|_| ApiError::Unreadable)
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    Pending,
    Processing,
    Completed,
    Failed,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Succeeded,
    Partial,
    Cancelled,
    Failed,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: String,
    /// `import` or `export`.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: JobStatus,
    /// What came of it, once it has ended.
    pub outcome: Option<Outcome>,
    /// Records in all; 0 until known.
    pub total_records: u64,
    /// Records done, the rejected ones included.
    pub processed_records: u64,
    /// Of an import: stored.
    #[serde(default)]
    pub succeeded_records: u64,
    /// Of an import: rejected.
    #[serde(default)]
    pub failed_records: u64,
    /// The first violations, or the one reason of a failure.
    #[serde(default)]
    pub errors: Vec<JobError>,
    /// What it leaves behind.
    #[serde(default)]
    pub files: Vec<JobFile>,
    /// What its owner calls it.
    pub label: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// RFC 3339, once it has ended.
    pub completed_at: Option<String>,
    /// Of an export.
    #[serde(default)]
    pub resource_types: Vec<String>,
    /// Of an export: what was created or updated at this moment or later.
    pub since: Option<String>,
    /// The `since` of the next export of a chain.
    pub transaction_time: Option<String>,
    /// Of an export whose records are no flat ones: `fhir`.
    pub format: Option<String>,
    /// Which mapping to FHIR made them.
    pub mapping_version: Option<u32>,
}

/// An entry of a job's `errors`; a failed job has one that says why.
#[derive(Debug, Clone, Deserialize)]
pub struct JobError {
    pub code: String,
    #[serde(default)]
    pub message: String,
}

/// A file that a job leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobFile {
    /// Unique in its job.
    pub name: String,
    /// Of a file that holds one type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Its lines.
    pub records: u64,
    /// As it is downloaded.
    pub bytes: u64,
    /// Of the bytes as they are downloaded, in hexadecimal.
    pub sha256: String,
}

impl Job {
    /// Whether it has completed or failed, for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status, JobStatus::Completed | JobStatus::Failed)
    }

    /// Why it failed, for people: the code, and the service's words.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.errors.first() {
            Some(error) if error.message.is_empty() => error.code.clone(),
            Some(error) => format!("{} ({})", error.message, error.code),
            None if self.outcome == Some(Outcome::Cancelled) => "cancelled".to_owned(),
            None => "no reason given".to_owned(),
        }
    }
}

/// An upload that waits for its content.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    pub upload_id: String,
    /// Pre-signed: as good as a key for an hour, and never written down.
    pub upload_url: String,
}

/// Without the URL.
impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upload").field("upload_id", &self.upload_id).finish_non_exhaustive()
    }
}

/// What the plan allows, and what is left.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Whose key it is.
    pub tenant_id: String,
    pub plan: String,
    pub environment: String,
    pub bulk_operations: Operations,
    pub requests_per_month: Month,
}

/// The hourly limit of bulk operations.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// `None` is unlimited.
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    pub reset_seconds: Option<u64>,
}

/// The month's pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Month {
    pub limit: Option<u64>,
    pub used: Option<u64>,
    pub remaining: Option<u64>,
    pub reset_at: Option<String>,
}
