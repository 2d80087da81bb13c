//! What a processor does with a message: acquire the job, work on it, and write down what came of that. Knows
//! neither imports nor exports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::Either;
use model::{
    Event, FailureReason, Job, JobId, JobState, JobType, Partition, Release, Settlement, Timings, Token, cleared_at,
};
use ports::{
    Backoff, Clock, FileRemover, IdSource, JobQueue, JobStore, PortError, RetryPolicy, UpdateError, job_ended,
    remove_leftovers, remove_results, retry, send, service_defect,
};
use tokio::time::Instant;

mod deadlines;
mod heartbeat;
mod lease_guard;
mod metrics;
mod tasks;

pub(crate) use deadlines::{Deadlines, Due};
use heartbeat::{AcquireOutcome, Heartbeat, HeartbeatEnd, in_time};
use lease_guard::Ending;
pub(crate) use lease_guard::{LeaseGuard, Worked};
use metrics::job_deferred;
pub(crate) use tasks::{Tasks, either};

/// Looking at a job whose lease was lost, and settling it.
const LOOKS: RetryPolicy = RetryPolicy::new(8, 50, 2_000);

/// The longest deferral of a job that waits for a dependency.
const MAX_DELAY: Duration = Duration::from_mins(15);

/// The same, where people have to mend something, and will.
const MAX_DELAY_OF_REFUSED: Duration = Duration::from_mins(5);

/// A job that is not as it should be fails at so many deferrals for that; those for other causes in between do not count.
const MAX_DEFECTS: u32 = 3;

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
    /// What the workers of an ended job had left is cleared away.
    Cleared,
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
            Self::Cleared => "cleared",
        }
    }
}

/// Works on messages about jobs: an [`ImportWorker`](crate::importing::ImportWorker) or an
/// [`ExportWorker`](crate::exporting::ExportWorker).
#[async_trait]
pub trait JobWorker: Send + Sync {
    /// Looks at a job and does what is to be done, until `deadline`.
    ///
    /// # Errors
    /// When the job could not even be looked at, or its next message not be sent: this one should come again.
    async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError>;
}

/// Why work stopped before its end. A lost lease is none: work is dropped then, wherever it waits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// The time slice, or the invocation's time, is over.
    #[error("time is over")]
    TimeOver,
    /// The job cannot be done, now or later.
    #[error("job cannot be done: {}", .0.code())]
    Impossible(FailureReason),
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What the driver drives.
#[async_trait]
pub(crate) trait Work: Send + Sync {
    const JOB_TYPE: JobType;

    fn driver(&self) -> &JobDriver;

    /// Works on the job that the guard holds, until `deadline`.
    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<Worked, WorkError>;
}

#[async_trait]
impl<W: Work> JobWorker for W {
    async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError> {
        self.driver().drive(self, partition, id, deadline).await
    }
}

impl JobDriver {
    async fn drive<W: Work>(
        &self,
        work: &W,
        partition: &Partition,
        id: &JobId,
        deadline: Instant,
    ) -> Result<Delivery, PortError> {
        let (heartbeat, guard) = match Heartbeat::acquire(self, partition, id).await {
            Ok(AcquireOutcome::Acquired(heartbeat, guard)) => (heartbeat, guard),
            Ok(AcquireOutcome::Absent) => return Ok(Delivery::AlreadyEnded),
            Ok(AcquireOutcome::Busy) => return Ok(Delivery::Busy),
            Ok(AcquireOutcome::Ended(job)) => {
                return Ok(self.clear(&job).await.unwrap_or_else(|error| self.clearing_failed(&job, &error)));
            }
            Ok(AcquireOutcome::Failed(job)) => {
                tracing::error!(job_id = %id, "job is too old or was taken over too often");
                remove_results(self.files.as_ref(), &job).await;
                return Ok(Delivery::Done);
            }
            Err(error) => {
                job_deferred(W::JOB_TYPE, partition, id, 1, &error);
                if !matches!(error, PortError::Defect { .. }) {
                    return Err(error);
                }
                // The same message would bring the same: the job stays due, and the sweeper brings it again.
                tracing::error!(job_id = %id, error = &error as &dyn std::error::Error, "acquire job");
                return Ok(Delivery::Deferred);
            }
        };
        let began = Instant::now();
        let mut beating = Box::pin(heartbeat.run());
        let mut working = Box::pin(work.work(&guard, deadline));
        let (heartbeat_end, delivery) = match either(&mut working, &mut beating).await {
            // Without an ending of the work's, the lease is lost, or the job was given back.
            Either::Right(heartbeat_end) => {
                drop(working);
                (heartbeat_end, Delivery::Deferred)
            }
            Either::Left(worked) => {
                drop(working);
                let (ending, delivery) = self.ending(&guard, began, worked);
                guard.end(ending);
                (beating.await, delivery)
            }
        };
        match heartbeat_end {
            HeartbeatEnd::Lost { tried } => self.lease_lost(&guard, &tried, delivery).await,
            HeartbeatEnd::Stored(job) => {
                if matches!(job.state(), JobState::Failed(_)) {
                    remove_results(self.files.as_ref(), &job).await;
                }
                match delivery {
                    _ if job.has_ended() => Ok(Delivery::Done),
                    Delivery::Yielded => self.yielded(&job).await,
                    // Its end could not be stored, and the job was given back.
                    Delivery::Done => Ok(Delivery::Deferred),
                    delivery => Ok(delivery),
                }
            }
        }
    }

