//! What the client is told of a job.

use domain::{Job, JobSpec, JobType};
use jiff::Timestamp;
use records::ResourceType;
use serde::{Serialize, Serializer};

/// The `data` of the answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobReport {
    id: String,
    #[serde(rename = "type")]
    job_type: JobType,
    status: &'static str,
    total_records: u64,
    processed_records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_records: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) download: Option<Link>,
    pub(crate) errors: Vec<JobError>,
    pub(crate) error_count: u64,
    pub(crate) errors_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errors_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejected_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<ResourceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_types: Option<Vec<ResourceType>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_moment")]
    since: Option<Timestamp>,
    #[serde(serialize_with = "moment")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_moment")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_moment")]
    completed_at: Option<Timestamp>,
    #[serde(serialize_with = "moment")]
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_moment")]
    pub(crate) transaction_time: Option<Timestamp>,
}

/// A signed URL and the latest moment at which it can work.
#[derive(Debug, Serialize)]
pub(crate) struct Link {
    #[serde(rename = "downloadUrl")]
    pub(crate) url: String,
    #[serde(rename = "downloadUrlExpiresAt", serialize_with = "moment")]
    pub(crate) expires_at: Timestamp,
}

/// An entry of `errors`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JobError {
    /// What is wrong with a line.
    OfLine {
        /// The line, from 0.
        index: u64,
        /// The line, from 1.
        line: u64,
        #[serde(flatten)]
        violation: records::Violation,
    },
    /// Why the job failed.
    Fatal(Failure),
}

#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl JobReport {
    /// What the job itself tells.
    pub(crate) fn new(job: &Job) -> Self {
        let progress = job.progress();
        let (resource_type, resource_types, since) = match job.spec() {
            JobSpec::Import { resource_type, .. } => (Some(*resource_type), None, None),
            JobSpec::Export(spec) => (None, Some(spec.resource_types.clone()), spec.since),
        };
        let of_import = |records| (job.job_type() == JobType::Import).then_some(records);
        Self {
            id: job.id().to_string(),
            job_type: job.job_type(),
            status: job.state().name(),
            total_records: progress.total,
            processed_records: progress.processed,
            succeeded_records: of_import(progress.succeeded),
            failed_records: of_import(progress.failed),
            download: None,
            errors: Vec::new(),
            error_count: 0,
            errors_truncated: false,
            errors_url: None,
            rejected_url: None,
            results_url: None,
            resource_type,
            resource_types,
            since,
            created_at: job.created_at(),
            started_at: job.started_at(),
            completed_at: job.completed_at(),
            expires_at: job.expires_at(),
            transaction_time: None,
        }
    }
}

fn moment<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{moment:.3}"))
}

#[expect(clippy::ref_option, reason = "serde hands the field over like this")]
fn optional_moment<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => moment(at, serializer),
        None => serializer.serialize_none(),
    }
}
