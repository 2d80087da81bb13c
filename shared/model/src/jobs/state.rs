//! The states of a job, and every way from one to another.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, EarlierWorkers, FailureReason, Job, JobResult, Lease, LeaseRequest, MAX_TAKEOVERS, Progress};
use crate::ids::Token;
use crate::job_type::JobType;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobState {
    /// Set when the job is accepted. Promises: a message is under way, or the job is due.
    Pending,
    /// Set by the first worker that acquires the job. Promises: a worker holds the lease, or the job is due.
    Processing { lease: Option<Lease>, checkpoint: Option<Box<Checkpoint>> },
    /// Set by the worker that did the last step. Promises: the files are whole, and never change.
    Completed(JobResult),
    /// Set by the worker that found that the job cannot be done, or by its owner who cancelled it. Promises: no worker
    /// acquires it again, and whoever is at it stops at its next write of the job.
    Failed(FailureReason),
}

impl JobState {
    /// The names of all states.
    pub const NAMES: [&str; 4] = ["pending", "processing", "completed", "failed"];

    /// The state's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing { .. } => "processing",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

/// How long after its end a job is looked at once more, when a worker may have left objects: whatever was on its way
/// then has arrived.
const SECOND_CLEARING: SignedDuration = SignedDuration::from_mins(10);

/// When the leftovers of a job that ended at `ended` are cleared away again.
#[must_use]
pub fn cleared_at(ended: Timestamp) -> Timestamp {
    ended.saturating_add(SECOND_CLEARING).unwrap_or(Timestamp::MAX)
}

/// Why a worker releases a job that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Its time is over.
    Yielded,
    /// A dependency is down, or the deployment has to be mended.
    Deferred,
    /// The job is not as it should be.
    Defective,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker acquires the lease: of a new or released job, or as a takeover of an expired lease.
    Acquired(LeaseRequest),
    /// The holder goes on: how far it is, and with `renewal` the lease for longer.
    Advanced {
        token: Token,
        renewal: Option<LeaseRequest>,
        progress: Progress,
        checkpoint: Option<Box<Checkpoint>>,
    },
    /// The holder has counted what is to be imported; its requests are reserved with this write.
    Counted {
        token: Token,
        records: u64,
    },
    /// The holder stops for now.
    Released {
        token: Token,
        due_at: Timestamp,
        why: Release,
        progress: Progress,
        checkpoint: Option<Box<Checkpoint>>,
    },
    Completed {
        token: Token,
        result: JobResult,
        progress: Progress,
        /// Whether objects are left that no file needs.
        leftovers: bool,
    },
    Failed {
        token: Token,
        reason: FailureReason,
        progress: Progress,
        checkpoint: Option<Box<Checkpoint>>,
    },
    /// The message could not be sent: the sweeper is to send it at once.
    SendFailed,
    /// The owner does not want it any more, whoever holds the lease.
    Cancelled,
    /// The holder of the lease under which an import was cancelled tells the last line that it had begun to write.
    Settled {
        token: Token,
        begun: u64,
    },
    /// The owner deletes a job that has ended, and of which objects may be left.
    Deleted,
    /// What the workers of an ended job have left is cleared away.
    Cleared,
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Acquired(_) => "acquired",
            Self::Advanced { .. } => "advanced",
            Self::Counted { .. } => "counted",
            Self::Released { .. } => "released",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::SendFailed => "send_failed",
            Self::Cancelled => "cancelled",
            Self::Settled { .. } => "settled",
            Self::Deleted => "deleted",
            Self::Cleared => "cleared",
        }
    }

    /// The token of the lease under which the event happens.
    fn token(&self) -> Option<&Token> {
        match self {
            Self::Advanced { token, .. }
            | Self::Counted { token, .. }
            | Self::Released { token, .. }
            | Self::Completed { token, .. }
            | Self::Failed { token, .. } => Some(token),
            Self::Acquired(_)
            | Self::SendFailed
            | Self::Cancelled
            | Self::Settled { .. }
            | Self::Deleted
            | Self::Cleared => None,
        }
    }
}

/// The event cannot happen in the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {event} in state {state}: {refusal}")]
pub struct IllegalTransition {
    pub state: &'static str,
    pub event: &'static str,
    pub refusal: Refusal,
}

