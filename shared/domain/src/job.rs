//! A job, and the one way its state changes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use records::Fault;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition};
use crate::object_key::ObjectKey;
use crate::plan::{Month, Pool};
use crate::ports::MultipartId;

mod failure;
mod spec;
mod state;

pub use failure::FailureReason;
pub use spec::{ImportSource, JobSpec, JobType};
pub use state::{Event, IllegalTransition, JobStatus, Phase};

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Records in all; 0 until known.
    pub total: u64,
    /// Records done, the skipped ones included. Of an import: the line up to which all is written.
    pub processed: u64,
    /// Of an import: records written.
    pub succeeded: u64,
    /// Of an import: records skipped.
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

/// What a completed job leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobResult {
    /// Of an import.
    Import {
        /// The first faults, at most [`MAX_INLINE_FAULTS`].
        faults: Vec<LineFault>,
        /// All faults counted.
        fault_count: u64,
        /// Where every fault stands; `None` when there is none.
        errors: Option<ObjectKey>,
        /// Where the rejected lines stand; `None` when there is none.
        rejected: Option<ObjectKey>,
        /// Where it stands what became of every line.
        results: ObjectKey,
    },
    /// Of an export.
    Export {
        /// The file.
        file: ObjectKey,
        /// When its reading began: later changes may be missing.
        started_reading_at: Timestamp,
    },
}

/// How an export is done: decided once, under the job's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportPlan {
    /// When reading began: later changes may be missing.
    pub started_reading_at: Timestamp,
    /// The file.
    pub file: ObjectKey,
    /// Its upload, in which all segments write their parts.
    pub upload: MultipartId,
    /// The size of a part, in bytes.
    pub part_size: u64,
    /// How many segments there are.
    pub segments: u8,
    /// Those that are done: a set, since a counter would count twice when an answer is lost.
    pub done: BTreeSet<u8>,
    /// How many records were counted, eventually consistent.
    pub counted: u64,
}

/// How many faults a job's item carries itself.
pub const MAX_INLINE_FAULTS: usize = 100;

/// A fault and the line it was found in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// Requests of the month that were set aside when the job was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Whose counter.
    pub pool: Pool,
    /// Which month's counter.
    pub month: Month,
    /// How many.
    pub requests: u64,
}

/// One import or export. Its state changes by [`apply`](Self::apply) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    partition: Partition,
    id: JobId,
    spec: JobSpec,
    status: JobStatus,
    progress: Progress,
    reservation: Reservation,
    created_at: Timestamp,
    expires_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    result: Option<JobResult>,
    /// Whether the records to import are counted and reserved.
    counted: bool,
    /// Of an export, from its planning on.
    plan: Option<ExportPlan>,
    /// How often in a row the job was released because a dependency was down.
    releases: u32,
    /// Counts the writes of the stored job; a write names the one it follows.
    #[serde(skip)]
    revision: u64,
    /// When somebody has to look at the job, as far as this write knows.
    #[serde(skip)]
    due_at: Option<Timestamp>,
}

/// All that a new job is made of.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Whose job.
    pub partition: Partition,
    /// Its id.
    pub id: JobId,
    /// What is asked for.
    pub spec: JobSpec,
    /// Records in all, where known.
    pub total: u64,
    /// Whether they are counted and reserved. An export counts for itself: always true.
    pub counted: bool,
    /// What the job takes of the month.
    pub reservation: Reservation,
    /// Now.
    pub created_at: Timestamp,
    /// Until when the job and its files are kept.
    pub expires_at: Timestamp,
    /// When the job is sent again if its message had no effect.
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
            status: JobStatus::Pending,
            progress: Progress { total: new.total, ..Progress::default() },
            reservation: new.reservation,
            created_at: new.created_at,
            expires_at: new.expires_at,
            started_at: None,
            completed_at: None,
            result: None,
            counted: new.counted,
            plan: None,
            releases: 0,
            revision: 1,
            due_at: Some(new.due_at),
        }
    }

    /// A job as the store has it, with what the store keeps beside it.
    #[must_use]
    pub fn restored(self, revision: u64, due_at: Option<Timestamp>) -> Self {
        Self { revision, due_at, ..self }
    }

    /// Whose job.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// What is asked for.
    #[must_use]
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// Import or export.
    #[must_use]
    pub fn job_type(&self) -> JobType {
        match self.spec {
            JobSpec::Import { .. } => JobType::Import,
            JobSpec::Export { .. } => JobType::Export,
        }
    }

    /// Where the job stands.
    #[must_use]
    pub fn status(&self) -> &JobStatus {
        &self.status
    }

    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What the job has taken of the month.
    #[must_use]
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Whether the records to import are counted and reserved.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// When the job was accepted.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Until when the job and its files are kept.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When work on it first began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.completed_at
    }

    /// What it has left behind, once completed.
    #[must_use]
    pub fn result(&self) -> Option<&JobResult> {
        self.result.as_ref()
    }

    /// How the export is done, once that is decided.
    #[must_use]
    pub fn plan(&self) -> Option<&ExportPlan> {
        self.plan.as_ref()
    }

    /// How often in a row the job was released because a dependency was down.
    #[must_use]
    pub fn releases(&self) -> u32 {
        self.releases
    }

    /// The number of the write that this job is, or would be.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When somebody has to look at the job; `None` when it has ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// Whether the job has completed or failed, for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.status {
            JobStatus::Completed | JobStatus::Failed(_) => true,
            JobStatus::Pending | JobStatus::Processing(_) => false,
        }
    }
}
