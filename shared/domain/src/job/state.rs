//! The states of a job, and every way from one to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailureReason, Job, JobResult, Progress};
use crate::ids::Token;

/// A job's take-overs without progress in between; the worker that takes over for this time fails it.
pub const MAX_TAKE_OVERS: u32 = 5;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobStatus {
    /// Set when the job is accepted. Promises: a message is under way, or the sweeper will send one.
    Pending,
    /// Set by the first worker that takes the job. Promises: a worker holds the lease, or the job is due.
    Processing(Phase),
    /// Set by the worker that did the last step. Promises: the result is whole, and never changes.
    Completed,
    /// Set by a worker, or by the sweeper when the job is too old. Promises: nothing more is written.
    Failed(FailureReason),
}

/// What a job in processing is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// One worker at a time does the job, under a lease; without one it waits for its next worker.
    Working(Option<Lease>),
}

/// Exclusive work for a limited time. Whoever writes under it names its token, so that a worker that
/// was declared dead and is not cannot do harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who holds it.
    pub token: Token,
    /// Until when, unless renewed.
    pub expires_at: Timestamp,
    /// Take-overs of an expired lease since the last progress or clean release.
    pub attempt: u32,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker takes the job, new, released, or left by a dead worker.
    Taken {
        /// The worker's token.
        token: Token,
        /// Until when the lease runs.
        expires_at: Timestamp,
        /// When the job is due if the worker dies.
        due_at: Timestamp,
    },
    /// The holder goes on: renews its lease, and tells how far it is.
    Renewed {
        /// The holder's token.
        token: Token,
        /// Until when the lease runs now.
        expires_at: Timestamp,
        /// When the job is due if the worker dies.
        due_at: Timestamp,
        /// How far the job is.
        progress: Progress,
    },
    /// The holder has counted what is to be imported, and its requests are reserved with this write.
    Counted {
        /// The holder's token.
        token: Token,
        /// How many records there are.
        records: u64,
    },
    /// The holder stops for now, in good order.
    Released {
        /// The holder's token.
        token: Token,
        /// When the job goes on.
        due_at: Timestamp,
        /// Whether it stops because a dependency is down.
        because_unavailable: bool,
    },
    /// The holder has done the last step.
    Completed {
        /// The holder's token.
        token: Token,
        /// What the job leaves behind.
        result: JobResult,
        /// The final figures.
        progress: Progress,
    },
    /// The holder has found that the job cannot be done.
    Failed {
        /// The holder's token.
        token: Token,
        /// Why.
        reason: FailureReason,
    },
    /// The message could not be sent; the sweeper is to send it at once.
    SendFailed,
    /// The job has grown too old.
    Expired,
}

/// The event cannot happen in the job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// The job has ended: nothing changes it any more.
    #[error("job has ended")]
    Ended,
    /// Another worker holds a live lease.
    #[error("job is leased by another worker")]
    Leased,
    /// The lease that the event names is not the one on the job.
    #[error("lease was lost")]
    LeaseLost,
    /// The records are counted and reserved: to do so again would reserve twice.
    #[error("records are counted")]
    Counted,
    /// Only a pending job can miss its message.
    #[error("job has started")]
    Started,
}

impl Job {
    /// The job after `event` at `now`: the only way its state changes.
    ///
    /// The result is the next revision, to be stored on the condition that the present one still stands.
    ///
    /// # Errors
    /// [`IllegalTransition`], when the event cannot happen in this state.
    pub fn apply(&self, event: Event, now: Timestamp) -> Result<Self, IllegalTransition> {
        use JobStatus::{Completed, Failed, Pending, Processing};
        use Phase::Working;

        let mut next = self.clone();
        next.revision += 1;
        match (&self.status, event) {
            (Completed | Failed(_), _) => return Err(IllegalTransition::Ended),

            (Pending | Processing(Working(None)), Event::Taken { token, expires_at, due_at }) => {
                next.lease_to(Lease { token, expires_at, attempt: 0 }, due_at, now);
            }
            (Processing(Working(Some(held))), Event::Taken { token, expires_at, due_at }) => {
                if held.expires_at > now {
                    return Err(IllegalTransition::Leased);
                }
                let attempt = held.attempt + 1;
                if attempt >= MAX_TAKE_OVERS {
                    next.fail(FailureReason::AttemptsExhausted, now);
                } else {
                    next.lease_to(Lease { token, expires_at, attempt }, due_at, now);
                }
            }
            (Processing(Working(Some(held))), Event::Renewed { token, expires_at, due_at, progress })
                if held.token == token =>
            {
                let progress = progress.no_less_than(self.progress);
                let advanced = progress.processed > self.progress.processed;
                let attempt = if advanced { 0 } else { held.attempt };
                next.releases = if advanced { 0 } else { self.releases };
                next.progress = progress;
                next.lease_to(Lease { token, expires_at, attempt }, due_at, now);
            }
            (Processing(Working(Some(held))), Event::Counted { token, records }) if held.token == token => {
                if self.counted {
                    return Err(IllegalTransition::Counted);
                }
                next.counted = true;
                next.progress.total = records;
                next.reservation.requests = records;
            }
            (Processing(Working(Some(held))), Event::Released { token, due_at, because_unavailable })
                if held.token == token =>
            {
                next.status = Processing(Working(None));
                next.releases = if because_unavailable { self.releases.saturating_add(1) } else { 0 };
                next.due_at = Some(due_at);
            }
            (Processing(Working(Some(held))), Event::Completed { token, result, progress }) if held.token == token => {
                next.status = Completed;
                next.progress = progress;
                next.result = Some(result);
                next.completed_at = Some(now);
                next.due_at = None;
            }
            (Processing(Working(Some(held))), Event::Failed { token, reason }) if held.token == token => {
                next.fail(reason, now);
            }
            (
                Pending | Processing(Working(_)),
                Event::Renewed { .. }
                | Event::Counted { .. }
                | Event::Released { .. }
                | Event::Completed { .. }
                | Event::Failed { .. },
            ) => return Err(IllegalTransition::LeaseLost),

            (Pending, Event::SendFailed) => next.due_at = Some(now),
            (Processing(_), Event::SendFailed) => return Err(IllegalTransition::Started),

            (Processing(Working(Some(held))), Event::Expired) if held.expires_at > now => {
                return Err(IllegalTransition::Leased);
            }
            (Pending | Processing(Working(_)), Event::Expired) => next.fail(FailureReason::TooOld, now),
        }
        Ok(next)
    }

    fn lease_to(&mut self, lease: Lease, due_at: Timestamp, now: Timestamp) {
        self.started_at.get_or_insert(now);
        self.status = JobStatus::Processing(Phase::Working(Some(lease)));
        self.due_at = Some(due_at);
    }

    fn fail(&mut self, reason: FailureReason, now: Timestamp) {
        self.status = JobStatus::Failed(reason);
        self.completed_at = Some(now);
        self.due_at = None;
    }
}

#[cfg(test)]
mod tests;
