//! Where jobs are kept, and what carries messages about them.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::idempotency::{IdempotencyEntry, IdempotencyKey};
use crate::ids::{JobId, Partition, UploadId};
use crate::job::{Job, JobType, Reservation};
use crate::message::Target;
use crate::segment::Segment;
use crate::window::Window;

/// Why a job was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Another write came first: the stored job is not the one that the write follows.
    #[error("job was changed meanwhile")]
    Conflict,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// All that one accepted call changes, together or not at all.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The new job.
    pub job: Job,
    /// The window with the new operation; on condition that the stored one is of the version before.
    pub window: Window,
    /// The month's limit that the job's reservation must fit, if any refuses.
    pub month_limit: Option<u64>,
    /// The upload to mark as used; on condition that it is there and unused.
    pub upload: Option<UploadId>,
    /// The idempotency entry to write; on condition that there is none, or an expired one.
    pub idempotency: Option<(IdempotencyKey, IdempotencyEntry)>,
    /// The same for every try of one acceptance whose outcome is unknown.
    pub request_token: String,
}

/// Why an acceptance had no effect.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The conditions that did not hold.
    #[error("acceptance was cancelled")]
    Cancelled(Cancellation),
    /// See [`PortError`]; the outcome is unknown.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The conditions of an acceptance that did not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one independent condition each, as the store tells them")]
pub struct Cancellation {
    /// There is a job of this id: this call's own, of an earlier try.
    pub job_exists: bool,
    /// The idempotency key is in use.
    pub idempotency_key_used: bool,
    /// The window has changed since it was read.
    pub window_changed: bool,
    /// The month's counter has no room.
    pub month_full: bool,
    /// The upload is gone, or used.
    pub upload_unusable: bool,
    /// Another transaction was at work on the same items.
    pub contention: bool,
}

/// Something due: work that nobody may be looking after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose work.
    pub partition: Partition,
    /// A job, or a segment of one.
    pub target: Target,
    /// Which queue it goes through.
    pub job_type: JobType,
    /// Since when it is due.
    pub due_at: Timestamp,
}

/// What an update of a job means for the month's counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing.
    None,
    /// The job's reservation is counted, within the limit if there is one.
    Reserve {
        /// What is counted.
        reservation: Reservation,
        /// The month's limit, if any refuses.
        limit: Option<u64>,
    },
    /// The job's reservation is given back.
    Refund(Reservation),
}

/// What is written together, or not at all. Each item is the next revision of the stored one, or new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// A job.
    pub job: Option<Job>,
    /// Segments of one job.
    pub segments: Vec<Segment>,
    /// What it means for the month's counter.
    pub settlement: Settlement,
}

impl From<Segment> for Change {
    fn from(segment: Segment) -> Self {
        Self { job: None, segments: vec![segment], settlement: Settlement::None }
    }
}

impl Change {
    /// A job, and nothing of the month.
    #[must_use]
    pub fn job(job: Job) -> Self {
        Self { job: Some(job), segments: Vec::new(), settlement: Settlement::None }
    }

    /// The same, with what it means for the month's counter.
    #[must_use]
    pub fn settle(self, settlement: Settlement) -> Self {
        Self { settlement, ..self }
    }
}

/// Keeps jobs and their segments.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Accepts a job, in one transaction with all that limits it.
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError>;

    /// The job as it is now (strongly consistent), unless there is none or it has expired by `now`.
    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError>;

    /// A segment as it is now (strongly consistent), unless there is none or it has expired by `now`.
    async fn segment(
        &self,
        partition: &Partition,
        id: &JobId,
        number: u8,
        now: Timestamp,
    ) -> Result<Option<Segment>, PortError>;

    /// The job with all its segments, in their order (strongly consistent), unless there is none or it has
    /// expired by `now`.
    async fn with_segments(
        &self,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<(Job, Vec<Segment>)>, PortError>;

    /// Writes a change, in one transaction.
    async fn update(&self, partition: &Partition, change: &Change) -> Result<(), UpdateError>;

    /// Up to `limit` jobs and segments that are due at `now`. The sweeper's: it looks across partitions.
    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError>;

    /// Moves what is due to `until`; false when it is no longer due as it was found.
    async fn postpone(&self, due: &Due, until: Timestamp) -> Result<bool, PortError>;
}

/// Carries messages to the processors. A message says "look at this" and nothing else. Tenants take
/// turns: one with many messages under way does not keep another's waiting.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends a message.
    async fn send(&self, partition: &Partition, target: &Target, job_type: JobType) -> Result<(), PortError>;
}