/// Why an event cannot happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing changes the job any more.
    #[error("job has ended")]
    Ended,
    /// Another worker holds a live lease.
    #[error("leased by another worker")]
    Leased,
    /// The lease that the event names is not the one in force.
    #[error("lease was lost")]
    LeaseLost,
    /// To count again would reserve twice.
    #[error("records are counted already")]
    AlreadyCounted,
    /// Only a job that has ended, and of which something is left, can go through this.
    #[error("job has not ended")]
    NotEnded,
}

impl Job {
    /// The job after `event` at `now`: the only way its state changes.
    ///
    /// The result is the next revision, to be stored on the condition that the present one still stands.
    ///
    /// # Errors
    /// [`IllegalTransition`], when the event cannot happen in this state.
    pub fn apply(&self, event: Event, now: Timestamp) -> Result<Self, IllegalTransition> {
        use JobState::{Completed, Failed, Pending, Processing};

        let illegal = {
            let (state, event) = (self.state.name(), event.name());
            move |refusal| IllegalTransition { state, event, refusal }
        };
        if let (Processing { lease, .. }, Some(token)) = (&self.state, event.token())
            && lease.as_ref().is_none_or(|held| held.token != *token)
        {
            return Err(illegal(Refusal::LeaseLost));
        }
        let mut next = self.clone();
        next.revision += 1;
        match (&mut next.state, event) {
            (Completed(_) | Failed(_), Event::Deleted) if self.due_at.is_some() => next.deleted = true,
            (Completed(_) | Failed(_), Event::Cleared) if self.due_at.is_some() => next.due_at = None,
            (Failed(FailureReason::Cancelled), Event::Settled { token, begun })
                if self.awaits_settlement_by(&token) =>
            {
                next.unsettled = None;
                next.refund_unwritten(begun);
            }
            (Completed(_) | Failed(_), _) => return Err(illegal(Refusal::Ended)),

            (Pending, Event::Acquired(request)) => next.acquire(None, None, request, now),
            (Processing { lease: Some(held), .. }, Event::Acquired(_)) if held.expires_at > now => {
                return Err(illegal(Refusal::Leased));
            }
            (Processing { lease, checkpoint }, Event::Acquired(request)) => {
                let (expired, checkpoint) = (lease.take(), checkpoint.take());
                next.acquire(expired.as_ref(), checkpoint, request, now);
            }

            (
                Processing { lease: Some(held), checkpoint },
                Event::Advanced { renewal, progress, checkpoint: reached, token: _ },
            ) => {
                let progress = progress.no_less_than(self.progress);
                if self.has_advanced_to(progress, reached.as_deref()) {
                    held.attempt = 0;
                    next.deferrals = 0;
                }
                if let Some(renewal) = renewal {
                    held.expires_at = renewal.expires_at;
                    next.due_at = Some(renewal.due_at);
                }
                *checkpoint = reached;
                next.progress = progress;
            }
            (Processing { .. }, Event::Counted { records, .. }) => {
                if self.counted {
                    return Err(illegal(Refusal::AlreadyCounted));
                }
                next.counted = true;
                next.progress.total = records;
                next.reservation.requests = records;
            }
            (Processing { .. }, Event::Released { due_at, why, progress, checkpoint, token: _ }) => {
                next.release(why, progress, checkpoint);
                next.due_at = Some(due_at);
            }
            (Processing { .. }, Event::Completed { result, progress, leftovers, .. }) => {
                next.end(Completed(result), leftovers, now);
                next.progress = progress;
            }
            (Processing { checkpoint, .. }, Event::Failed { reason, progress, checkpoint: reached, token: _ }) => {
                *checkpoint = reached;
                next.progress = progress.no_less_than(self.progress);
                next.fail(reason, now);
            }

            (Pending | Processing { .. }, Event::Cancelled) => next.cancel(now),

            (Pending | Processing { lease: None, .. }, Event::SendFailed) => next.due_at = Some(now),
            (Processing { .. }, Event::SendFailed) => return Err(illegal(Refusal::Leased)),
            (
                Pending | Processing { lease: None, .. },
                Event::Advanced { .. }
                | Event::Counted { .. }
                | Event::Released { .. }
                | Event::Completed { .. }
                | Event::Failed { .. },
            ) => return Err(illegal(Refusal::LeaseLost)),
            (Pending | Processing { .. }, Event::Settled { .. } | Event::Deleted | Event::Cleared) => {
                return Err(illegal(Refusal::NotEnded));
            }
        }
        Ok(next)
    }

