//! Jobs in their owners' hands: list, cancel, delete.

use std::sync::Arc;
use std::time::Duration;

use model::{Event, Job, JobId, JobSpec, KeyPrefix, Partition, Settlement};
use ports::{
    Backoff, Clock, FileRemover, IdSource, JobStore, PortError, RetryPolicy, UpdateError, job_ended, remove_results,
};

mod list;

pub use list::{InvalidCursor, JobCursor, JobFilter, JobLister, JobPage, MAX_PAGE};

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
        loop {
            let now = self.clock.now();
            let job = self.jobs.get(partition, id, now).await?.ok_or(ManageJobError::NotFound)?;
            let Ok(cancelled) = job.apply(Event::Cancelled, now) else { return Ok(job) };
            match self.jobs.update(partition, &cancelled, &cancelled.settlement(&job)).await {
                Ok(()) => {
                    job_ended(&cancelled, now);
                    // A live worker clears its files away itself, once it notices.
                    if job.lease().is_none_or(|lease| lease.expires_at <= now) {
                        let removing = remove_results(self.files.as_ref(), &cancelled);
                        let _late = tokio::time::timeout(CLEAR_TIMEOUT, removing).await;
                    }
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

    /// Deletes a job that has ended: its files, its source, its item, in this order, so that it can be repeated. When a
    /// worker may still write something, the item stays, unseen, until that is cleared away too.
    pub async fn delete(&self, partition: &Partition, id: &JobId) -> Result<Job, ManageJobError> {
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        loop {
            let now = self.clock.now();
            let job = self.jobs.get(partition, id, now).await?.ok_or(ManageJobError::NotFound)?;
            if !job.has_ended() {
                return Err(ManageJobError::NotFinished);
            }
            for prefix in KeyPrefix::of_results(partition, id, job.job_type()) {
                self.files.remove(partition, &prefix, &[]).await?;
            }
            if let JobSpec::Import { source, .. } = job.spec() {
                self.files.remove(partition, &KeyPrefix::of_source(source.key()), &[]).await?;
            }
            let Ok(hidden) = job.apply(Event::Deleted, now) else {
                self.jobs.delete(partition, id).await?;
                return Ok(job);
            };
            match self.jobs.update(partition, &hidden, &Settlement::None).await {
                Ok(()) => return Ok(job),
                Err(UpdateError::Port(error)) => return Err(error.into()),
                // It was settled or cleared meanwhile.
                Err(UpdateError::Conflict | UpdateError::MonthFull) => {}
            }
            if !races.wait().await {
                return Err(PortError::unavailable("delete job", "lost every race").into());
            }
        }
    }
}
