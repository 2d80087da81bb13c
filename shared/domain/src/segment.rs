//! A segment of an export: some of its slices, read by one worker at a time into parts of its own.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition, Token};
use crate::job::{IllegalTransition, Job, JobStatus, Progress};
use crate::layout::{PARTS_AHEAD, parts_of};
use crate::lease::{Claim, Lease, Refusal};
use crate::message::Target;
use crate::object_key::ObjectKey;
use crate::ports::{PageKey, UploadedPart};

/// Where a segment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SegmentState {
    /// Set by the plan. Promises: a worker holds the lease, or the segment is due.
    Working(Option<Lease>),
    /// Set by the worker that has read the last slice to its end. Promises: the parts and the tail hold
    /// every record of the slices once.
    Done {
        /// What was left at the end, too small for a part.
        tail: Option<ObjectKey>,
    },
    /// Set by whoever finds that the job has ended without it. Promises: nothing more is written.
    Dropped,
}

/// How far a segment is: what the unbroken run of its parts covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The slice in which reading goes on, by its index.
    pub slice: u32,
    /// The last record of it that is covered.
    pub behind: Option<PageKey>,
    /// The next part number.
    pub next_part: u32,
    /// Records covered.
    pub processed: u64,
    /// Bytes covered.
    pub bytes: u64,
    /// The parts.
    pub parts: Vec<UploadedPart>,
}

/// What can happen to a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentEvent {
    /// A worker takes it, new, released, or left by a dead worker.
    Taken(Claim),
    /// The holder goes on: renews its lease, and tells how far it is.
    Renewed(Claim, Checkpoint),
    /// The holder stops for now, in good order.
    Released {
        /// The holder's token.
        token: Token,
        /// When the segment goes on.
        due_at: Timestamp,
        /// Whether it stops because a dependency is down.
        because_unavailable: bool,
    },
    /// The holder has read everything; written together with the job's [`Event::SegmentDone`](crate::Event).
    Done {
        /// The holder's token.
        token: Token,
        /// What was left at the end.
        tail: Option<ObjectKey>,
        /// What parts and tail cover.
        covered: Checkpoint,
    },
    /// The job has ended.
    Dropped,
}

/// A segment. Its state changes by [`apply`](Self::apply) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    partition: Partition,
    job_id: JobId,
    number: u8,
    slices: Range<u32>,
    state: SegmentState,
    checkpoint: Checkpoint,
    /// Whether anybody has ever worked on it.
    touched: bool,
    /// How often in a row it was released because a dependency was down.
    releases: u32,
    expires_at: Timestamp,
    /// Counts the writes of the stored segment; a write names the one it follows.
    #[serde(skip)]
    revision: u64,
    #[serde(skip)]
    due_at: Option<Timestamp>,
}

impl Segment {
    /// A segment of a job that nobody has stored yet.
    #[must_use]
    pub fn new(job: &Job, number: u8, slices: Range<u32>, due_at: Timestamp) -> Self {
        let checkpoint = Checkpoint {
            slice: slices.start,
            behind: None,
            next_part: parts_of(number).start,
            processed: 0,
            bytes: 0,
            parts: Vec::new(),
        };
        Self {
            partition: job.partition().clone(),
            job_id: job.id().clone(),
            number,
            slices,
            state: SegmentState::Working(None),
            checkpoint,
            touched: false,
            releases: 0,
            expires_at: job.expires_at(),
            revision: 1,
            due_at: Some(due_at),
        }
    }

    /// A segment as the store has it, with what the store keeps beside it.
    #[must_use]
    pub fn restored(self, revision: u64, due_at: Option<Timestamp>) -> Self {
        Self { revision, due_at, ..self }
    }

    /// Whose segment.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Of which job.
    #[must_use]
    pub fn job_id(&self) -> &JobId {
        &self.job_id
    }

    /// What a message about it names.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { job_id: self.job_id.clone(), segment: Some(self.number) }
    }

    /// Its number, from 0.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The slices that it reads, by their index.
    #[must_use]
    pub fn slices(&self) -> Range<u32> {
        self.slices.clone()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &SegmentState {
        &self.state
    }

    /// How far it is.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How often in a row it was released because a dependency was down.
    #[must_use]
    pub fn releases(&self) -> u32 {
        self.releases
    }

    /// Until when it is kept.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The number of the write that this segment is, or would be.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When somebody has to look at it; `None` when nothing is left to do.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// The lease that is on it, live or expired.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            SegmentState::Working(lease) => lease.as_ref(),
            SegmentState::Done { .. } | SegmentState::Dropped => None,
        }
    }

    /// The segment after `event` at `now`: the only way its state changes.
    ///
    /// # Errors
    /// [`IllegalTransition`], when the event cannot happen in this state.
    pub fn apply(&self, event: SegmentEvent, now: Timestamp) -> Result<Self, IllegalTransition> {
        use SegmentState::{Done, Dropped, Working};

        let Working(lease) = &self.state else { return Err(IllegalTransition::Ended) };
        let held = |token: &Token| lease.as_ref().filter(|held| held.token == *token);
        let mut next = self.clone();
        next.revision += 1;
        match event {
            SegmentEvent::Taken(claim) => {
                let lease = Lease::follow(lease.as_ref(), &claim, now).map_err(|refusal| match refusal {
                    Refusal::Held => IllegalTransition::Leased,
                    Refusal::Exhausted => IllegalTransition::Exhausted,
                })?;
                // Uploads of whoever was here before may still arrive.
                if self.touched {
                    next.checkpoint.next_part += PARTS_AHEAD;
                }
                next.touched = true;
                next.state = Working(Some(lease));
                next.due_at = Some(claim.due_at);
            }
            SegmentEvent::Renewed(claim, checkpoint) => {
                let held = held(&claim.token).ok_or(IllegalTransition::LeaseLost)?;
                let advanced = checkpoint.next_part > self.checkpoint.next_part;
                next.state = Working(Some(held.renew(&claim, advanced)));
                next.releases = if advanced { 0 } else { self.releases };
                next.due_at = Some(claim.due_at);
                next.checkpoint = checkpoint;
            }
            SegmentEvent::Released { token, due_at, because_unavailable } => {
                held(&token).ok_or(IllegalTransition::LeaseLost)?;
                next.state = Working(None);
                next.releases = if because_unavailable { self.releases.saturating_add(1) } else { 0 };
                next.due_at = Some(due_at);
            }
            SegmentEvent::Done { token, tail, covered } => {
                held(&token).ok_or(IllegalTransition::LeaseLost)?;
                next.state = Done { tail };
                // The key of a record is needed no longer, and belongs into no other item.
                next.checkpoint = Checkpoint { slice: self.slices.end, behind: None, ..covered };
                next.due_at = None;
            }
            SegmentEvent::Dropped => {
                next.state = Dropped;
                next.checkpoint.behind = None;
                next.due_at = None;
            }
        }
        Ok(next)
    }
}

/// How far a job with these segments is, as clients see it.
#[must_use]
pub fn overall_progress(job: &Job, segments: &[Segment]) -> Progress {
    let own = job.progress();
    if *job.status() == JobStatus::Completed || segments.is_empty() {
        return own;
    }
    let processed = segments.iter().map(|segment| segment.checkpoint.processed).sum();
    Progress { processed, total: own.total.max(processed), ..own }
}
