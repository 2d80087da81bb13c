//! Jobs: one import or export, one item, one lease, one worker at a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition, Token};
use crate::job_type::JobType;
use crate::limits::{Month, Pool};

mod checkpoint;
mod export_checkpoint;
mod failure;
mod label;
mod lease;
mod message;
mod result;
mod spec;
mod state;

pub use checkpoint::*;
pub use export_checkpoint::*;
pub use failure::*;
pub use label::*;
pub use lease::*;
pub use message::*;
pub use result::*;
pub use spec::*;
pub use state::*;

/// How far a job is, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// In all; 0 until known.
    pub total: u64,
    /// Done, the skipped ones included. Of an import: the line up to which everything is written.
    pub processed: u64,
    /// Of an import: written.
    pub succeeded: u64,
    /// Of an import: skipped.
    pub failed: u64,
}

impl Progress {
    /// This progress, or `earlier` where that is further: what clients see never goes back.
    #[must_use]
    pub fn no_less_than(self, earlier: Self) -> Self {
        let furthest = if self.processed < earlier.processed { earlier } else { self };
        Self { total: self.total.max(earlier.total).max(furthest.processed), ..furthest }
    }
}

/// Requests of the month that were reserved when the job was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub pool: Pool,
    pub month: Month,
    pub requests: u64,
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

/// What became of the workers before the one that is at a job, the worst of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum EarlierWorkers {
    /// There was none.
    #[default]
    None,
    /// One has stopped: what it had sent may have arrived, and nothing names it.
    Stopped,
    /// One has died: nobody knows what it had begun to write.
    Died,
}

/// One import or export. Its state changes by [`apply`](Self::apply) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    partition: Partition,
    id: JobId,
    spec: JobSpec,
    /// What the owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<Label>,
    state: JobState,
    progress: Progress,
    reservation: Reservation,
    created_at: Timestamp,
    expires_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    /// Whether the records to import are counted and reserved.
    counted: bool,
    /// Requests of the reservation that were given back.
    #[serde(default)]
    refunded: u64,
    /// The lease under which an import was cancelled: its holder gives back what it had not begun to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsettled: Option<Token>,
    #[serde(default)]
    earlier: EarlierWorkers,
    /// Deleted by its owner, and kept until the objects that a worker may still write are cleared away.
    #[serde(default)]
    deleted: bool,
    /// How often in a row the job was deferred.
    deferrals: u32,
    /// How often the job was found not to be as it should, since a worker last got through its time slice.
    #[serde(default)]
    defects: u32,
    /// Counts the writes of the stored job; a write names the one it follows.
    #[serde(skip)]
    revision: u64,
    /// When the sweeper redrives the job, as far as this write knows.
    #[serde(skip)]
    due_at: Option<Timestamp>,
}

/// All that a new job is made of.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub partition: Partition,
    pub id: JobId,
    pub spec: JobSpec,
    pub label: Option<Label>,
    /// Records in all, where known.
    pub total: u64,
    /// Whether they are counted and reserved. An export counts for itself: always true.
    pub counted: bool,
    pub reservation: Reservation,
    pub created_at: Timestamp,
    /// Until when the job and its files are kept.
    pub expires_at: Timestamp,
    /// When the job is redriven if its message had no effect.
    pub due_at: Timestamp,
}

impl Job {
    /// A pending job that nobody has stored yet.
    #[must_use]
    pub fn new(new: NewJob) -> Self {
        Self {
            partition: new.partition,
            id: new.id,
            spec: new.spec,
            label: new.label,
            state: JobState::Pending,
            progress: Progress { total: new.total, ..Progress::default() },
            reservation: new.reservation,
            created_at: new.created_at,
            expires_at: new.expires_at,
            started_at: None,
            completed_at: None,
            counted: new.counted,
            refunded: 0,
            unsettled: None,
            earlier: EarlierWorkers::None,
            deleted: false,
            deferrals: 0,
            defects: 0,
            revision: 1,
            due_at: Some(new.due_at),
        }
    }

