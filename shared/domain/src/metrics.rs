//! What is counted for operators.
//!
//! A metric is an event of [`METRICS`]: its numeric fields are values, `job_type` is a dimension, and all else
//! is for finding the line again. The rim makes of it what the platform understands; here nobody waits for it,
//! and a function that dies takes what it has not said with it.

use jiff::Timestamp;

use crate::identity::{JobId, Partition};
use crate::jobs::{Job, JobState, JobType};
use crate::ports::PortError;

/// The target of events that are metrics. Fields that end in `_ms` are milliseconds, those in `bytes` bytes,
/// all others counts.
pub const METRICS: &str = "metrics";

/// Tells that a job has ended, after the write that ended it.
pub(crate) fn job_ended(job: &Job, now: Timestamp) {
    let (job_type, job_id, tenant) = (job.job_type().as_str(), job.id(), &job.partition().tenant);
    let progress = job.progress();
    let job_duration_ms = now.duration_since(job.created_at()).as_millis();
    match job.state() {
        JobState::Completed(_) => tracing::info!(target: METRICS, job_type, %job_id, %tenant, jobs_completed = 1,
            records = progress.processed, records_rejected = progress.failed, job_duration_ms),
        JobState::Failed(reason) => tracing::info!(target: METRICS, job_type, %job_id, %tenant, jobs_failed = 1,
            service_faults = u64::from(reason.is_service_fault()), reason = reason.code(), job_duration_ms),
        JobState::Pending | JobState::Processing { .. } => {}
    }
}

/// A job that waits, and for what.
pub(crate) struct Deferral<'a> {
    /// Of a job that was read.
    pub(crate) job_type: Option<JobType>,
    pub(crate) partition: &'a Partition,
    pub(crate) id: &'a JobId,
    /// How often in a row, this time included.
    pub(crate) in_a_row: u32,
    pub(crate) error: &'a PortError,
}

/// Tells that a job waits, before the write that says so, which may fail too.
pub(crate) fn job_deferred(deferral: &Deferral<'_>) {
    let Deferral { job_type, partition, id, in_a_row, error } = deferral;
    let (job_id, tenant, cause) = (id, &partition.tenant, error.kind());
    let service_defects = u64::from(!error.is_transient());
    // Of a job that could not be read nobody knows the type.
    match job_type.map(JobType::as_str) {
        Some(job_type) => tracing::warn!(target: METRICS, job_type, %job_id, %tenant, cause, jobs_deferred = 1,
            deferrals_in_a_row = *in_a_row, service_defects),
        None => tracing::warn!(target: METRICS, %job_id, %tenant, cause, jobs_deferred = 1,
            deferrals_in_a_row = *in_a_row, service_defects),
    }
}

/// Tells that the table of jobs refuses writes in a way that does not pass by itself.
pub(crate) fn job_store_refuses(job: &Job, error: &PortError) {
    let (job_type, job_id, tenant) = (job.job_type().as_str(), job.id(), &job.partition().tenant);
    tracing::warn!(target: METRICS, job_type, %job_id, %tenant, cause = error.kind(), service_defects = 1);
}
