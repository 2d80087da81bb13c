//! Where jobs are kept, and what carries messages about them.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::accepting::{IdempotencyEntry, IdempotencyKey};
use crate::identity::{JobId, Partition, UploadId};
use crate::jobs::{Job, JobType, Reservation};
use crate::limits::Window;

/// Why a job was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The stored job is not of the revision that the write follows.
    #[error("job was changed meanwhile")]
    Conflict,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// All that one accepted call changes, together or not at all.
#[derive(Debug, Clone)]
pub struct Acceptance {
    pub job: Job,
    /// The window with the new operation; on condition that the stored one is of the version before.
    pub window: Window,
    /// The month's limit that the job's reservation must fit, if any refuses.
    pub month_limit: Option<u64>,
    /// The upload to mark as used; on condition that it exists and is unused.
    pub upload: Option<UploadId>,
    pub idempotency: Option<IdempotencyWrite>,
    /// The same for every try of one acceptance whose outcome is unknown.
    pub request_token: String,
}

/// An idempotency entry to write, on condition that there is none, an expired one, or one of the job that is gone.
#[derive(Debug, Clone)]
pub struct IdempotencyWrite {
    pub key: IdempotencyKey,
    pub entry: IdempotencyEntry,
    /// The job that the present entry names and that was found to be gone.
    pub gone: Option<JobId>,
}

/// Why an acceptance had no effect.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("acceptance was cancelled")]
    Cancelled(Cancellation),
    /// The outcome is unknown.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The conditions of an acceptance that did not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one independent condition each, as the store reports them")]
pub struct Cancellation {
    /// There is a job of this id: this call's own, of an earlier try.
    pub job_exists: bool,
    pub idempotency_key_used: bool,
    pub window_changed: bool,
    pub month_full: bool,
    /// The upload is gone, or used.
    pub upload_unusable: bool,
    /// Another transaction was at work on the same items.
    pub contention: bool,
}

/// A job with work left that nobody may be looking after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueJob {
    pub partition: Partition,
    pub job_id: JobId,
    pub job_type: JobType,
    /// Whether a worker has ever acquired it.
    pub has_started: bool,
    pub due_at: Timestamp,
}

/// What an update of a job means for the month's counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    None,
    /// The job's reservation is counted, within the limit if there is one.
    Reserve {
        limit: Option<u64>,
    },
    /// So much of the job's reservation is given back.
    Refund(Reservation),
}

/// Creates jobs.
#[async_trait]
pub trait AcceptanceStore: Send + Sync {
    /// Accepts a job, in one transaction with all that limits it.
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError>;
}

/// Keeps jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// The job as it is now (strongly consistent), unless there is none or it has expired by `now`.
    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError>;

    /// Writes the job's next revision and the settlement, in one transaction.
    async fn update(&self, partition: &Partition, job: &Job, settlement: &Settlement) -> Result<(), UpdateError>;
}

/// Finds due jobs, across partitions: the sweeper's.
#[async_trait]
pub trait DueStore: Send + Sync {
    /// Up to `limit` jobs that are due at `now`.
    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<DueJob>, PortError>;

    /// Moves what is due to `until`; false when it is no longer due as it was found.
    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError>;
}

/// Carries messages to the processors of one type of job. A message says "look at this job" and nothing else.
#[async_trait]
pub trait JobQueue: Send + Sync {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError>;
}
