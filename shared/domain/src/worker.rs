//! What a processor does with a message: look at the job or the segment, and move it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::hold::{Hold, HoldError, Holder, Leased, Take};
use crate::ids::{JobId, Partition};
use crate::job::{
    Event, ExportPlan, FailureReason, IllegalTransition, Job, JobResult, JobSpec, JobStatus, JobType, Phase, Progress,
};
use crate::layout::ExportSizes;
use crate::message::Target;
use crate::metrics::job_ended;
use crate::pace::{Pace, after};
use crate::ports::{
    Clock, IdSource, JobQueue, JobStore, ObjectStore, PortError, RecordStore, UpdateError, UploadError,
};
use crate::retry::pause;
use crate::segment::{Segment, SegmentEvent};

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
    /// Sizes of exports.
    pub sizes: ExportSizes,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The job has ended by this delivery, or its part of it is done.
    Done,
    /// There was nothing to do: it has ended before, or never was.
    Ended,
    /// Somebody else is at it.
    Busy,
    /// It rests until a dependency is back.
    RestsUntilDependencyIsBack,
    /// It goes on in a fresh invocation.
    Yielded,
    /// The lease was lost on the way: somebody else goes on, or the sweeper sees to it.
    LeaseLost,
}

/// What is to be done after one step of a job.
enum Step {
    /// Nothing by this worker.
    Stop(Delivery),
    /// The next step, which waits for nobody else.
    GoOn(Target),
    /// All segments are done, and the job is held.
    Finish(Box<Hold<Job>>),
}

/// What came of the work under a job's lease.
enum Work {
    /// The job is done.
    Result(JobResult, Progress),
    /// The export is laid out.
    Plan(ExportPlan, Vec<Segment>),
}

/// Why the work stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// See [`HoldError::Lost`].
    #[error("lease was lost")]
    LeaseLost,
    /// The turn is over.
    #[error("turn is over")]
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

impl From<UploadError> for WorkError {
    fn from(error: UploadError) -> Self {
        match error {
            // Whoever ended the upload was ahead of us.
            UploadError::Ended => Self::LeaseLost,
            UploadError::Port(error) => Self::Port(error),
        }
    }
}

impl Worker {
    /// Looks at a job or a segment and does what is to be done, until `deadline` at the latest.
    ///
    /// # Errors
    /// Only when it could not even be looked at; the message should then come again.
    pub async fn deliver(
        &self,
        partition: &Partition,
        target: &Target,
        deadline: Instant,
    ) -> Result<Delivery, PortError> {
        let mut step = self.look(partition, target, deadline).await?;
        loop {
            step = match step {
                Step::Stop(delivery) => return Ok(delivery),
                Step::Finish(hold) => self.work_on(&hold, deadline).await,
                Step::GoOn(next) if Instant::now() < deadline => self.look(partition, &next, deadline).await?,
                Step::GoOn(next) => {
                    self.send(partition, &next, JobType::Export).await;
                    return Ok(Delivery::Yielded);
                }
            };
        }
    }

    async fn look(&self, partition: &Partition, target: &Target, deadline: Instant) -> Result<Step, PortError> {
        match target.segment {
            None => self.deliver_job(partition, target, deadline).await,
            Some(number) => self.deliver_segment(partition, target, number, deadline).await,
        }
    }

    async fn deliver_job(&self, partition: &Partition, target: &Target, deadline: Instant) -> Result<Step, PortError> {
        let hold = match Hold::<Job>::take(self.holder(), partition, target).await? {
            Take::Held(hold) => hold,
            Take::Refused(refusal) => {
                if refusal == IllegalTransition::Exhausted {
                    tracing::error!(job_id = %target.job_id, "job was taken over too often and has failed");
                    self.give_file_up(partition, &target.job_id).await;
                }
                return Ok(Step::Stop(refused(refusal)));
            }
            Take::Absent => return Ok(Step::Stop(Delivery::Ended)),
        };
        Ok(self.work_on(&hold, deadline).await)
    }

    /// Works on a job that is held, and writes down what came of it.
    async fn work_on(&self, hold: &Hold<Job>, deadline: Instant) -> Step {
        // In a fixed order, here and below, so that a simulation's seed always gives the same run.
        let worked = tokio::select! {
            biased;
            worked = self.work(hold, deadline) => worked,
            lost = hold.keep_alive() => Err(lost.into()),
        };
        match self.end(hold, worked).await {
            Ok(step) => step,
            Err(error) => left(hold.target(), &error),
        }
    }

