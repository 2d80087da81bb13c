//! What operators are told of jobs that do not go on.

use model::{Job, JobId, JobType, Partition};
use ports::{METRICS, PortError};

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
