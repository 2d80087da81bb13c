//! The sweeper: whatever is due and unattended is sent again, so that nothing stays in processing for ever.

use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::hold::Leased;
use crate::job::{Event, IllegalTransition, JobType};
use crate::metrics::job_ended;
use crate::pace::{Pace, after};
use crate::ports::{Clock, Due, JobQueue, JobStore, PortError, UpdateError};

/// How many due jobs are read at a time.
const PAGE: usize = 100;

/// How many due jobs are seen to at once.
const AT_ONCE: usize = 8;

/// How many pages one sweep reads of each type at most; the next sweep goes on.
const MAX_PAGES: usize = 20;

/// Sends due jobs again.
pub struct Sweeper {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// What carries the messages.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Times.
    pub pace: Pace,
}

/// What one sweep has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs sent again.
    pub sent: u64,
    /// Jobs failed for their age.
    pub failed: u64,
    /// Jobs that could not be seen to; the next sweep finds them again.
    pub errors: u64,
}

enum Seen {
    Sent,
    Failed,
    Moved,
    Error,
}

impl Sweeper {
    /// One sweep over all that is due.
    pub async fn sweep(&self) -> Result<Swept, PortError> {
        let mut swept = Swept::default();
        for job_type in [JobType::Import, JobType::Export] {
            for _ in 0..MAX_PAGES {
                let due = self.jobs.due(job_type, self.clock.now(), PAGE).await?;
                let found = due.len();
                let mut seen = stream::iter(due).map(|due| self.see_to(due)).buffer_unordered(AT_ONCE);
                let errors_before = swept.errors;
                while let Some(outcome) = seen.next().await {
                    match outcome {
                        Seen::Sent => swept.sent += 1,
                        Seen::Failed => swept.failed += 1,
                        Seen::Moved => {}
                        Seen::Error => swept.errors += 1,
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

    async fn see_to(&self, due: Due) -> Seen {
        let now = self.clock.now();
        let outcome = if after(due.target.job_id.created_at(), self.pace.max_age) <= now {
            self.fail(&due).await
        } else {
            self.send(&due).await
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(job_id = %due.target.job_id, error = &error as &dyn std::error::Error, "see to due job");
            Seen::Error
        })
    }

    /// Moves the job on first: when the message is lost too, the job is due again later.
    async fn send(&self, due: &Due) -> Result<Seen, PortError> {
        if !self.jobs.postpone(due, after(self.clock.now(), self.pace.resend)).await? {
            return Ok(Seen::Moved);
        }
        self.queue.send(&due.partition, &due.target, due.job_type).await?;
        Ok(Seen::Sent)
    }

    async fn fail(&self, due: &Due) -> Result<Seen, PortError> {
        let now = self.clock.now();
        let job = self.jobs.get(&due.partition, &due.target.job_id, now).await?;
        let failed = job.map(|job| job.apply(Event::Expired, now));
        let failed = match (failed, due.target.segment) {
            (Some(Ok(failed)), _) => failed,
            // The job is gone, or has ended: whoever looks at the segment drops it.
            (None | Some(Err(IllegalTransition::Ended)), Some(_)) => return self.send(due).await,
            (None | Some(Err(_)), _) => return Ok(Seen::Moved),
        };
        match self.jobs.update(&due.partition, &failed.change()).await {
            Ok(()) => {
                job_ended(&failed, now);
                Ok(Seen::Failed)
            }
            Err(UpdateError::Conflict | UpdateError::MonthFull) => Ok(Seen::Moved),
            Err(UpdateError::Port(error)) => Err(error),
        }
    }
}
