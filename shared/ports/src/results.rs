//! What both sides of the queue do: send the message about a job, and remove what its workers have written.

use std::time::Duration;

use model::{Event, Job, JobResult, KeyPrefix, Settlement};

use crate::error::PortError;
use crate::jobs::{JobQueue, JobStore};
use crate::metrics::service_defect;
use crate::objects::FileRemover;
use crate::sources::Clock;

/// How long sending a message may take; then the sweeper sends it.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Removes what the workers of a failed job have written. An error is only logged: all is cleared away once more.
pub async fn remove_results(files: &dyn FileRemover, job: &Job) {
    if let Err(error) = remove_leftovers(files, job).await {
        tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "remove files");
    }
}

/// Removes all that the workers of an ended job have written, but for the files that it names.
pub async fn remove_leftovers(files: &dyn FileRemover, job: &Job) -> Result<(), PortError> {
    let named = job.result().filter(|_| !job.is_deleted()).map(JobResult::files).unwrap_or_default();
    let keep: Vec<_> = named.iter().map(|file| file.key.clone()).collect();
    for prefix in KeyPrefix::of_results(job.partition(), job.id(), job.job_type()) {
        files.remove(job.partition(), &prefix, &keep).await?;
    }
    Ok(())
}

/// Sends the message about a job. When that fails the job is due at once, and the sweeper sends it. False when even that
/// cannot be written: it is due later, as its last write says.
pub async fn send(queue: &dyn JobQueue, jobs: &dyn JobStore, clock: &dyn Clock, job: &Job) -> bool {
    match tokio::time::timeout(SEND_TIMEOUT, queue.send(job.partition(), job.id())).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => {
            tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "send job message");
            service_defect(job.job_type(), Some((job.partition(), job.id())), &error);
        }
        Err(_elapsed) => tracing::warn!(job_id = %job.id(), "send job message: timed out"),
    }
    let Ok(unsent) = job.apply(Event::SendFailed, clock.now()) else { return false };
    let written = jobs.update(job.partition(), &unsent, &Settlement::None);
    match tokio::time::timeout(SEND_TIMEOUT, written).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => {
            tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "mark job as unsent");
        }
        Err(_elapsed) => tracing::warn!(job_id = %job.id(), "mark job as unsent: timed out"),
    }
    false
}
