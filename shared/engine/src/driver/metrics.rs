//! What operators are told of jobs that do not go on.

use model::{JobId, JobType, Partition};
use ports::{METRICS, PortError};

/// Tells that a job waits, how often in a row, and for what; before the write that says so, which may fail too.
pub(crate) fn job_deferred(
    job_type: JobType,
    Partition { tenant, .. }: &Partition,
    job_id: &JobId,
    in_a_row: u32,
    error: &PortError,
) {
    tracing::warn!(target: METRICS, job_type = job_type.as_str(), %job_id, %tenant, cause = error.kind(),
        jobs_deferred = 1, deferrals_in_a_row = in_a_row, service_defects = u64::from(!error.is_transient()));
}
