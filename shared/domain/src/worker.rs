//! What a processor does with a message: look at the job, and move it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::hold::{Hold, HoldError, Take};
use crate::ids::{JobId, Partition};
use crate::job::{Event, FailureReason, JobResult, JobSpec, Progress};
use crate::pace::{Pace, after};
use crate::ports::{Clock, IdSource, JobQueue, JobStore, ObjectStore, PortError, RecordStore};

mod export;
mod import;

/// What a processor works with.
#[derive(Clone)]
pub struct Worker {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// Where records are kept.
    pub records: Arc<dyn RecordStore>,
    /// Where files are kept.
    pub objects: Arc<dyn ObjectStore>,
    /// What carries messages on.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
    /// Times.
    pub pace: Pace,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The job has ended by this delivery.
    Done,
    /// There was nothing to do: the job has ended before, or never was.
    Ended,
    /// Another worker is at the job.
    Busy,
    /// The job rests until a dependency is back.
    RestsUntilDependencyIsBack,
    /// The job goes on in a fresh invocation.
    Yielded,
    /// The lease was lost on the way: somebody else goes on with the job, or the sweeper sees to it.
    LeaseLost,
}

/// Why the work on a job stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// See [`HoldError::Lost`].
    #[error("lease was lost")]
    LeaseLost,
    /// The invocation's time is nearly over.
    #[error("time is nearly over")]
    OutOfTime,
    /// The job cannot be done, now or later.
    #[error("job cannot be done: {}", .0.code())]
    Impossible(FailureReason),
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<HoldError> for WorkError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Lost => Self::LeaseLost,
            HoldError::MonthFull => Self::Impossible(FailureReason::MonthlyQuotaExceeded),
            HoldError::Port(error) => Self::Port(error),
        }
    }
}

impl Worker {
    /// Looks at a job and does what is to be done, until `deadline` at the latest.
    ///
    /// # Errors
    /// Only when the job could not even be looked at; the message should then come again.
    pub async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError> {
        let parts = (self.jobs.clone(), self.clock.clone(), self.ids.clone());
        let hold = match Hold::take(parts.0, parts.1, parts.2, self.pace, (partition, id)).await? {
            Take::Held(hold) => hold,
            Take::Ended => return Ok(Delivery::Ended),
            Take::Busy => return Ok(Delivery::Busy),
        };
        let worked = tokio::select! {
            worked = self.work(&hold, deadline) => worked,
            lost = hold.keep_alive() => Err(lost.into()),
        };
        Ok(match self.end(&hold, worked).await {
            Ok(delivery) => delivery,
            Err(error) => {
                // Nothing is lost: the lease runs out, and the sweeper sends the job again.
                tracing::warn!(job_id = %id, error = &error as &dyn std::error::Error, "leave job to the sweeper");
                Delivery::LeaseLost
            }
        })
    }

    async fn work(&self, hold: &Hold, deadline: Instant) -> Result<(JobResult, Progress), WorkError> {
        let job = hold.job().await;
        match job.spec() {
            JobSpec::Import { resource_type, source } => {
                self.import(hold, &job, *resource_type, source, deadline).await
            }
            JobSpec::Export { resource_types, since } => {
                self.export(hold, &job, resource_types, *since, deadline).await
            }
        }
    }

    /// Writes down what came of the work.
    async fn end(&self, hold: &Hold, worked: Result<(JobResult, Progress), WorkError>) -> Result<Delivery, HoldError> {
        match worked {
            Ok((result, progress)) => {
                hold.finish(|token| Event::Completed { token, result: result.clone(), progress }).await?;
                Ok(Delivery::Done)
            }
            Err(WorkError::Impossible(reason)) => {
                hold.finish(|token| Event::Failed { token, reason }).await?;
                Ok(Delivery::Done)
            }
            Err(WorkError::Port(error)) => {
                let job = hold.job().await;
                let rest = self.pace.back_off(job.releases());
                tracing::warn!(job_id = %job.id(), rest_seconds = rest.as_secs(),
                    error = &error as &dyn std::error::Error, "rest until dependency is back");
                self.release(hold, rest, true).await?;
                Ok(Delivery::RestsUntilDependencyIsBack)
            }
            Err(WorkError::OutOfTime) => {
                self.release(hold, self.pace.resend, false).await?;
                let job = hold.job().await;
                if let Err(error) = self.queue.send(job.partition(), job.id(), job.job_type()).await {
                    tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "send job message");
                }
                Ok(Delivery::Yielded)
            }
            Err(WorkError::LeaseLost) => Err(HoldError::Lost),
        }
    }

    async fn release(&self, hold: &Hold, rest: Duration, because_unavailable: bool) -> Result<(), HoldError> {
        let due_at = after(self.clock.now(), rest);
        hold.finish(|token| Event::Released { token, due_at, because_unavailable }).await
    }
}