    /// Gives the lease to the worker; whoever acquires the job when it is too old, or takes it over once too often,
    /// fails it instead.
    fn acquire(
        &mut self,
        expired: Option<&Lease>,
        checkpoint: Option<Box<Checkpoint>>,
        request: LeaseRequest,
        now: Timestamp,
    ) {
        if expired.is_some() {
            self.earlier = EarlierWorkers::Died;
        }
        let attempt = expired.map_or(0, |expired| expired.attempt + 1);
        if self.created_at < request.oldest {
            return self.fail(FailureReason::TooOld, now);
        }
        if attempt >= MAX_TAKEOVERS {
            return self.fail(FailureReason::AttemptsExhausted, now);
        }
        self.started_at.get_or_insert(now);
        self.due_at = Some(request.due_at);
        let lease = Lease { token: request.token, expires_at: request.expires_at, attempt };
        self.state = JobState::Processing { lease: Some(lease), checkpoint };
    }

    /// Whether work that has come so far is further than the job.
    #[must_use]
    pub fn has_advanced_to(&self, progress: Progress, reached: Option<&Checkpoint>) -> bool {
        progress.processed > self.progress.processed
            || reached.is_some_and(|reached| reached.has_advanced_from(self.checkpoint()))
    }

    /// Gives the lease back, and counts why.
    fn release(&mut self, why: Release, progress: Progress, reached: Option<Box<Checkpoint>>) {
        let progress = progress.no_less_than(self.progress);
        let before = if self.has_advanced_to(progress, reached.as_deref()) { 0 } else { self.deferrals };
        (self.deferrals, self.defects) = match why {
            Release::Yielded => (before, 0),
            Release::Deferred => (before.saturating_add(1), self.defects),
            Release::Defective => (before.saturating_add(1), self.defects.saturating_add(1)),
        };
        self.earlier = self.earlier.max(EarlierWorkers::Stopped);
        self.progress = progress;
        self.state = JobState::Processing { lease: None, checkpoint: reached };
    }

    /// A job that fails gives all of its reservation back; but one whose owner has changed the upload under it is charged
    /// for what may be stored by then, as a cancelled one is.
    fn fail(&mut self, reason: FailureReason, now: Timestamp) {
        match reason {
            FailureReason::UploadChanged => {
                let begun = self.checkpoint().map_or(0, Checkpoint::begun);
                self.refund_unwritten(begun.max(self.progress.processed));
            }
            _ => self.refund_all_but(0),
        }
        self.end(JobState::Failed(reason), true, now);
    }

    /// A cancelled import gives back what it certainly has not stored: all, when no worker was ever at it; what its last
    /// worker had not begun to write; or, while a worker may be at it, what that one says when it notices.
    fn cancel(&mut self, now: Timestamp) {
        match (self.job_type(), &self.state) {
            (JobType::Export, _) | (_, JobState::Pending) => self.refund_all_but(0),
            (JobType::Import, JobState::Processing { lease: Some(lease), .. }) => {
                self.unsettled = Some(lease.token.clone());
            }
            (JobType::Import, JobState::Processing { lease: None, checkpoint }) => {
                let begun = checkpoint.as_deref().map_or(0, Checkpoint::begun);
                self.refund_unwritten(begun);
            }
            (JobType::Import, JobState::Completed(_) | JobState::Failed(_)) => {}
        }
        self.end(JobState::Failed(FailureReason::Cancelled), true, now);
    }

    /// Gives back what follows the last line that was begun to be written, unless a worker has died: nobody knows how far
    /// that one was.
    fn refund_unwritten(&mut self, begun: u64) {
        if self.earlier < EarlierWorkers::Died {
            self.refund_all_but(begun);
        }
    }

    fn refund_all_but(&mut self, requests: u64) {
        if self.counted {
            self.refunded = self.reservation.requests.saturating_sub(requests);
        }
    }

    fn end(&mut self, state: JobState, leftovers: bool, now: Timestamp) {
        // Once started, whatever a worker has sent may still arrive.
        let is_untidy = (leftovers && self.started_at.is_some()) || self.earlier > EarlierWorkers::None;
        self.due_at = is_untidy.then(|| cleared_at(now));
        self.state = state;
        self.completed_at = Some(now);
    }
}

#[cfg(test)]
mod tests;
