//! What a processor does with a message: acquire the job, work on it, and write down what came of that. Knows
//! neither imports nor exports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::lease_guard::{AcquireOutcome, JobAccess, LeaseError};
use super::{Event, FailureReason, Job, JobResult, JobState, LeaseGuard, Progress, Refusal, Release};
use crate::files::KeyPrefix;
use crate::identity::{JobId, Partition};
use crate::metrics::job_deferred;
use crate::ports::{Clock, FileRemover, IdSource, JobQueue, JobStore, PortError, Settlement, UploadError};
use crate::timings::Timings;

/// How long sending a message may take; then the sweeper sends it.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// What a processor of either type of job works with.
#[derive(Clone)]
pub struct JobDriver {
    pub jobs: Arc<dyn JobStore>,
    /// The queue of this processor's type of job.
    pub queue: Arc<dyn JobQueue>,
    /// Clears away what a job leaves behind that has failed.
    pub files: Arc<dyn FileRemover>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub timings: Timings,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The job has ended by this delivery.
    Done,
    /// The job had ended before, or never was.
    AlreadyEnded,
    /// Another worker holds the lease.
    Busy,
    /// The job waits for a dependency.
    Deferred,
    /// The time slice is over; the job goes on in a fresh invocation.
    Yielded,
    /// Another worker goes on, or the sweeper redrives the job.
    LeaseLost,
}

impl Delivery {
    /// The value in log lines: people filter on it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadyEnded => "already_ended",
            Self::Busy => "busy",
            Self::Deferred => "deferred",
            Self::Yielded => "yielded",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// Works on messages about jobs: an [`ImportWorker`](crate::ImportWorker) or an
/// [`ExportWorker`](crate::ExportWorker).
#[async_trait]
pub trait JobWorker: Send + Sync {
    /// Looks at a job and does what is to be done, until `deadline`.
    ///
    /// # Errors
    /// Only when the job could not even be looked at; the message should then come again.
    async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError>;
}

/// Why work stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("lease was lost")]
    LeaseLost,
    /// The time slice, or the invocation's time, is over.
    #[error("time is over")]
    TimeOver(Release),
    /// The job cannot be done, now or later.
    #[error("job cannot be done: {}", .0.code())]
    Impossible(FailureReason),
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<LeaseError> for WorkError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Lost => Self::LeaseLost,
            LeaseError::MonthFull => Self::Impossible(FailureReason::MonthlyQuotaExceeded),
            LeaseError::Port(error) => Self::Port(error),
        }
    }
}

impl From<UploadError> for WorkError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Ended => Self::Impossible(FailureReason::FileLost),
            UploadError::Port(error) => Self::Port(error),
        }
    }
}

/// What the driver drives.
#[async_trait]
pub(crate) trait Work: Send + Sync {
    /// Works on the job that the guard holds, until `deadline`.
    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<(JobResult, Progress), WorkError>;
}

impl JobDriver {
    pub(crate) async fn drive(
        &self,
        work: &impl Work,
        partition: &Partition,
        id: &JobId,
        deadline: Instant,
    ) -> Result<Delivery, PortError> {
        let access = JobAccess {
            jobs: self.jobs.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            timings: self.timings,
        };
        let guard = match LeaseGuard::acquire(access, partition, id).await? {
            AcquireOutcome::Acquired(guard) => guard,
            AcquireOutcome::Absent | AcquireOutcome::Refused(Refusal::Ended) => return Ok(Delivery::AlreadyEnded),
            AcquireOutcome::Refused(_) => return Ok(Delivery::Busy),
            AcquireOutcome::Failed(job) => {
                tracing::error!(job_id = %id, "job is too old or was taken over too often");
                remove_results(self.files.as_ref(), &job).await;
                return Ok(Delivery::Done);
            }
        };
        // In a fixed order, here and below, so that a simulation's seed always gives the same run.
        let worked = tokio::select! {
            biased;
            worked = work.work(&guard, deadline) => worked,
            lost = guard.keep_alive() => Err(lost.into()),
        };
        Ok(match self.end(&guard, worked).await {
            Ok(delivery) => delivery,
            Err(error) => self.lease_lost(partition, id, &error).await,
        })
    }

    /// A worker that may not write to the job any more. Nothing is lost: either the job was cancelled, and its files
    /// are cleared away, or the lease expires, and the sweeper redrives the job.
    async fn lease_lost(&self, partition: &Partition, id: &JobId, error: &LeaseError) -> Delivery {
        match self.jobs.get(partition, id, self.clock.now()).await {
            Ok(Some(job)) if matches!(job.state(), JobState::Failed(_)) => {
                remove_results(self.files.as_ref(), &job).await;
                Delivery::AlreadyEnded
            }
            Ok(_) | Err(_) => {
                tracing::warn!(job_id = %id, error = error as &dyn std::error::Error, "leave job to the sweeper");
                Delivery::LeaseLost
            }
        }
    }

    async fn end(
        &self,
        guard: &LeaseGuard,
        worked: Result<(JobResult, Progress), WorkError>,
    ) -> Result<Delivery, LeaseError> {
        match worked {
            Ok((result, progress)) => {
                guard.complete(&result, progress).await?;
                Ok(Delivery::Done)
            }
            Err(WorkError::Impossible(reason)) => {
                guard.fail(reason).await?;
                remove_results(self.files.as_ref(), &guard.job().await).await;
                Ok(Delivery::Done)
            }
            Err(WorkError::Port(error)) => {
                let job = guard.job().await;
                let rest = self.timings.deferral(job.deferrals());
                job_deferred(&job, &error);
                tracing::warn!(job_id = %job.id(), rest_seconds = rest.as_secs(),
                    error = &error as &dyn std::error::Error, "defer job until dependency is back");
                guard.release(Release::Deferred, rest).await?;
                Ok(Delivery::Deferred)
            }
            Err(WorkError::TimeOver(why)) => {
                guard.release(why, self.timings.redrive).await?;
                let job = guard.job().await;
                send(self.queue.as_ref(), self.jobs.as_ref(), self.clock.as_ref(), &job).await;
                Ok(Delivery::Yielded)
            }
            Err(WorkError::LeaseLost) => Err(LeaseError::Lost),
        }
    }
}

/// Clears away what the workers of a failed job have written. What stays behind goes with the bucket's lifecycle.
pub(crate) async fn remove_results(files: &dyn FileRemover, job: &Job) {
    if let Err(error) = files.remove(job.partition(), &KeyPrefix::of_results(job)).await {
        tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "remove files");
    }
}

/// Sends the message about a job. When that fails the job is due at once, and the sweeper sends it; when even that
/// cannot be written, it is due a little later all the same.
pub(crate) async fn send(queue: &dyn JobQueue, jobs: &dyn JobStore, clock: &dyn Clock, job: &Job) {
    match tokio::time::timeout(SEND_TIMEOUT, queue.send(job.partition(), job.id())).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => {
            tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "send job message");
        }
        Err(_elapsed) => tracing::warn!(job_id = %job.id(), "send job message: timed out"),
    }
    let Ok(unsent) = job.apply(Event::SendFailed, clock.now()) else { return };
    let written = jobs.update(job.partition(), &unsent, &Settlement::None);
    match tokio::time::timeout(SEND_TIMEOUT, written).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "mark job as unsent");
        }
    }
}