    async fn work(&self, hold: &Hold<Job>, deadline: Instant) -> Result<Work, WorkError> {
        let job = hold.current().await;
        match job.spec() {
            JobSpec::Import { resource_type, source } => {
                let (result, progress) = self.import(hold, &job, *resource_type, source, deadline).await?;
                Ok(Work::Result(result, progress))
            }
            JobSpec::Export { resource_types, since } => match job.status() {
                JobStatus::Processing(Phase::Finishing(_)) if Instant::now() >= deadline => Err(WorkError::OutOfTime),
                JobStatus::Processing(Phase::Finishing(_)) => {
                    let (result, progress) = self.finish_export(hold, &job).await?;
                    Ok(Work::Result(result, progress))
                }
                _ => {
                    let (plan, segments) = self.plan_export(hold, &job, resource_types, *since).await?;
                    Ok(Work::Plan(plan, segments))
                }
            },
        }
    }

    /// Writes down what came of the work.
    async fn end(&self, hold: &Hold<Job>, worked: Result<Work, WorkError>) -> Result<Step, HoldError> {
        let job = hold.current().await;
        let partition = job.partition();
        match worked {
            Ok(Work::Result(result, progress)) => {
                hold.finish(|token| Event::Completed { token, result: result.clone(), progress }).await?;
                Ok(Step::Stop(Delivery::Done))
            }
            Ok(Work::Plan(plan, segments)) => {
                let due_at = after(job.created_at(), self.pace.max_age);
                hold.plan(|token| Event::Planned { token, plan: plan.clone(), due_at }, &segments).await?;
                let mut targets = segments.iter().map(Segment::target);
                let first = targets.next();
                for target in targets {
                    self.send(partition, &target, JobType::Export).await;
                }
                // The first segment needs no other worker.
                Ok(first.map_or(Step::Stop(Delivery::Done), Step::GoOn))
            }
            Err(WorkError::Impossible(reason)) => {
                hold.finish(|token| Event::Failed { token, reason }).await?;
                self.give_file_up(partition, job.id()).await;
                Ok(Step::Stop(Delivery::Done))
            }
            Err(WorkError::Port(error)) => {
                let rest = self.rest(job.id(), job.releases(), &error);
                self.release(hold, rest, true).await?;
                Ok(Step::Stop(Delivery::RestsUntilDependencyIsBack))
            }
            Err(WorkError::OutOfTime) => {
                self.release(hold, self.pace.resend, false).await?;
                self.send(partition, &job.id().into(), job.job_type()).await;
                Ok(Step::Stop(Delivery::Yielded))
            }
            Err(WorkError::LeaseLost) => Err(HoldError::Lost),
        }
    }

    async fn release(&self, hold: &Hold<Job>, rest: Duration, because_unavailable: bool) -> Result<(), HoldError> {
        let due_at = after(self.clock.now(), rest);
        hold.finish(|token| Event::Released { token, due_at, because_unavailable }).await
    }

    async fn deliver_segment(
        &self,
        partition: &Partition,
        target: &Target,
        number: u8,
        deadline: Instant,
    ) -> Result<Step, PortError> {
        let now = self.clock.now();
        let job = self.jobs.get(partition, &target.job_id, now).await?;
        let Some(job) = job.filter(|job| *job.status() == JobStatus::Processing(Phase::Segments)) else {
            self.drop_segment(partition, &target.job_id, number).await?;
            return Ok(Step::Stop(Delivery::Ended));
        };
        let hold = match Hold::<Segment>::take(self.holder(), partition, target).await? {
            Take::Held(hold) => hold,
            Take::Refused(IllegalTransition::Exhausted) => {
                tracing::error!(job_id = %job.id(), segment = number, "segment was taken over too often");
                self.fail_export(partition, job.id(), FailureReason::AttemptsExhausted).await?;
                return Ok(Step::Stop(Delivery::Done));
            }
            Take::Refused(refusal) => return Ok(Step::Stop(refused(refusal))),
            Take::Absent => return Ok(Step::Stop(Delivery::Ended)),
        };
        let worked = tokio::select! {
            biased;
            worked = self.export_segment(&hold, &job, deadline) => worked,
            lost = hold.keep_alive() => Err(lost.into()),
        };
        let ended = self.end_segment(&hold, &job, target, worked).await;
        Ok(ended.unwrap_or_else(|error| left(target, &error)))
    }

