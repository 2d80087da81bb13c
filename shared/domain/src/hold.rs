//! Holding a job: the lease, its renewal, and every write under it, in one place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{JobId, Partition, Token};
use crate::job::{Event, IllegalTransition, Job, JobStatus, Progress};
use crate::pace::{Pace, after};
use crate::ports::{Clock, IdSource, JobStore, PortError, Settlement, UpdateError};
use crate::retry::pause;

/// How often clients can see an import move at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How often a take of a job is tried when others write to it at the same time.
const MAX_TAKE_TRIES: u32 = 8;

/// What came of looking at a job.
pub(crate) enum Take {
    /// It is ours for now.
    Held(Box<Hold>),
    /// There is no such job, or it has ended: nothing is to be done.
    Ended,
    /// A live worker is at it.
    Busy,
}

/// Why a write under the lease had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HoldError {
    /// The lease is lost, or about to end: whoever holds the job now goes on with it.
    #[error("lease was lost")]
    Lost,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A job that this worker holds the lease of.
///
/// The worker counts the lease on its own monotonic clock, from before the write that took or renewed
/// it was sent, and starts no call in the lease's last part: no clock needs to be right for that.
pub(crate) struct Hold {
    jobs: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    pace: Pace,
    token: Token,
    /// The job as last written, and when; locked across a write, so that writes go one by one.
    written: tokio::sync::Mutex<Written>,
    valid_until: Mutex<Instant>,
}

struct Written {
    job: Job,
    at: Instant,
    progress: Progress,
}

impl Hold {
    /// Takes the job's lease, if it can be had.
    pub(crate) async fn take(
        jobs: Arc<dyn JobStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        pace: Pace,
        (partition, id): (&Partition, &JobId),
    ) -> Result<Take, PortError> {
        let token = Token::new(ids.random());
        for attempt in 0..MAX_TAKE_TRIES {
            if attempt > 0 {
                pause(ids.as_ref(), attempt, Duration::from_millis(10), Duration::from_millis(200)).await;
            }
            let sent = Instant::now();
            let now = clock.now();
            let Some(job) = jobs.get(partition, id, now).await? else { return Ok(Take::Ended) };
            let event =
                Event::Taken { token: token.clone(), expires_at: after(now, pace.lease), due_at: due(&pace, now) };
            let taken = match job.apply(event, now) {
                // Our own take whose answer was lost.
                Err(IllegalTransition::Leased) if job.lease().is_some_and(|lease| lease.token == token) => job,
                Err(IllegalTransition::Leased) => return Ok(Take::Busy),
                Err(_) => return Ok(Take::Ended),
                Ok(taken) => match jobs.update(partition, &taken, settlement(&taken)).await {
                    Ok(()) => taken,
                    // Neither a take nor a failure reserves anything: the month is never full for them.
                    Err(
                        UpdateError::Conflict
                        | UpdateError::MonthFull
                        | UpdateError::Port(PortError::Unavailable { .. }),
                    ) => continue,
                    Err(UpdateError::Port(error)) => return Err(error),
                },
            };
            if taken.has_ended() {
                tracing::error!(job_id = %id, "job was taken over too often and has failed");
                return Ok(Take::Ended);
            }
            let progress = taken.progress();
            return Ok(Take::Held(Box::new(Self {
                valid_until: Mutex::new(sent + pace.lease),
                written: tokio::sync::Mutex::new(Written { job: taken, at: sent, progress }),
                jobs,
                clock,
                ids,
                pace,
                token,
            })));
        }
        Ok(Take::Busy)
    }

    /// The job as last written.
    pub(crate) async fn job(&self) -> Job {
        self.written.lock().await.job.clone()
    }

    /// The lease's token.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether a call may still be started. To be asked before every call that the lease does not fence.
    pub(crate) fn check(&self) -> Result<(), HoldError> {
        let valid_until = *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() + self.pace.lease_margin() < valid_until { Ok(()) } else { Err(HoldError::Lost) }
    }

    /// Renews the lease until it is lost; run beside the work, which is dropped when this ends.
    pub(crate) async fn keep_alive(&self) -> HoldError {
        loop {
            let renewed = self.written.lock().await.at;
            tokio::time::sleep_until(renewed + self.pace.renew_every()).await;
            let mut written = self.written.lock().await;
            if written.at > renewed {
                continue;
            }
            match self.renew(&mut written).await {
                Ok(()) => {}
                Err(error @ (HoldError::Lost | HoldError::MonthFull)) => return error,
                Err(HoldError::Port(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "renew lease");
                    drop(written);
                    tokio::time::sleep(self.pace.lease / 30).await;
                }
            }
        }
    }

