//! The sweeper: whatever is due is redriven, so that nothing stays in processing for ever.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use model::{JobType, Timings, after};
use ports::{Clock, DueGroup, DueJob, DueStore, JobQueue, PortError, Stage};
use tokio::time::Instant;

/// How many due jobs are read at a time.
const PAGE: usize = 100;

/// How many are redriven at once.
const MAX_CONCURRENCY: usize = 8;

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
    /// How old the oldest job is that has not ended, in milliseconds; 0 when there is none.
    pub oldest_ms: u64,
}

impl Sweeper {
    /// One sweep over all that is due when it begins, page by page: what cannot be redriven is in nobody's way. At the
    /// deadline it ends, and the next sweep goes on.
    pub async fn sweep(&self, deadline: Instant) -> Result<Swept, PortError> {
        let mut swept = Swept::default();
        let mut failed = None;
        let sweeping = async {
            for group in DueGroup::ALL {
                // A group that cannot be read is in no other's way.
                if let Err(error) = self.sweep_group(group, &mut swept).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "sweep group of jobs");
                    failed.get_or_insert(error);
                }
            }
        };
        if tokio::time::timeout_at(deadline, sweeping).await.is_err() {
            tracing::warn!("sweep ends with its time: the next one goes on");
        }
        failed.map_or(Ok(swept), Err)
    }

    /// How old the oldest job is that has not ended: of all, due or not.
    async fn look_at_age(&self, group: DueGroup, now: Timestamp, swept: &mut Swept) -> Result<(), PortError> {
        if group.stage != Stage::Ended
            && let Some(oldest) = self.jobs.oldest(group).await?
        {
            let age = u64::try_from(now.duration_since(oldest).as_millis()).unwrap_or(0);
            swept.oldest_ms = swept.oldest_ms.max(age);
        }
        Ok(())
    }

    async fn sweep_group(&self, group: DueGroup, swept: &mut Swept) -> Result<(), PortError> {
        // What is moved on meanwhile is not found again.
        let now = self.clock.now();
        self.look_at_age(group, now, swept).await?;
        let mut after = None;
        loop {
            let page = self.jobs.due(group, now, after.as_ref(), PAGE).await?;
            swept.errors += page.unreadable;
            let mut redriven = stream::iter(&page.jobs).map(|due| self.redrive(due)).buffer_unordered(MAX_CONCURRENCY);
            while let Some(redriven) = redriven.next().await {
                match redriven {
                    Ok(redriven) => swept.redriven += u64::from(redriven),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "redrive job");
                        swept.errors += 1;
                    }
                }
            }
            drop(redriven);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Moves the job on first: when the message is lost too, the job is due again later. False when somebody else has
    /// moved it.
    async fn redrive(&self, due: &DueJob) -> Result<bool, PortError> {
        let now = self.clock.now();
        // A job that has not started waits in a queue: it is due in 5, 10, 20 … minutes, so that a long queue is not
        // fed.
        let age = match due.group.stage {
            Stage::Pending => now.duration_since(due.job_id.created_at()),
            Stage::Started | Stage::Ended => SignedDuration::ZERO,
        };
        let until = after(now, self.timings.redrive + age.try_into().unwrap_or_default());
        if !self.jobs.postpone(due, until).await? {
            return Ok(false);
        }
        let queue = match due.group.job_type {
            JobType::Import => &self.imports,
            JobType::Export => &self.exports,
        };
        queue.send(&due.partition, &due.job_id).await?;
        Ok(true)
    }
}
