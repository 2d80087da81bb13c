//! Holding a job's lease: the only place that acquires, renews, checks and ends it, and so the only one that
//! writes to a job that is at work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Event, FailureReason, IllegalTransition, Job, JobResult, LeaseRequest, Progress, Refusal, Release};
use crate::exporting::ExportCheckpoint;
use crate::identity::{JobId, Partition, Token};
use crate::metrics::{METRICS, job_ended};
use crate::ports::{Clock, IdSource, JobStore, PortError, Settlement, UpdateError};
use crate::retry::{Backoff, RetryPolicy};
use crate::timings::{Timings, after};

/// How often progress and checkpoints are written at most: all jobs of a tenant share one key of the table.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// A write of a job that meets other writes of it.
const RACES: RetryPolicy = RetryPolicy::new(15, 10, 400);

/// A write under the lease while the store is down: until the lease ends.
const UNTIL_LEASE_ENDS: RetryPolicy = RetryPolicy::new(1, 100, 2_000).unlimited();

/// What came of trying to acquire a job.
pub(crate) enum AcquireOutcome {
    Acquired(Box<LeaseGuard>),
    Refused(Refusal),
    /// There is no such job.
    Absent,
    /// The job was too old or taken over too often, and has failed by this. As it was before.
    Failed(Box<Job>),
}

/// Why a write under the lease had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The lease is lost, or about to end: whoever holds it now goes on.
    #[error("lease was lost")]
    Lost,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What a guard needs of the outside.
#[derive(Clone)]
pub(crate) struct JobAccess {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) timings: Timings,
}

/// A job whose lease this worker holds.
///
/// The worker counts the lease on its own monotonic clock, from before the write that acquired or renewed it was
/// sent, and starts no call in the lease's last part: no clock needs to be right for that.
pub(crate) struct LeaseGuard {
    access: JobAccess,
    partition: Partition,
    token: Token,
    /// Locked across a write, so that writes go one by one.
    written: tokio::sync::Mutex<Written>,
    valid_until: Mutex<Instant>,
}

struct Written {
    /// The job as last written.
    job: Job,
    at: Instant,
    renewed_at: Instant,
    /// How far the work is, to be written next.
    progress: Progress,
    checkpoint: Option<Box<ExportCheckpoint>>,
}

/// Whether a write of progress renews the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    WhenDue,
    Now,
}

/// Whether a write is tried again while the store is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenDown {
    Fail,
    RetryUntilLeaseEnds,
}

impl LeaseGuard {
    /// Acquires the lease, if it can be had.
    pub(crate) async fn acquire(
        access: JobAccess,
        partition: &Partition,
        id: &JobId,
    ) -> Result<AcquireOutcome, PortError> {
        let JobAccess { jobs, clock, ids, timings } = &access;
        let token = Token::new(ids.random());
        let began = Instant::now();
        let mut backoff = Backoff::new(RACES, ids.as_ref());
        loop {
            let sent = Instant::now();
            let now = clock.now();
            let Some(found) = jobs.get(partition, id, now).await? else { return Ok(AcquireOutcome::Absent) };
            if found.lease().is_some_and(|lease| lease.token == token) {
                // An earlier try whose answer was lost; it may have been the first.
                return Ok(AcquireOutcome::Acquired(Box::new(Self::new(access, token, found, began))));
            }
            let next = match found.apply(Event::Acquired(request(&token, timings, now)), now) {
                Ok(next) => next,
                Err(IllegalTransition { refusal, .. }) => return Ok(AcquireOutcome::Refused(refusal)),
            };
            match jobs.update(partition, &next, &next.settlement()).await {
                Ok(()) if next.has_ended() => {
                    job_ended(&next, now);
                    return Ok(AcquireOutcome::Failed(Box::new(found)));
                }
                Ok(()) => {
                    if next.lease().is_some_and(|lease| lease.attempt > 0) {
                        tracing::warn!(target: METRICS, job_id = %id, tenant = %partition.tenant, lease_takeovers = 1);
                    }
                    return Ok(AcquireOutcome::Acquired(Box::new(Self::new(access, token, next, sent))));
                }
                Err(UpdateError::Port(error @ PortError::Defect { .. })) => return Err(error),
                // Neither acquiring nor failing reserves anything: the month is never full for them.
                Err(UpdateError::Conflict | UpdateError::MonthFull | UpdateError::Port(_)) => {}
            }
            if !backoff.wait().await {
                return Ok(AcquireOutcome::Refused(Refusal::Leased));
            }
        }
    }