    /// Tells how far the work is; written at most once a second.
    pub(crate) async fn report(&self, progress: Progress) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        written.progress = progress;
        if written.at.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        match self.renew(&mut written).await {
            // Progress can wait; the lease is watched by `keep_alive`.
            Err(HoldError::Port(PortError::Unavailable { .. })) => Ok(()),
            result => result,
        }
    }

    async fn renew(&self, written: &mut Written) -> Result<(), HoldError> {
        let sent = Instant::now();
        let progress = written.progress;
        let renewed = |token, now| Event::Renewed {
            token,
            expires_at: after(now, self.pace.lease),
            due_at: due(&self.pace, now),
            progress,
        };
        self.write(written, renewed, settlement).await?;
        written.at = sent;
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = sent + self.pace.lease;
        Ok(())
    }

    /// Ends the hold with the event that `make` builds of the token; tried until the lease runs out.
    pub(crate) async fn finish(&self, make: impl Fn(Token) -> Event) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        let mut attempt = 0;
        loop {
            match self.write(&mut written, |token, _| make(token), settlement).await {
                Err(HoldError::Port(error @ PortError::Unavailable { .. })) => {
                    self.check()?;
                    tracing::warn!(error = &error as &dyn std::error::Error, "end hold of job");
                    attempt += 1;
                    pause(self.ids.as_ref(), attempt, Duration::from_millis(100), Duration::from_secs(2)).await;
                }
                result => return result,
            }
        }
    }

    /// Writes down how many records there are to import, and reserves them in the month, once.
    pub(crate) async fn count(&self, records: u64, limit: Option<u64>) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        if written.job.is_counted() {
            return Ok(());
        }
        let reserve = |job: &Job| Settlement::Reserve { reservation: job.reservation().clone(), limit };
        self.write(&mut written, |token, _| Event::Counted { token, records }, reserve).await
    }

    /// Applies one event and stores the result, whatever came of earlier tries of the same write.
    async fn write(
        &self,
        written: &mut Written,
        make: impl Fn(Token, jiff::Timestamp) -> Event,
        settle: impl Fn(&Job) -> Settlement,
    ) -> Result<(), HoldError> {
        self.check()?;
        loop {
            let now = self.clock.now();
            let next = match written.job.apply(make(self.token.clone(), now), now) {
                Ok(next) => next,
                // An earlier try of the count whose answer was lost.
                Err(IllegalTransition::Counted) => return Ok(()),
                Err(illegal) => {
                    tracing::info!(error = &illegal as &dyn std::error::Error, "write under lost lease");
                    return Err(HoldError::Lost);
                }
            };
            match self.jobs.update(next.partition(), &next, settle(&next)).await {
                Ok(()) => {
                    written.job = next;
                    return Ok(());
                }
                Err(UpdateError::MonthFull) => return Err(HoldError::MonthFull),
                Err(UpdateError::Port(error)) => return Err(HoldError::Port(error)),
                Err(UpdateError::Conflict) => {
                    let stored = self.jobs.get(next.partition(), next.id(), now).await?.ok_or(HoldError::Lost)?;
                    let is_ours = stored.lease().is_some_and(|lease| lease.token == self.token);
                    // An earlier try of this write whose answer was lost: apart from the moment it is the same.
                    let has_landed = stored.revision() == next.revision() && stored.status() == next.status();
                    if stored.has_ended() && has_landed && stored.result() == next.result() {
                        written.job = stored;
                        return Ok(());
                    }
                    if !is_ours || stored.revision() <= written.job.revision() {
                        return Err(HoldError::Lost);
                    }
                    written.job = stored;
                }
            }
        }
    }
}

/// What storing this revision of a job means for the month: a job that fails gives its reservation back.
pub(crate) fn settlement(job: &Job) -> Settlement {
    match job.status() {
        JobStatus::Failed(_) if job.is_counted() => Settlement::Refund(job.reservation().clone()),
        JobStatus::Failed(_) | JobStatus::Pending | JobStatus::Processing(_) | JobStatus::Completed => Settlement::None,
    }
}

fn due(pace: &Pace, now: jiff::Timestamp) -> jiff::Timestamp {
    after(now, pace.lease + pace.due_grace())
}
