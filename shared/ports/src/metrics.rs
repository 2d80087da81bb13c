//! What is counted for operators.
//!
//! A metric is an event of [`METRICS`]: its numeric fields are values, `job_type` is a dimension, and all else is for
//! finding the line again. The runtime's telemetry makes of it what the platform understands; here nobody waits for it, and
//! a function that dies takes what it has not said with it.

use jiff::Timestamp;
use model::{Job, JobId, JobState, JobType, Partition};
use tracing::field::display;

use crate::error::PortError;

/// The target of events that are metrics. Fields that end in `_ms` are milliseconds, those in `bytes` bytes,
/// all others counts.
pub const METRICS: &str = "metrics";

/// Tells that a job has ended, after the write that ended it.
pub fn job_ended(job: &Job, now: Timestamp) {
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

/// Tells of a call about a job, or about all jobs of a type, that fails in a way that does not pass by itself: people have
/// to mend something. Of other failures it tells nothing.
pub fn service_defect(job_type: JobType, job: Option<(&Partition, &JobId)>, error: &PortError) {
    if !error.is_transient() {
        let (tenant, job_id) = job.map(|(partition, id)| (display(&partition.tenant), display(id))).unzip();
        tracing::warn!(target: METRICS, job_type = job_type.as_str(), job_id, tenant, cause = error.kind(),
            service_defects = 1);
    }
}
