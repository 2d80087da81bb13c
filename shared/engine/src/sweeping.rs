//! The sweeper: whatever is due is redriven, so that nothing stays in processing for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use model::{JobType, Timings, after};
use ports::{Clock, DueGroup, DueJob, DueStore, JobQueue, PortError, Stage, service_defect};
use tokio::time::Instant;

/// How many due jobs are read at a time.
const PAGE: usize = 100;

/// How many of a group are redriven at once.
const MAX_CONCURRENCY: usize = 8;

/// When a job is due again until its message is sent: for the next sweep, and not for this one.
const NEXT_SWEEP: Duration = Duration::from_secs(1);

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
    /// Those that could not be redriven; the next sweep tries again.
    pub errors: u64,
    /// Groups that could not be looked through, since a call failed or brought no answer in time.
    pub failed_groups: u64,
    /// Groups of which nothing that is due could be redriven: nothing moves there, if it stays so.
    pub stuck_groups: u64,
    /// How old the oldest job is that has not ended, in milliseconds, 0 when there is none; `None` when not all could be
    /// looked at.
    pub oldest_ms: Option<u64>,
}

impl Sweeper {
    /// One sweep over all that is due when it begins, the groups side by side and each page by page: what cannot be read
    /// or redriven, or does not answer, is in nobody's way. At the deadline it ends, and the next sweep goes on.
    pub async fn sweep(&self, deadline: Instant) -> Swept {
        let groups = DueGroup::ALL.map(|group| self.sweep_until(deadline, group));
        let none = Swept { oldest_ms: Some(0), ..Swept::default() };
        join_all(groups).await.into_iter().fold(none, |all, group| Swept {
            redriven: all.redriven + group.redriven,
            errors: all.errors + group.errors,
            failed_groups: all.failed_groups + group.failed_groups,
            stuck_groups: all.stuck_groups + group.stuck_groups,
            oldest_ms: all.oldest_ms.zip(group.oldest_ms).map(|(one, other)| one.max(other)),
        })
    }

    async fn sweep_until(&self, deadline: Instant, group: DueGroup) -> Swept {
        let mut swept = Swept::default();
        let ended = tokio::time::timeout_at(deadline, self.sweep_group(group, &mut swept)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(?group, error = &error as &dyn std::error::Error, "sweep group of jobs");
                service_defect(group.job_type, None, &error);
                swept.failed_groups = 1;
            }
            Err(_elapsed) if swept.redriven > 0 => tracing::warn!(?group, "sweep ends with its time: more is due"),
            Err(_elapsed) => {
                tracing::error!(?group, "sweep group of jobs: no answer in time");
                swept.failed_groups = 1;
            }
        }
        swept
    }

    /// How old the oldest job of a group is that has not ended: of all, due or not.
    async fn oldest_ms(&self, group: DueGroup, now: Timestamp) -> Result<u64, PortError> {
        if group.stage == Stage::Ended {
            return Ok(0);
        }
        let oldest = self.jobs.oldest(group).await?;
        Ok(oldest.map_or(0, |oldest| u64::try_from(now.duration_since(oldest).as_millis()).unwrap_or(0)))
    }

    async fn sweep_group(&self, group: DueGroup, swept: &mut Swept) -> Result<(), PortError> {
        // What is moved on meanwhile is not found again.
        let now = self.clock.now();
        swept.oldest_ms = Some(self.oldest_ms(group, now).await?);
        let (mut after, mut failed) = (None, false);
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
                        failed = true;
                    }
                }
            }
            drop(redriven);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        swept.stuck_groups = u64::from(failed && swept.redriven == 0);
        Ok(())
    }

    /// Until its message is sent the job is due in the next sweep, and only then later: wherever this is dropped, nothing is
    /// forgotten. False when somebody else has moved it.
    async fn redrive(&self, due: &DueJob) -> Result<bool, PortError> {
        let now = self.clock.now();
        let next_sweep = after(now, NEXT_SWEEP);
        let tell = |error: &PortError| service_defect(due.group.job_type, Some((&due.partition, &due.job_id)), error);
        if !self.jobs.postpone(due, next_sweep).await.inspect_err(tell)? {
            return Ok(false);
        }
        let queue = match due.group.job_type {
            JobType::Import => &self.imports,
            JobType::Export => &self.exports,
        };
        let sent = queue.send(&due.partition, &due.job_id).await;
        sent.inspect_err(tell)?;
        // Jobs wait in a queue, which must not be fed the longer it is: one that has not started is due in 5, 10, 20 …
        // minutes.
        let delay = match due.group.stage {
            Stage::Pending => {
                let age = now.duration_since(due.job_id.created_at());
                self.timings.redrive + age.try_into().unwrap_or_default()
            }
            Stage::Started => self.timings.redrive_started(),
            Stage::Ended => self.timings.redrive,
        };
        let until = after(now, delay);
        let sent = DueJob { due_at: next_sweep, ..due.clone() };
        if let Err(error) = self.jobs.postpone(&sent, until).await {
            // A message twice does no harm.
            tracing::warn!(job_id = %due.job_id, error = &error as &dyn std::error::Error, "postpone job");
        }
        Ok(true)
    }
}
