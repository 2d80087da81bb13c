//! Jobs in their owners' hands: list, cancel, delete.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Event, FailureReason, Job, JobId, JobSpec, JobState, KeyPrefix, Partition, Settlement};
use ports::{
    Backoff, Clock, FileRemover, IdSource, JobStore, PortError, RetryPolicy, UpdateError, job_ended, remove_results,
};

mod list;

pub use list::{JobFilter, JobLister, JobPage, MAX_PAGE, parse_cursor};

/// A cancellation that meets the worker's writes, or a store that is down.
const RACES: RetryPolicy = RetryPolicy::new(15, 10, 400);

/// How long an answer waits for the files of a cancelled job; what stays behind goes with the bucket's lifecycle.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a job was not cancelled or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ManageJobError {
    /// Absent, or of another partition.
    #[error("job not found")]
    NotFound,
    /// Only a job that has ended can be deleted.
    #[error("job has not ended")]
    NotFinished,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Cancels and deletes jobs.
pub struct JobManager {
    pub jobs: Arc<dyn JobStore>,
    pub files: Arc<dyn FileRemover>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

impl JobManager {
    /// Ends a job, whoever is at it. One that has ended stays as it is, so the call may be repeated.
    ///
    /// The write follows a revision, like the worker's: of two ends one wins, and the month gets its share back once.
    pub async fn cancel(&self, partition: &Partition, id: &JobId) -> Result<Job, ManageJobError> {
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        // By when it ended: tries that may have had their effect, and whether a worker was at the job then.
        let mut tried: Vec<(Option<Timestamp>, bool)> = Vec::new();
        loop {
            let now = self.clock.now();
            let Some(job) = self.look(&mut races, partition, id, now).await? else {
                return Err(ManageJobError::NotFound);
            };
            let Ok(cancelled) = job.apply(Event::Cancelled, now) else {
                // An earlier try whose answer was lost; its worker may have settled the job since.
                if let JobState::Failed(FailureReason::Cancelled) = job.state()
                    && let Some((_, is_leased)) = tried.iter().find(|(ended, _)| *ended == job.completed_at())
                {
                    self.cancelled(&job, *is_leased, now).await;
                }
                return Ok(job);
            };
            let is_leased = job.lease().is_some_and(|lease| lease.expires_at > now);
            tried.push((cancelled.completed_at(), is_leased));
            match self.jobs.update(partition, &cancelled, &cancelled.settlement(&job)).await {
                Ok(()) => {
                    self.cancelled(&cancelled, is_leased, now).await;
                    return Ok(cancelled);
                }
                Err(UpdateError::Port(error)) if !error.is_transient() => return Err(error.into()),
                // A cancellation reserves nothing: the month is never full for it.
                Err(UpdateError::Conflict | UpdateError::MonthFull | UpdateError::Port(_)) => {}
            }
            if !races.wait().await {
                return Err(PortError::unavailable("cancel job", "lost every race").into());
            }
        }
    }

    /// The job as its owner sees it. A look that fails is a try.
    async fn look(
        &self,
        races: &mut Backoff<'_>,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<Job>, PortError> {
        loop {
            match self.jobs.get(partition, id, now).await {
                Err(error) if error.is_transient() && races.wait().await => {}
                found => return found,
            }
        }
    }

    /// What follows the write that cancels a job.
    async fn cancelled(&self, job: &Job, is_leased: bool, now: Timestamp) {
        job_ended(job, now);
        // A live worker clears its files away itself, once it notices.
        if !is_leased {
            let removing = remove_results(self.files.as_ref(), job);
            let _late = tokio::time::timeout(CLEAR_TIMEOUT, removing).await;
        }
    }

    /// Deletes a job that has ended: its files, its source, its item, in this order, so that it can be repeated. When a
    /// worker may still write something, the item stays, unseen, until that is cleared away too.
    pub async fn delete(&self, partition: &Partition, id: &JobId) -> Result<Job, ManageJobError> {
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        let mut tried = None;
        loop {
            let now = self.clock.now();
            let Some(job) = self.look(&mut races, partition, id, now).await? else {
                // Gone by an earlier try whose answer was lost, or there never was one.
                return tried.ok_or(ManageJobError::NotFound);
            };
            if !job.has_ended() {
                return Err(ManageJobError::NotFinished);
            }
            for prefix in KeyPrefix::of_results(partition, id, job.job_type()) {
                self.files.remove(partition, &prefix, &[]).await?;
            }
            if let JobSpec::Import { source, .. } = job.spec() {
                self.files.remove(partition, &KeyPrefix::of_source(source.key()), &[]).await?;
            }
            let removed = match job.apply(Event::Deleted, now) {
                Ok(hidden) => self.jobs.update(partition, &hidden, &Settlement::None).await,
                Err(_nothing_is_left) => self.jobs.delete(partition, id).await.map_err(UpdateError::Port),
            };
            match removed {
                Ok(()) => return Ok(job),
                Err(UpdateError::Port(error)) if !error.is_transient() => return Err(error.into()),
                // It was settled or cleared meanwhile; or it is gone by this, and the answer was lost.
                Err(UpdateError::Conflict | UpdateError::MonthFull | UpdateError::Port(_)) => tried = Some(job),
            }
            if !races.wait().await {
                return Err(PortError::unavailable("delete job", "lost every race").into());
            }
        }
    }
}