    /// Sends the message by which a fresh invocation goes on. When it can be neither sent nor be marked as unsent, the one
    /// that brought this worker comes again.
    async fn yielded(&self, job: &Job) -> Result<Delivery, PortError> {
        if send(self.queue.as_ref(), self.jobs.as_ref(), self.clock.as_ref(), job).await {
            return Ok(Delivery::Yielded);
        }
        let error = PortError::unavailable("send job message", "job could not be marked as unsent");
        job_deferred(job.job_type(), job.partition(), job.id(), 1, &error);
        Err(error)
    }

    /// How the job goes on from what came of the work.
    fn ending(&self, guard: &LeaseGuard, began: Instant, worked: Result<Worked, WorkError>) -> (Ending, Delivery) {
        let job = guard.job();
        let worked = match worked {
            // A time slice after which nothing is further waits for something, whatever that is; unless much was read and
            // nothing of it kept.
            Err(WorkError::TimeOver)
                if !guard.has_advanced() && !guard.has_moved() && began.elapsed() >= self.timings.stalled() =>
            {
                Err(PortError::unavailable("work on job", "nothing has advanced in time").into())
            }
            worked => worked,
        };
        match worked {
            Ok(worked) => (Ending::Complete(worked), Delivery::Done),
            Err(WorkError::Impossible(reason)) => (Ending::Fail(reason), Delivery::Done),
            Err(WorkError::TimeOver) => {
                (Ending::Release { why: Release::Yielded, delay: self.timings.redrive_started() }, Delivery::Yielded)
            }
            Err(WorkError::Port(error)) => {
                let before = if guard.has_advanced() { 0 } else { job.deferrals() };
                (self.deferral(job, before, &error), Delivery::Deferred)
            }
        }
    }

    /// Tells that a job waits that was deferred so often in a row before, and says for how long; a defective one fails in
    /// the end.
    fn deferral(&self, job: &Job, before: u32, error: &PortError) -> Ending {
        job_deferred(job.job_type(), job.partition(), job.id(), before + 1, error);
        if matches!(error, PortError::Defect { .. }) && job.defects() + 1 >= MAX_DEFECTS {
            tracing::error!(job_id = %job.id(), error = error as &dyn std::error::Error, "job is defective");
            return Ending::Fail(FailureReason::InternalError);
        }
        self.release(job, before, error)
    }

    /// How a job is given back that waits.
    fn release(&self, job: &Job, before: u32, error: &PortError) -> Ending {
        let longest = if error.is_transient() { MAX_DELAY } else { MAX_DELAY_OF_REFUSED };
        let delay = self.timings.deferral(before, longest);
        tracing::warn!(job_id = %job.id(), rest_seconds = delay.as_secs(), error = error as &dyn std::error::Error,
            "defer job");
        let why = match error {
            PortError::Defect { .. } => Release::Defective,
            _ => Release::Deferred,
        };
        Ending::Release { why, delay }
    }

