//! The contract's JSON. Members that are not used are not read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiError;

/// Reads an answer. The parser's own message would quote it.
pub(super) fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    T::deserialize(value).map_err(|_| ApiError::NotTheApi)
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobStatus {
    Pending,
    Processing,
    Completed,
    Failed,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Succeeded,
    Partial,
    Cancelled,
    Failed,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: JobStatus,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) total_records: u64,
    pub(crate) processed_records: u64,
    #[serde(default)]
    pub(crate) succeeded_records: u64,
    #[serde(default)]
    pub(crate) failed_records: u64,
    #[serde(default)]
    pub(crate) errors: Vec<JobFault>,
    #[serde(default)]
    pub(crate) files: Vec<JobFile>,
    pub(crate) label: Option<String>,
    #[serde(default)]
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) resource_types: Vec<String>,
    pub(crate) since: Option<String>,
    pub(crate) transaction_time: Option<String>,
}

/// An entry of a job's `errors`; a failed job has one for the fatal fault.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobFault {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// A file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobFile {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource_type: Option<String>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Job {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status, JobStatus::Completed | JobStatus::Failed)
    }

    /// Why it failed, for people: the code, and the service's words.
    pub(crate) fn reason(&self) -> String {
        match self.errors.first() {
            Some(fault) if fault.message.is_empty() => fault.code.clone(),
            Some(fault) => format!("{} ({})", fault.message, fault.code),
            None if self.outcome == Some(Outcome::Cancelled) => "cancelled".to_owned(),
            None => "no reason given".to_owned(),
        }
    }
}

/// An upload that waits for its content.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Upload {
    pub(crate) upload_id: String,
    /// Pre-signed: as good as a key for an hour, and never written down.
    pub(crate) upload_url: String,
}

/// What the plan allows, and what is left.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) plan: String,
    pub(crate) environment: String,
    pub(crate) bulk_operations: Operations,
    pub(crate) requests_per_month: Month,
}

/// The hourly limit of bulk operations.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operations {
    /// `None` is unlimited.
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    #[serde(default)]
    pub(crate) reset_seconds: Option<u64>,
}

/// The month's pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Month {
    pub(crate) limit: Option<u64>,
    pub(crate) used: Option<u64>,
    pub(crate) remaining: Option<u64>,
    pub(crate) reset_at: Option<String>,
}
