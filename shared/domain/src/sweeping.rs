//! The sweeper: whatever is due is redriven, so that nothing stays in processing for ever.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use jiff::SignedDuration;

use crate::jobs::JobType;
use crate::ports::{Clock, DueJob, DueStore, JobQueue, PortError};
use crate::timings::{Timings, after};

/// How many due jobs are read at a time.
const PAGE: usize = 100;

/// How many are redriven at once.
const MAX_CONCURRENCY: usize = 8;

/// How many pages one sweep reads of each type at most; the next sweep goes on.
const MAX_PAGES: usize = 20;

/// Redrives due jobs. It looks no deeper than their keys, and never touches a lease: whoever gets the message finds out
/// what there is to do.
pub struct Sweeper {
    pub jobs: Arc<dyn DueStore>,
    pub imports: Arc<dyn JobQueue>,
    pub exports: Arc<dyn JobQueue>,
    pub clock: Arc<dyn Clock>,
    pub timings: Timings,
}

/// What one sweep has done, in jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub redriven: u64,
    /// Those that could not be redriven; the next sweep finds them again.
    pub errors: u64,
}

impl Sweeper {
    /// One sweep over all that is due.
    pub async fn sweep(&self) -> Result<Swept, PortError> {
        let mut swept = Swept::default();
        for job_type in [JobType::Import, JobType::Export] {
            for _ in 0..MAX_PAGES {
                let due = self.jobs.due(job_type, self.clock.now(), PAGE).await?;
                let found = due.len();
                let errors_before = swept.errors;
                let mut redriven = stream::iter(&due).map(|due| self.redrive(due)).buffer_unordered(MAX_CONCURRENCY);
                while let Some(redriven) = redriven.next().await {
                    match redriven {
                        Ok(redriven) => swept.redriven += u64::from(redriven),
                        Err(error) => {
                            tracing::warn!(error = &error as &dyn std::error::Error, "redrive job");
                            swept.errors += 1;
                        }
                    }
                }
                // What could not be moved on would be found again at once.
                if found < PAGE || swept.errors > errors_before {
                    break;
                }
            }
        }
        Ok(swept)
    }

    /// Moves the job on first: when the message is lost too, the job is due again later. False when somebody else has
    /// moved it.
    async fn redrive(&self, due: &DueJob) -> Result<bool, PortError> {
        let now = self.clock.now();
        // A job that has not started waits in a queue: it is due in 5, 10, 20 … minutes, so that a long queue is not
        // fed.
        let age = if due.has_started { SignedDuration::ZERO } else { now.duration_since(due.job_id.created_at()) };
        let until = after(now, self.timings.redrive + age.try_into().unwrap_or_default());
        if !self.jobs.postpone(due, until).await? {
            return Ok(false);
        }
        let queue = match due.job_type {
            JobType::Import => &self.imports,
            JobType::Export => &self.exports,
        };
        queue.send(&due.partition, &due.job_id).await?;
        Ok(true)
    }
}