    /// A guard of the lease that was written with this token, not before `sent`.
    fn new(access: JobAccess, token: Token, job: Job, sent: Instant) -> Self {
        Self {
            valid_until: Mutex::new(sent + access.timings.lease),
            partition: job.partition().clone(),
            token,
            written: tokio::sync::Mutex::new(Written {
                at: sent,
                renewed_at: sent,
                progress: job.progress(),
                checkpoint: job.checkpoint().cloned().map(Box::new),
                job,
            }),
            access,
        }
    }

    /// The job as last written.
    pub(crate) async fn job(&self) -> Job {
        self.written.lock().await.job.clone()
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether a call may still be started. To be asked before every call that the lease does not fence.
    pub(crate) fn check(&self) -> Result<(), LeaseError> {
        let valid_until = *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() + self.access.timings.lease_margin() < valid_until { Ok(()) } else { Err(LeaseError::Lost) }
    }

    /// Renews the lease until it is lost; run beside the work, which is dropped when this ends.
    pub(crate) async fn keep_alive(&self) -> LeaseError {
        loop {
            let renewed = self.written.lock().await.renewed_at;
            tokio::time::sleep_until(renewed + self.access.timings.renew_every()).await;
            let mut written = self.written.lock().await;
            if written.renewed_at > renewed {
                continue;
            }
            match self.write_progress(&mut written, Renewal::WhenDue, WhenDown::Fail).await {
                Ok(()) => {}
                Err(error @ (LeaseError::Lost | LeaseError::MonthFull)) => return error,
                Err(LeaseError::Port(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "renew lease");
                    drop(written);
                    tokio::time::sleep(self.access.timings.lease / 30).await;
                }
            }
        }
    }

    /// Renews the lease now: whether it still stands.
    pub(crate) async fn renew(&self) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        self.write_progress(&mut written, Renewal::Now, WhenDown::RetryUntilLeaseEnds).await
    }

    /// Reports how far the work is. Written at most once a second; true when it was.
    pub(crate) async fn advance(
        &self,
        progress: Progress,
        checkpoint: Option<ExportCheckpoint>,
    ) -> Result<bool, LeaseError> {
        let mut written = self.written.lock().await;
        written.progress = progress;
        written.checkpoint = checkpoint.map(Box::new);
        if written.at.elapsed() < WRITE_INTERVAL {
            return Ok(false);
        }
        match self.write_progress(&mut written, Renewal::WhenDue, WhenDown::Fail).await {
            Ok(()) => Ok(true),
            // Progress can wait; the lease is watched by `keep_alive`.
            Err(LeaseError::Port(error)) if error.is_transient() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a checkpoint at once: what follows relies on it.
    pub(crate) async fn save(&self, progress: Progress, checkpoint: ExportCheckpoint) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        written.progress = progress;
        written.checkpoint = Some(Box::new(checkpoint));
        self.write_progress(&mut written, Renewal::WhenDue, WhenDown::RetryUntilLeaseEnds).await
    }

    /// When [`advance`](Self::advance) writes again.
    pub(crate) async fn next_write(&self) -> Instant {
        self.written.lock().await.at + WRITE_INTERVAL
    }

    /// Progress and checkpoint, and every 20 s the renewal of the lease, are one write.
    async fn write_progress(
        &self,
        written: &mut Written,
        renewal: Renewal,
        when_down: WhenDown,
    ) -> Result<(), LeaseError> {
        let timings = &self.access.timings;
        let began = Instant::now();
        let renew_at = match renewal {
            Renewal::Now => began,
            Renewal::WhenDue => written.renewed_at + timings.renew_every(),
        };
        let (progress, checkpoint) = (written.progress, written.checkpoint.clone());
        // A try that renews may follow tries that do not, while the store is down.
        let first_renewal = Mutex::new(None);
        let advanced = |now| {
            let sent = Instant::now();
            let renews = sent >= renew_at;
            if renews {
                first_renewal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(sent);
            }
            Event::Advanced {
                token: self.token.clone(),
                renewal: renews.then(|| request(&self.token, timings, now)),
                progress,
                checkpoint: checkpoint.clone(),
            }
        };
        let ends_before = written.job.lease().map(|lease| lease.expires_at);
        self.write(written, when_down, advanced, Job::settlement).await?;
        written.at = began;
        let sent = first_renewal.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = sent.filter(|_| written.job.lease().map(|lease| lease.expires_at) != ends_before) {
            written.renewed_at = sent;
            *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = sent + timings.lease;
        }
        Ok(())
    }

    /// Writes down how many records there are to import, and reserves them in the month, once.
    pub(crate) async fn count(&self, records: u64, limit: Option<u64>) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        if written.job.is_counted() {
            return Ok(());
        }
        let counted = |_now| Event::Counted { token: self.token.clone(), records };
        self.write(&mut written, WhenDown::Fail, counted, |_| Settlement::Reserve { limit }).await?;
        written.progress = written.job.progress();
        Ok(())
    }