    /// Writes down what came of the work on a segment.
    async fn end_segment(
        &self,
        hold: &Hold<Segment>,
        job: &Job,
        target: &Target,
        worked: Result<export::Covered, WorkError>,
    ) -> Result<Step, HoldError> {
        match worked {
            Ok(export::Covered { tail, checkpoint }) => {
                // The last one finishes the job.
                let finishing = hold.done(tail, checkpoint).await?;
                Ok(finishing.map_or(Step::Stop(Delivery::Done), |hold| Step::Finish(Box::new(hold))))
            }
            Err(WorkError::Impossible(reason)) => {
                self.fail_export(job.partition(), job.id(), reason).await?;
                Ok(Step::Stop(Delivery::Done))
            }
            Err(WorkError::Port(error)) => {
                let rest = self.rest(job.id(), hold.current().await.releases(), &error);
                hold.release(after(self.clock.now(), rest), true).await?;
                Ok(Step::Stop(Delivery::RestsUntilDependencyIsBack))
            }
            Err(WorkError::OutOfTime) => {
                hold.release(after(self.clock.now(), self.pace.resend), false).await?;
                self.send(job.partition(), target, JobType::Export).await;
                Ok(Step::Stop(Delivery::Yielded))
            }
            Err(WorkError::LeaseLost) => Err(HoldError::Lost),
        }
    }

    /// A segment whose job has ended, or waits for it no longer, is never due again.
    async fn drop_segment(&self, partition: &Partition, id: &JobId, number: u8) -> Result<(), PortError> {
        let now = self.clock.now();
        let Some(segment) = self.jobs.segment(partition, id, number, now).await? else { return Ok(()) };
        let Ok(dropped) = segment.apply(SegmentEvent::Dropped, now) else { return Ok(()) };
        match self.jobs.update(partition, &dropped.into()).await {
            // Whoever came first has left it due, and it is looked at again.
            Ok(()) | Err(UpdateError::Conflict | UpdateError::MonthFull) => Ok(()),
            Err(UpdateError::Port(error)) => Err(error),
        }
    }

    /// Fails an export whose segments are at work.
    async fn fail_export(&self, partition: &Partition, id: &JobId, reason: FailureReason) -> Result<(), PortError> {
        let mut races = 0;
        loop {
            let now = self.clock.now();
            let Some(job) = self.jobs.get(partition, id, now).await? else { return Ok(()) };
            let Ok(failed) = job.apply(Event::SegmentFailed { reason }, now) else { return Ok(()) };
            match self.jobs.update(partition, &failed.change()).await {
                Ok(()) => {
                    job_ended(&failed, now);
                    break;
                }
                Err(UpdateError::Conflict | UpdateError::MonthFull) => races += 1,
                Err(UpdateError::Port(error)) => return Err(error),
            }
            pause(self.ids.as_ref(), races, Duration::from_millis(10), Duration::from_secs(1)).await;
        }
        self.give_file_up(partition, id).await;
        Ok(())
    }

    /// Clears away the parts of a failed job's file. What stays behind goes with the bucket's lifecycle.
    async fn give_file_up(&self, partition: &Partition, id: &JobId) {
        let Ok(Some(job)) = self.jobs.get(partition, id, self.clock.now()).await else { return };
        let Some(plan) = job.plan() else { return };
        if let Err(error) = self.objects.abort(partition, &plan.file, &plan.upload).await {
            tracing::warn!(job_id = %id, error = &error as &dyn std::error::Error, "abort upload");
        }
    }

    /// Sends a message; one that cannot be sent is made good by the sweeper.
    async fn send(&self, partition: &Partition, target: &Target, job_type: JobType) {
        if let Err(error) = self.queue.send(partition, target, job_type).await {
            tracing::warn!(job_id = %target.job_id, error = &error as &dyn std::error::Error, "send message");
        }
    }

    /// How long work rests whose dependency is down.
    fn rest(&self, id: &JobId, releases: u32, error: &PortError) -> Duration {
        let rest = self.pace.back_off(releases);
        tracing::warn!(job_id = %id, rest_seconds = rest.as_secs(), error = error as &dyn std::error::Error,
            "rest until dependency is back");
        rest
    }

    fn holder(&self) -> Holder {
        Holder { jobs: self.jobs.clone(), clock: self.clock.clone(), ids: self.ids.clone(), pace: self.pace }
    }
}

/// What a refused claim means.
fn refused(refusal: IllegalTransition) -> Delivery {
    match refusal {
        IllegalTransition::Leased | IllegalTransition::Waiting => Delivery::Busy,
        IllegalTransition::Ended
        | IllegalTransition::LeaseLost
        | IllegalTransition::Exhausted
        | IllegalTransition::Counted
        | IllegalTransition::OtherPhase => Delivery::Ended,
    }
}

/// Nothing is lost: the lease runs out, and the sweeper sends it again.
fn left(target: &Target, error: &HoldError) -> Step {
    tracing::warn!(job_id = %target.job_id, segment = target.segment, error = error as &dyn std::error::Error,
        "leave to the sweeper");
    Step::Stop(Delivery::LeaseLost)
}
