//! The states of a job, and every way from one to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailureReason, Job, JobResult, Lease, LeaseRequest, MAX_TAKEOVERS, Progress};
use crate::exporting::ExportCheckpoint;
use crate::identity::Token;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobState {
    /// Set when the job is accepted. Promises: a message is under way, or the job is due.
    Pending,
    /// Set by the first worker that acquires the job. Promises: a worker holds the lease, or the job is due.
    Processing {
        lease: Option<Lease>,
        /// Where an export goes on; an import goes on where its progress stands.
        checkpoint: Option<Box<ExportCheckpoint>>,
    },
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

/// Why a worker releases a job that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Its time is over. All its uploads have ended, and the checkpoint covers them.
    Yielded,
    /// Its time is over, with parts in flight that may still arrive.
    Interrupted,
    /// A dependency is down. Parts may be in flight.
    Deferred,
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
        checkpoint: Option<Box<ExportCheckpoint>>,
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
        checkpoint: Option<Box<ExportCheckpoint>>,
    },
    Completed {
        token: Token,
        result: JobResult,
        progress: Progress,
    },
    Failed {
        token: Token,
        reason: FailureReason,
    },
    /// The message could not be sent: the sweeper is to send it at once.
    SendFailed,
    /// The owner does not want it any more, whoever holds the lease.
    Cancelled,
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
            Self::Acquired(_) | Self::SendFailed | Self::Cancelled => None,
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
                if progress.processed > self.progress.processed || *checkpoint != reached {
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
            (
                Processing { lease, checkpoint },
                Event::Released { due_at, why, progress, checkpoint: reached, token: _ },
            ) => {
                *lease = None;
                *checkpoint = reached;
                if why != Release::Yielded {
                    skip_part_numbers(checkpoint);
                }
                next.deferrals = if why == Release::Deferred { self.deferrals.saturating_add(1) } else { 0 };
                next.progress = progress.no_less_than(self.progress);
                next.due_at = Some(due_at);
            }
            (Processing { .. }, Event::Completed { result, progress, .. }) => {
                next.end(Completed(result), now);
                next.progress = progress;
            }
            (Processing { .. }, Event::Failed { reason, .. }) => next.end(Failed(reason), now),

            (Pending | Processing { .. }, Event::Cancelled) => next.end(Failed(FailureReason::Cancelled), now),

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
        }
        Ok(next)
    }

    /// Gives the lease to the worker; whoever acquires the job when it is too old, or takes it over once too often,
    /// fails it instead.
    fn acquire(
        &mut self,
        expired: Option<&Lease>,
        mut checkpoint: Option<Box<ExportCheckpoint>>,
        request: LeaseRequest,
        now: Timestamp,
    ) {
        let attempt = expired.map_or(0, |expired| expired.attempt + 1);
        if self.created_at < request.oldest {
            return self.end(JobState::Failed(FailureReason::TooOld), now);
        }
        if attempt >= MAX_TAKEOVERS {
            return self.end(JobState::Failed(FailureReason::AttemptsExhausted), now);
        }
        if expired.is_some() {
            skip_part_numbers(&mut checkpoint);
        }
        self.started_at.get_or_insert(now);
        self.due_at = Some(request.due_at);
        let lease = Lease { token: request.token, expires_at: request.expires_at, attempt };
        self.state = JobState::Processing { lease: Some(lease), checkpoint };
    }

    fn end(&mut self, state: JobState, now: Timestamp) {
        self.state = state;
        self.completed_at = Some(now);
        self.due_at = None;
    }
}

/// Parts of the last holder may still arrive: their numbers are never used for other bytes.
fn skip_part_numbers(checkpoint: &mut Option<Box<ExportCheckpoint>>) {
    if let Some(open) = checkpoint.as_mut().and_then(|checkpoint| checkpoint.open.as_mut()) {
        open.skip_part_numbers();
    }
}

#[cfg(test)]
mod tests;