    pub(crate) async fn complete(&self, result: &JobResult, progress: Progress) -> Result<(), LeaseError> {
        self.end(|_now| Event::Completed { token: self.token.clone(), result: result.clone(), progress }).await
    }

    pub(crate) async fn fail(&self, reason: FailureReason) -> Result<(), LeaseError> {
        self.end(|_now| Event::Failed { token: self.token.clone(), reason }).await
    }

    /// Gives the lease back, with the latest progress and checkpoint; the job is due after `rest`.
    pub(crate) async fn release(&self, why: Release, rest: Duration) -> Result<(), LeaseError> {
        let (progress, checkpoint) = {
            let written = self.written.lock().await;
            (written.progress, written.checkpoint.clone())
        };
        self.end(|now| Event::Released {
            token: self.token.clone(),
            due_at: after(now, rest),
            why,
            progress,
            checkpoint: checkpoint.clone(),
        })
        .await
    }

    async fn end(&self, event: impl Fn(Timestamp) -> Event) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        self.write(&mut written, WhenDown::RetryUntilLeaseEnds, event, Job::settlement).await?;
        job_ended(&written.job, self.access.clock.now());
        Ok(())
    }

    /// Makes the next revision and stores it, whatever came of earlier tries of the same write.
    async fn write(
        &self,
        written: &mut Written,
        when_down: WhenDown,
        event: impl Fn(Timestamp) -> Event,
        settlement: impl Fn(&Job) -> Settlement,
    ) -> Result<(), LeaseError> {
        let JobAccess { jobs, clock, ids, .. } = &self.access;
        let mut tried: Vec<Job> = Vec::new();
        let mut races = Backoff::new(RACES, ids.as_ref());
        let mut outage = Backoff::new(UNTIL_LEASE_ENDS, ids.as_ref());
        loop {
            self.check()?;
            let now = clock.now();
            let next = match written.job.apply(event(now), now) {
                Ok(next) => next,
                // An earlier try whose answer was lost, under a renewal that came after it.
                Err(IllegalTransition { refusal: Refusal::AlreadyCounted, .. }) => return Ok(()),
                Err(illegal) => {
                    tracing::info!(error = &illegal as &dyn std::error::Error, "write under lost lease");
                    return Err(LeaseError::Lost);
                }
            };
            tried.push(next.clone());
            match jobs.update(&self.partition, &next, &settlement(&next)).await {
                Ok(()) => {
                    written.job = next;
                    return Ok(());
                }
                Err(UpdateError::MonthFull) => return Err(LeaseError::MonthFull),
                Err(UpdateError::Port(error)) if error.is_transient() && when_down == WhenDown::RetryUntilLeaseEnds => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "write under lease");
                    outage.wait().await;
                }
                Err(UpdateError::Port(error)) => return Err(LeaseError::Port(error)),
                Err(UpdateError::Conflict) => {
                    let stored = jobs.get(&self.partition, written.job.id(), now).await?.ok_or(LeaseError::Lost)?;
                    // A try of this write whose answer was lost.
                    if tried.contains(&stored) {
                        written.job = stored;
                        return Ok(());
                    }
                    if stored.lease().is_none_or(|lease| lease.token != self.token) {
                        return Err(LeaseError::Lost);
                    }
                    written.job = stored;
                    if !races.wait().await {
                        return Err(LeaseError::Lost);
                    }
                }
            }
        }
    }
}

fn request(token: &Token, timings: &Timings, now: Timestamp) -> LeaseRequest {
    LeaseRequest {
        token: token.clone(),
        expires_at: after(now, timings.lease),
        due_at: after(now, timings.lease + timings.due_grace()),
        oldest: now - jiff::SignedDuration::try_from(timings.max_age).unwrap_or_default(),
    }
}
