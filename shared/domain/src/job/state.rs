//! The states of a job, and every way from one to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExportPlan, FailureReason, Job, JobResult, JobType, Progress};
use crate::ids::Token;
use crate::lease::{Claim, Lease, Refusal};

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobStatus {
    /// Set when the job is accepted. Promises: a message is under way, or the sweeper will send one.
    Pending,
    /// Set by the first worker that takes the job. Promises: somebody is at it, or something of it is due.
    Processing(Phase),
    /// Set by the worker that did the last step. Promises: the result is whole, and never changes.
    Completed,
    /// Set by a worker, or by the sweeper when the job is too old. Promises: nothing more is written.
    Failed(FailureReason),
}

/// What a job in processing is at. All but `Segments` is done by one worker at a time, under a lease;
/// without one it waits for its next worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// An import, from its first line to its last. Set by the first worker.
    Working(Option<Lease>),
    /// An export is counted and laid out. Set by the first worker.
    Planning(Option<Lease>),
    /// An export's segments are at work, each under a lease of its own. Set with the plan.
    Segments,
    /// An export's file is put together. Set with the end of the last segment, by its worker.
    Finishing(Option<Lease>),
}

impl Phase {
    /// The phase's name, for operators.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Working(_) => "working",
            Self::Planning(_) => "planning",
            Self::Segments => "segments",
            Self::Finishing(_) => "finishing",
        }
    }

    fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Working(lease) | Self::Planning(lease) | Self::Finishing(lease) => lease.as_ref(),
            Self::Segments => None,
        }
    }

    fn with(&self, lease: Option<Lease>) -> Self {
        match self {
            Self::Working(_) => Self::Working(lease),
            Self::Planning(_) => Self::Planning(lease),
            // Whoever is to work on a job whose segments are done finishes it.
            Self::Segments | Self::Finishing(_) => Self::Finishing(lease),
        }
    }
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker takes the job, new, released, or left by a dead worker.
    Taken(Claim),
    /// The holder goes on: renews its lease, and tells how far it is.
    Renewed(Claim, Progress),
    /// The holder has counted what is to be imported, and its requests are reserved with this write.
    Counted {
        /// The holder's token.
        token: Token,
        /// How many records there are.
        records: u64,
    },
    /// The holder has laid out an export; its segments are written with this write.
    Planned {
        /// The holder's token.
        token: Token,
        /// The plan.
        plan: ExportPlan,
        /// When the job will be too old.
        due_at: Timestamp,
    },
    /// A segment is done, and is so stored with this write.
    SegmentDone {
        /// The segment.
        number: u8,
        /// The segment's worker's, who finishes the job if this was the last one.
        claim: Claim,
    },
    /// A segment has found that the export cannot be done.
    SegmentFailed {
        /// Why.
        reason: FailureReason,
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

/// The event cannot happen in the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// It has ended: nothing changes it any more.
    #[error("work has ended")]
    Ended,
    /// Another worker holds a live lease.
    #[error("leased by another worker")]
    Leased,
    /// The lease that the event names is not the one in force.
    #[error("lease was lost")]
    LeaseLost,
    /// Worker after worker died at the same place.
    #[error("taken over too often")]
    Exhausted,
    /// The records are counted and reserved: to do so again would reserve twice.
    #[error("records are counted")]
    Counted,
    /// The job waits for its segments.
    #[error("segments are at work")]
    Waiting,
    /// The event belongs to another phase.
    #[error("job is in another phase")]
    OtherPhase,
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
        use Phase::{Finishing, Planning, Segments, Working};

        let mut next = self.clone();
        next.revision += 1;
        match (&self.status, event) {
            (Completed | Failed(_), _) => return Err(IllegalTransition::Ended),

            (Pending, Event::Taken(claim)) => {
                let first = match self.job_type() {
                    JobType::Import => Working(None),
                    JobType::Export => Planning(None),
                };
                next.take(&first, &claim, now)?;
            }
            (Processing(Segments), Event::Taken(_)) if !self.segments_are_done() => {
                return Err(IllegalTransition::Waiting);
            }
            // Stored before exports had segments, when one worker did the whole of it: it is laid out anew.
            (Processing(Working(lease)), Event::Taken(claim)) if self.job_type() == JobType::Export => {
                next.take(&Planning(lease.clone()), &claim, now)?;
            }
            (Processing(phase), Event::Taken(claim)) => next.take(phase, &claim, now)?,

            (Processing(phase), Event::Renewed(claim, progress)) => {
                let held = self.held_by(&claim.token)?;
                let progress = progress.no_less_than(self.progress);
                let advanced = progress.processed > self.progress.processed;
                next.releases = if advanced { 0 } else { self.releases };
                next.progress = progress;
                next.status = Processing(phase.with(Some(held.renew(&claim, advanced))));
                next.due_at = Some(claim.due_at);
            }
            (Processing(Working(_)), Event::Counted { token, records }) => {
                self.held_by(&token)?;
                if self.counted {
                    return Err(IllegalTransition::Counted);
                }
                next.counted = true;
                next.progress.total = records;
                next.reservation.requests = records;
            }
            (Processing(Planning(_)), Event::Planned { token, plan, due_at }) => {
                self.held_by(&token)?;
                next.status = Processing(Segments);
                next.progress.total = plan.counted;
                next.plan = Some(plan);
                next.releases = 0;
                next.due_at = Some(due_at);
            }
            (Processing(Segments), Event::SegmentDone { number, claim }) => {
                let plan = next.plan.as_mut().ok_or(IllegalTransition::OtherPhase)?;
                if !plan.done.insert(number) {
                    return Err(IllegalTransition::Ended);
                }
                if next.segments_are_done() {
                    next.take(&Finishing(None), &claim, now)?;
                }
            }
            (Processing(Segments), Event::SegmentFailed { reason }) => next.fail(reason, now),
            (Processing(phase), Event::Released { token, due_at, because_unavailable }) => {
                self.held_by(&token)?;
                next.status = Processing(phase.with(None));
                next.releases = if because_unavailable { self.releases.saturating_add(1) } else { 0 };
                next.due_at = Some(due_at);
            }
            (Processing(Working(_) | Finishing(_)), Event::Completed { token, result, progress }) => {
                self.held_by(&token)?;
                next.status = Completed;
                next.progress = progress;
                next.result = Some(result);
                next.completed_at = Some(now);
                next.due_at = None;
            }
            (Processing(_), Event::Failed { token, reason }) => {
                self.held_by(&token)?;
                next.fail(reason, now);
            }

            (Pending, Event::SendFailed) => next.due_at = Some(now),
            (Processing(phase), Event::Expired) if phase.lease().is_some_and(|held| held.expires_at > now) => {
                return Err(IllegalTransition::Leased);
            }
            (Pending | Processing(_), Event::Expired) => next.fail(FailureReason::TooOld, now),

            (
                Pending,
                Event::Renewed { .. }
                | Event::Counted { .. }
                | Event::Planned { .. }
                | Event::Released { .. }
                | Event::Completed { .. }
                | Event::Failed { .. },
            ) => return Err(IllegalTransition::LeaseLost),
            (
                Pending | Processing(_),
                Event::Counted { .. }
                | Event::Planned { .. }
                | Event::SegmentDone { .. }
                | Event::SegmentFailed { .. }
                | Event::Completed { .. }
                | Event::SendFailed,
            ) => return Err(IllegalTransition::OtherPhase),
        }
        Ok(next)
    }

    fn held_by(&self, token: &Token) -> Result<&Lease, IllegalTransition> {
        self.lease().filter(|held| held.token == *token).ok_or(IllegalTransition::LeaseLost)
    }

    /// Whether every segment of the plan is done.
    pub(crate) fn segments_are_done(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.done.len() == usize::from(plan.segments))
    }

    /// Takes the lease of the phase; the worker that does so once too often fails the job.
    fn take(&mut self, phase: &Phase, claim: &Claim, now: Timestamp) -> Result<(), IllegalTransition> {
        match Lease::follow(phase.lease(), claim, now) {
            Ok(lease) => {
                self.started_at.get_or_insert(now);
                self.status = JobStatus::Processing(phase.with(Some(lease)));
                self.due_at = Some(claim.due_at);
            }
            Err(Refusal::Held) => return Err(IllegalTransition::Leased),
            Err(Refusal::Exhausted) => self.fail(FailureReason::AttemptsExhausted, now),
        }
        Ok(())
    }

    fn fail(&mut self, reason: FailureReason, now: Timestamp) {
        self.status = JobStatus::Failed(reason);
        self.completed_at = Some(now);
        self.due_at = None;
    }

    /// The lease that is on the job, live or expired.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.status {
            JobStatus::Processing(phase) => phase.lease(),
            JobStatus::Pending | JobStatus::Completed | JobStatus::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