    /// A job as the store has it, with what the store keeps beside it.
    #[must_use]
    pub fn with_revision(self, revision: u64, due_at: Option<Timestamp>) -> Self {
        Self { revision, due_at, ..self }
    }

    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.id
    }

    #[must_use]
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// What the owner calls it.
    #[must_use]
    pub fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    #[must_use]
    pub fn job_type(&self) -> JobType {
        self.spec.job_type()
    }

    #[must_use]
    pub fn state(&self) -> &JobState {
        &self.state
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    #[must_use]
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Whether the records to import are counted and reserved.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Until when the job and its files are kept.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When a worker first acquired it.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.completed_at
    }

    /// What it leaves behind, once completed.
    #[must_use]
    pub fn result(&self) -> Option<&JobResult> {
        match &self.state {
            JobState::Completed(result) => Some(result),
            JobState::Pending | JobState::Processing { .. } | JobState::Failed(_) => None,
        }
    }

    /// Where work goes on.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.state {
            JobState::Processing { checkpoint, .. } => checkpoint.as_deref(),
            JobState::Pending | JobState::Completed(_) | JobState::Failed(_) => None,
        }
    }

    /// The lease on the job, live or expired.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            JobState::Processing { lease, .. } => lease.as_ref(),
            JobState::Pending | JobState::Completed(_) | JobState::Failed(_) => None,
        }
    }

    /// How often in a row the job was deferred.
    #[must_use]
    pub fn deferrals(&self) -> u32 {
        self.deferrals
    }

    /// How often the job was found not to be as it should, since a worker last got through its time slice.
    #[must_use]
    pub fn defects(&self) -> u32 {
        self.defects
    }

    /// The number of the write that this job is, or would be.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When the sweeper redrives the job; of a job that has ended, when what its workers have left is cleared away once
    /// more, or `None`.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// What came of it, once it has ended.
    #[must_use]
    pub fn outcome(&self) -> Option<JobOutcome> {
        match &self.state {
            JobState::Pending | JobState::Processing { .. } => None,
            JobState::Completed(_) if self.progress.failed > 0 => Some(JobOutcome::Partial),
            JobState::Completed(_) => Some(JobOutcome::Succeeded),
            JobState::Failed(FailureReason::Cancelled) => Some(JobOutcome::Cancelled),
            JobState::Failed(_) => Some(JobOutcome::Failed),
        }
    }

    /// What storing this revision after `before` means for the month: what is given back.
    #[must_use]
    pub fn settlement(&self, before: &Self) -> Settlement {
        match self.refunded.saturating_sub(before.refunded) {
            0 => Settlement::None,
            requests => Settlement::Refund(Reservation { requests, ..self.reservation.clone() }),
        }
    }

    /// Requests of the month that the job has cost: what was reserved and not given back.
    #[must_use]
    pub fn charged(&self) -> u64 {
        if self.counted { self.reservation.requests.saturating_sub(self.refunded) } else { 0 }
    }

    /// The job as lists tell of it: without its violations.
    #[must_use]
    pub fn in_list(mut self) -> Self {
        if let JobState::Completed(JobResult::Import { violations, .. }) = &mut self.state {
            violations.clear();
        }
        self
    }

    /// Whether its owner sees it at that moment: it was not deleted, and has not expired.
    #[must_use]
    pub fn is_shown(&self, now: Timestamp) -> bool {
        !self.deleted && self.expires_at > now
    }

    /// Whether its owner has deleted it: no call shows it.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Whether the holder of this lease has to tell what it had begun to write, since the job was cancelled under it.
    #[must_use]
    pub fn awaits_settlement_by(&self, token: &Token) -> bool {
        self.unsettled.as_ref() == Some(token)
    }

    /// Whether the job has completed or failed, for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.state {
            JobState::Completed(_) | JobState::Failed(_) => true,
            JobState::Pending | JobState::Processing { .. } => false,
        }
    }
}
