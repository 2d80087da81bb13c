//! Where jobs are kept, and what carries messages about them.

use async_trait::async_trait;
use jiff::Timestamp;
use model::{IdempotencyEntry, IdempotencyKey, Job, JobId, JobState, JobType, Partition, Settlement, UploadId, Window};

use crate::error::PortError;

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

/// Jobs that somebody has to look at are kept in groups by when they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueGroup {
    pub job_type: JobType,
    pub stage: Stage,
}

/// How far a job is, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No worker has ever acquired it.
    Pending,
    Started,
    /// It has ended, and what its workers have left is to be cleared away.
    Ended,
}

impl Stage {
    /// The stage of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        match job.state() {
            JobState::Pending => Self::Pending,
            JobState::Processing { .. } => Self::Started,
            JobState::Completed(_) | JobState::Failed(_) => Self::Ended,
        }
    }
}

impl DueGroup {
    /// All groups.
    pub const ALL: [Self; 6] = [
        Self { job_type: JobType::Import, stage: Stage::Started },
        Self { job_type: JobType::Export, stage: Stage::Started },
        Self { job_type: JobType::Import, stage: Stage::Pending },
        Self { job_type: JobType::Export, stage: Stage::Pending },
        Self { job_type: JobType::Import, stage: Stage::Ended },
        Self { job_type: JobType::Export, stage: Stage::Ended },
    ];
}

/// A job with work left that nobody may be looking after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueJob {
    pub partition: Partition,
    pub job_id: JobId,
    pub group: DueGroup,
    pub due_at: Timestamp,
}

/// Some due jobs of a group, the longest due first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuePage {
    pub jobs: Vec<DueJob>,
    /// Keys that name no job: an operator's matter, and in nobody's way.
    pub unreadable: u64,
    /// Where to read on; `None` at the end.
    pub next: Option<DueCursor>,
}

/// A place among the due jobs of a group, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueCursor {
    pub due_at: Timestamp,
    pub partition: String,
    pub job_id: String,
}

/// Some jobs of a partition, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListedJobs {
    pub jobs: Vec<Job>,
    /// Where to read on; `None` at the end.
    pub next: Option<JobId>,
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
    /// The job as it is now (strongly consistent), whatever has become of it: for those who work on it.
    async fn read(&self, partition: &Partition, id: &JobId) -> Result<Option<Job>, PortError>;

    /// The job as its owner sees it at `now`: one that was deleted or has expired is none.
    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError> {
        Ok(self.read(partition, id).await?.filter(|job| job.is_shown(now)))
    }

    /// Writes the job's next revision and the settlement, in one transaction.
    async fn update(&self, partition: &Partition, job: &Job, settlement: &Settlement) -> Result<(), UpdateError>;

    /// Up to `limit` jobs of the partition, newest first, from the newest on or after a job: those that were deleted
    /// or have expired by `now` are left out, and so are the violations of the others.
    async fn list(
        &self,
        partition: &Partition,
        after: Option<&JobId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListedJobs, PortError>;

    /// Deletes a job, if it is there.
    async fn delete(&self, partition: &Partition, id: &JobId) -> Result<(), PortError>;
}

/// Finds due jobs, across partitions: the sweeper's.
#[async_trait]
pub trait DueStore: Send + Sync {
    /// Up to `limit` jobs of a group that are due at `now`, from the longest due on or after a place.
    async fn due(
        &self,
        group: DueGroup,
        now: Timestamp,
        after: Option<&DueCursor>,
        limit: usize,
    ) -> Result<DuePage, PortError>;

    /// When the oldest job in the group's index was created, due or not.
    async fn oldest(&self, group: DueGroup) -> Result<Option<Timestamp>, PortError>;

    /// Moves what is due to `until`; false when it is no longer due as it was found. Repeating it is no change: the answer
    /// of a first try may have been lost.
    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError>;
}

/// Carries messages to the processors of one type of job. A message says "look at this job" and nothing else.
#[async_trait]
pub trait JobQueue: Send + Sync {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError>;
}
