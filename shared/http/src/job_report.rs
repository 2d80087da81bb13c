//! What the client is told of a job, by every route that shows one.

use model::{
    ExportSpec, ImportFormat, Job, JobOutcome, JobResult, JobSpec, JobState, JobType, LineViolation,
    MAX_INLINE_VIOLATIONS, RecordFormat, Report, ResultFile, ShownViolation, transaction_time,
};
use records::ResourceType;
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::answer::moment;

/// A job as it is shown.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    id: String,
    #[serde(rename = "type")]
    job_type: JobType,
    status: &'static str,
    outcome: Option<JobOutcome>,
    label: Option<String>,
    total_records: u64,
    processed_records: u64,
    succeeded_records: Option<u64>,
    failed_records: Option<u64>,
    #[serde(flatten)]
    pub download: Option<Link>,
    /// Left out of lists.
    errors: Option<Vec<JobError>>,
    error_count: u64,
    errors_truncated: bool,
    pub errors_url: Option<String>,
    pub rejected_url: Option<String>,
    pub results_url: Option<String>,
    files: Option<Vec<FileReport>>,
    resource_type: Option<ResourceType>,
    resource_types: Option<Vec<ResourceType>>,
    since: Option<String>,
    format: Option<&'static str>,
    mapping_version: Option<u32>,
    lost_elements: Option<u64>,
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    expires_at: String,
    transaction_time: Option<String>,
}

/// A signed URL and the latest moment at which it can work.
#[derive(Debug, Serialize)]
pub struct Link {
    #[serde(rename = "downloadUrl")]
    pub url: String,
    #[serde(rename = "downloadUrlExpiresAt")]
    pub expires_at: String,
}

/// A file of a completed job.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileReport {
    name: String,
    resource_type: Option<ResourceType>,
    records: u64,
    bytes: u64,
    sha256: String,
    /// Below the API's base URL: it works for as long as the job is kept.
    url: String,
}

impl FileReport {
    fn new(job: &Job, file: &ResultFile) -> Self {
        Self {
            name: file.name.clone(),
            resource_type: file.resource_type,
            records: file.records,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            url: format!("/v1/bulk/jobs/{}/files/{}", job.id(), file.name),
        }
    }
}

/// An entry of `errors`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum JobError {
    /// What is wrong with a line.
    OfLine(ShownViolation<LineViolation>),
    /// Why the job failed.
    Fatal { code: &'static str, message: &'static str },
}

impl From<&LineViolation> for JobError {
    fn from(violation: &LineViolation) -> Self {
        Self::OfLine(ShownViolation::new(violation.clone()))
    }
}

impl JobReport {
    /// What the job itself tells, without signed URLs.
    #[must_use]
    pub fn new(job: &Job) -> Self {
        let progress = job.progress();
        let (errors, error_count) = errors(job);
        let transaction_time = match job.result() {
            Some(JobResult::Export { started_at, .. }) => Some(moment(transaction_time(*started_at))),
            Some(JobResult::Import { .. }) | None => None,
        };
        let (resource_type, resource_types, since) = match job.spec() {
            JobSpec::Import { resource_type, .. } => (Some(*resource_type), None, None),
            JobSpec::Export(spec) => (None, Some(spec.resource_types.clone()), spec.since.map(moment)),
        };
        let mapping_version = match job.spec() {
            JobSpec::Export(ExportSpec { format: RecordFormat::Fhir { mapping_version }, .. })
            | JobSpec::Import { format: ImportFormat::Fhir { mapping_version, .. }, .. } => Some(*mapping_version),
            JobSpec::Export(_) | JobSpec::Import { .. } => None,
        };
        let of_losses = |file: &&ResultFile| Report::of_file_name(&file.name) == Some(Report::Losses);
        let lost_elements = match job.result() {
            Some(JobResult::Import { files, .. }) if mapping_version.is_some() => {
                Some(files.iter().find(of_losses).map_or(0, |file| file.records))
            }
            _ => None,
        };
        let of_import = |records| (job.job_type() == JobType::Import).then_some(records);
        Self {
            id: job.id().to_string(),
            job_type: job.job_type(),
            status: job.state().name(),
            outcome: job.outcome(),
            label: job.label().map(ToString::to_string),
            total_records: progress.total,
            processed_records: progress.processed,
            succeeded_records: of_import(progress.succeeded),
            failed_records: of_import(progress.failed),
            download: None,
            errors_truncated: error_count > MAX_INLINE_VIOLATIONS as u64,
            error_count,
            errors: Some(errors),
            errors_url: None,
            rejected_url: None,
            results_url: None,
            files: job.result().map(|result| result.files().iter().map(|file| FileReport::new(job, file)).collect()),
            resource_type,
            resource_types,
            since,
            format: mapping_version.map(|_| "fhir"),
            mapping_version,
            lost_elements,
            created_at: moment(job.created_at()),
            started_at: job.started_at().map(moment),
            completed_at: job.completed_at().map(moment),
            expires_at: moment(job.expires_at()),
            transaction_time,
        }
    }

    /// The job as lists show it.
    #[must_use]
    pub fn in_list(job: &Job) -> Self {
        Self { errors: None, ..Self::new(job) }
    }
}

/// The errors that are shown, and how many there are.
fn errors(job: &Job) -> (Vec<JobError>, u64) {
    match job.state() {
        JobState::Completed(JobResult::Import { violations, violation_count, .. }) => {
            (violations.iter().map(JobError::from).collect(), *violation_count)
        }
        JobState::Failed(reason) => (vec![JobError::Fatal { code: reason.code(), message: reason.message() }], 1),
        JobState::Pending | JobState::Processing { .. } | JobState::Completed(JobResult::Export { .. }) => {
            (Vec::new(), 0)
        }
    }
}