    /// A worker that may not write to the job any more. Nothing is lost: either the job was ended by somebody else, or
    /// the lease expires, and the sweeper redrives the job. Files of a job that another has completed are left alone.
    async fn lease_lost(&self, guard: &LeaseGuard, tried: &[Job], delivery: Delivery) -> Result<Delivery, PortError> {
        let (partition, id) = (guard.job().partition(), guard.job().id());
        let look = || in_time("read job", self.jobs.read(partition, id));
        let found = match retry(LOOKS, self.ids.as_ref(), PortError::is_transient, look).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(job_id = %id, error = &error as &dyn std::error::Error, "look at job");
                return Ok(Delivery::LeaseLost);
            }
        };
        // A write of ours whose answer was lost until the lease was.
        let is_ours = found.as_ref().is_some_and(|job| tried.contains(job));
        let job = match found {
            Some(job) if job.has_ended() => job,
            Some(job) if is_ours && job.lease().is_none() && delivery == Delivery::Yielded => {
                return self.yielded(&job).await;
            }
            Some(_) | None => {
                tracing::warn!(job_id = %id, "lease was lost: leave job to the sweeper");
                return Ok(Delivery::LeaseLost);
            }
        };
        if is_ours {
            job_ended(&job, self.clock.now());
        }
        if matches!(job.state(), JobState::Failed(_)) {
            self.settle_cancelled(job.clone(), guard.token(), guard.begun()).await;
            remove_results(self.files.as_ref(), &job).await;
        }
        Ok(if is_ours { Delivery::Done } else { Delivery::AlreadyEnded })
    }

    /// Gives the month back what an import that was cancelled under this lease had not begun to write. A worker that
    /// cannot say it leaves the charge as it is.
    async fn settle_cancelled(&self, mut job: Job, token: &Token, begun: u64) {
        let mut backoff = Backoff::new(LOOKS, self.ids.as_ref());
        while job.awaits_settlement_by(token) {
            let Ok(settled) = job.apply(Event::Settled { token: token.clone(), begun }, self.clock.now()) else {
                return;
            };
            let refund = settled.settlement(&job);
            match in_time("settle job", self.jobs.update(job.partition(), &settled, &refund)).await {
                Ok(()) => {
                    let (job_id, tenant, charged) = (settled.id(), &settled.partition().tenant, settled.charged());
                    tracing::info!(%job_id, %tenant, charged, "settled what a cancelled job is charged");
                    return;
                }
                Err(UpdateError::Port(error)) => {
                    tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "settle job");
                    service_defect(job.job_type(), Some((job.partition(), job.id())), &error);
                    if !error.is_transient() {
                        return;
                    }
                }
                Err(UpdateError::Conflict | UpdateError::MonthFull) => {}
            }
            if !backoff.wait().await {
                return;
            }
            if let Ok(found) = in_time("read job", self.jobs.read(job.partition(), job.id())).await {
                let Some(found) = found else { return };
                job = found;
            }
        }
    }

    /// Clears away what the workers of an ended job have left, once whatever was on its way has arrived. A job that its
    /// owner has deleted goes with it.
    async fn clear(&self, job: &Job) -> Result<Delivery, PortError> {
        // A message that was sent before the end may arrive now, and `due_at` does not tell: the sweeper moves it.
        let is_time = job.completed_at().is_some_and(|ended| self.clock.now() >= cleared_at(ended));
        if job.due_at().is_none() || !is_time {
            return Ok(Delivery::AlreadyEnded);
        }
        remove_leftovers(self.files.as_ref(), job).await?;
        if job.is_deleted() {
            self.jobs.delete(job.partition(), job.id()).await?;
        } else if let Ok(cleared) = job.apply(Event::Cleared, self.clock.now()) {
            match self.jobs.update(job.partition(), &cleared, &Settlement::None).await {
                Ok(()) | Err(UpdateError::Conflict | UpdateError::MonthFull) => {}
                Err(UpdateError::Port(error)) => return Err(error),
            }
        }
        Ok(Delivery::Cleared)
    }

    /// The job stays due, and the sweeper brings it again: its time tells how often that was.
    fn clearing_failed(&self, job: &Job, error: &PortError) -> Delivery {
        let now = self.clock.now();
        let waited = job.completed_at().map_or(0, |ended| now.duration_since(cleared_at(ended)).as_secs());
        let redrives = waited / self.timings.redrive.as_secs().max(1).cast_signed();
        let in_a_row = u32::try_from(1 + redrives).unwrap_or(1);
        job_deferred(job.job_type(), job.partition(), job.id(), in_a_row, error);
        tracing::warn!(job_id = %job.id(), error = error as &dyn std::error::Error, "clear job");
        Delivery::Deferred
    }
}
