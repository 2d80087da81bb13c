//! Holding a job: an import while it is at work, an export while it is planned and finished.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Hold, HoldError, Leased, Patience};
use crate::ids::{Partition, Token};
use crate::job::{Event, IllegalTransition, Job, JobStatus, Progress};
use crate::lease::{Claim, Lease};
use crate::message::Target;
use crate::metrics::job_ended;
use crate::ports::{Change, JobStore, PortError, Settlement};
use crate::segment::Segment;

/// How often clients can see an import move at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[async_trait]
impl Leased for Job {
    type Note = Progress;

    fn lease(&self) -> Option<&Lease> {
        self.lease()
    }

    fn note(&self) -> Progress {
        self.progress()
    }

    fn taken(&self, claim: Claim, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.apply(Event::Taken(claim), now)
    }

    fn renewed(&self, claim: Claim, note: Progress, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.apply(Event::Renewed(claim, note), now)
    }

    fn change(&self) -> Change {
        Change::job(self.clone()).settle(settlement(self))
    }

    fn ended(&self, now: Timestamp) {
        job_ended(self, now);
    }

    async fn load(
        jobs: &dyn JobStore,
        partition: &Partition,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Self>, PortError> {
        jobs.get(partition, &target.job_id, now).await
    }
}

impl Hold<Job> {
    /// Tells how far the work is; written at most once a second.
    pub(crate) async fn report(&self, progress: Progress) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        written.note = progress;
        if written.at.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        match self.renew(&mut written, Patience::None).await {
            // Progress can wait; the lease is watched by `keep_alive`.
            Err(HoldError::Port(PortError::Unavailable { .. })) => Ok(()),
            result => result,
        }
    }

    /// Ends the hold with the event that `make` builds of the token.
    pub(crate) async fn finish(&self, make: impl Fn(Token) -> Event) -> Result<(), HoldError> {
        self.end(|job, now| job.apply(make(self.token.clone()), now), Job::change).await
    }

    /// Ends the hold with the plan of an export, and stores its segments.
    pub(crate) async fn plan(&self, make: impl Fn(Token) -> Event, segments: &[Segment]) -> Result<(), HoldError> {
        let change = |job: &Job| Change { segments: segments.to_vec(), ..Change::job(job.clone()) };
        self.end(|job, now| job.apply(make(self.token.clone()), now), change).await
    }

    /// Writes down how many records there are to import, and reserves them in the month, once.
    pub(crate) async fn count(&self, records: u64, limit: Option<u64>) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        if written.current.is_counted() {
            return Ok(());
        }
        let counted = |job: &Job, now| job.apply(Event::Counted { token: self.token.clone(), records }, now);
        let reserve = |job: &Job| {
            Change::job(job.clone()).settle(Settlement::Reserve { reservation: job.reservation().clone(), limit })
        };
        self.write(&mut written, Patience::None, counted, reserve).await
    }
}

/// What storing this revision of a job means for the month: a job that fails gives its reservation back.
pub(crate) fn settlement(job: &Job) -> Settlement {
    match job.status() {
        JobStatus::Failed(_) if job.is_counted() => Settlement::Refund(job.reservation().clone()),
        JobStatus::Failed(_) | JobStatus::Pending | JobStatus::Processing(_) | JobStatus::Completed => Settlement::None,
    }
}
