//! The one future that writes a job while a worker is at it: progress, checkpoints, renewals of the lease and the end.
//!
//! It is polled by the driver beside the work and dies with it, never on its own: a sandbox that was frozen must not
//! renew an old lease.

use std::time::Duration;

use futures::future::Either;
use jiff::Timestamp;
use model::{
    Event, FailureReason, IllegalTransition, Job, JobId, LeaseRequest, Partition, Refusal, Settlement, Timings, Token,
    after,
};
use ports::{Backoff, METRICS, PortError, RetryPolicy, UpdateError, job_ended, service_defect};
use tokio::sync::watch;
use tokio::time::Instant;

use super::JobDriver;
use super::lease_guard::{Ending, LeaseGuard, Stored, Wanted, Worked};
use super::tasks::either;
use crate::driver::metrics::job_deferred;

/// How often progress and checkpoints are written at most: all jobs of a tenant share one key of the table.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// How long one try of a call about the job may take: a try that hangs must not cost the lease.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Acquiring a job that meets other writes of it, or a store that is down.
const ACQUIRING: RetryPolicy = RetryPolicy::new(15, 10, 400);

/// A write under the lease, until the lease ends.
const UNTIL_LEASE_ENDS: RetryPolicy = RetryPolicy::new(1, 50, 1_000).unlimited();

/// What came of trying to acquire a job.
pub(crate) enum AcquireOutcome {
    Acquired(Box<Heartbeat>, LeaseGuard),
    /// Another worker holds a live lease.
    Busy,
    /// The job has ended before.
    Ended(Box<Job>),
    /// There is no such job.
    Absent,
    /// The job was too old or taken over too often, and has failed by this.
    Failed(Box<Job>),
}

/// How a heartbeat has ended.
#[derive(Debug)]
pub(crate) enum HeartbeatEnd {
    /// The ending is stored.
    Stored(Box<Job>),
    /// The lease is lost: another worker has it, the job was ended by somebody else, or its time is over. What was tried
    /// last may have had its effect.
    Lost { tried: Vec<Job> },
}

/// Writes a job under its lease, which it renews.
///
/// The lease is counted on this worker's own monotonic clock, from before the write that acquired or renewed it was
/// sent: no clock needs to be right for that.
pub(crate) struct Heartbeat {
    driver: JobDriver,
    token: Token,
    /// The job as last stored.
    job: Job,
    written_at: Instant,
    renewed_at: Instant,
    wanted: watch::Receiver<Wanted>,
    stored: watch::Sender<Stored>,
    /// Whether a refusal that does not pass by itself has been told.
    is_told: bool,
    /// Since when a write fails that counts requests, or gives them back.
    unsettled_since: Option<Instant>,
    /// How the job goes on whose requests cannot be counted or given back, whatever was wanted of it.
    given_back: Option<Ending>,
}

/// A write of the job that was tried, and may have had its effect.
struct Try {
    job: Job,
    wanted: Wanted,
    sent: Instant,
    renews: bool,
}

impl Heartbeat {
    /// Acquires the lease, if it can be had.
    pub(crate) async fn acquire(
        driver: &JobDriver,
        partition: &Partition,
        id: &JobId,
    ) -> Result<AcquireOutcome, PortError> {
        let JobDriver { jobs, clock, ids, timings, .. } = driver;
        let token = Token::new(ids.random());
        let began = Instant::now();
        let mut tried: Vec<Job> = Vec::new();
        let mut backoff = Backoff::new(ACQUIRING, ids.as_ref());
        loop {
            let sent = Instant::now();
            let now = clock.now();
            let error = match in_time("read job", jobs.read(partition, id)).await {
                Ok(None) => return Ok(AcquireOutcome::Absent),
                // An earlier try whose answer was lost; it may have been the first.
                Ok(Some(found)) if tried.contains(&found) && found.has_ended() => {
                    job_ended(&found, now);
                    return Ok(AcquireOutcome::Failed(Box::new(found)));
                }
                Ok(Some(found)) if found.lease().is_some_and(|lease| lease.token == token) => {
                    return Ok(Self::acquired(driver, token, found, began));
                }
                Ok(Some(found)) => {
                    let next = match found.apply(Event::Acquired(request(&token, timings, now)), now) {
                        Ok(next) => next,
                        Err(IllegalTransition { refusal: Refusal::Leased, .. }) => return Ok(AcquireOutcome::Busy),
                        Err(_ended) => return Ok(AcquireOutcome::Ended(Box::new(found))),
                    };
                    tried.push(next.clone());
                    match in_time("acquire job", jobs.update(partition, &next, &next.settlement(&found))).await {
                        Ok(()) if next.has_ended() => {
                            job_ended(&next, now);
                            return Ok(AcquireOutcome::Failed(Box::new(next)));
                        }
                        Ok(()) => return Ok(Self::acquired(driver, token, next, sent)),
                        Err(UpdateError::Port(error)) => error,
                        // Neither acquiring nor failing reserves anything: the month is never full for them.
                        Err(UpdateError::Conflict | UpdateError::MonthFull) => {
                            PortError::unavailable("acquire job", "lost every race")
                        }
                    }
                }
                Err(error) => error,
            };
            if !error.is_transient() || !backoff.wait().await {
                return Err(error);
            }
        }
    }

    /// The lease that was written with this token, not before `sent`.
    fn acquired(driver: &JobDriver, token: Token, job: Job, sent: Instant) -> AcquireOutcome {
        if job.lease().is_some_and(|lease| lease.attempt > 0) {
            let (job_id, tenant) = (job.id(), &job.partition().tenant);
            tracing::warn!(target: METRICS, %job_id, %tenant, lease_takeovers = 1);
        }
        let (driver, valid_until) = (driver.clone(), sent + driver.timings.lease);
        let (guard, wanted, stored) = LeaseGuard::new(&job, token.clone(), driver.timings, valid_until);
        let (written_at, renewed_at) = (sent, sent);
        let (is_told, unsettled_since, given_back) = (false, None, None);
        let heartbeat =
            Self { driver, token, job, written_at, renewed_at, wanted, stored, is_told, unsettled_since, given_back };
        AcquireOutcome::Acquired(Box::new(heartbeat), guard)
    }

    /// Writes what is handed over and renews the lease, until the ending is stored or the lease is lost.
    pub(crate) async fn run(mut self) -> HeartbeatEnd {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let due = self.due(&wanted);
            if Instant::now() < due {
                let mut changed = std::pin::pin!(self.wanted.changed());
                let mut sleep = std::pin::pin!(tokio::time::sleep_until(due));
                // Both may be dropped: the cell keeps what was handed over. Without a worker there is nothing to renew.
                if let Either::Left(Err(_)) = either(&mut changed, &mut sleep).await {
                    return HeartbeatEnd::Lost { tried: Vec::new() };
                }
                continue;
            }
            if let Some(ended) = self.write().await {
                return ended;
            }
        }
    }

    /// When the next write is due.
    fn due(&self, wanted: &Wanted) -> Instant {
        let stored = self.stored.borrow();
        let is_counted = wanted.count.is_none() || stored.counted.is_some();
        let renewal = self.renewed_at + self.driver.timings.renew_every();
        if self.ending(wanted).is_some()
            || wanted.awaited > stored.number
            || wanted.renewals > stored.renewals
            || !is_counted
        {
            Instant::now()
        } else if wanted.number > stored.number {
            (self.written_at + WRITE_INTERVAL).min(renewal)
        } else {
            renewal
        }
    }

    /// Writes the newest state, as often as it takes, whatever came of earlier tries.
    async fn write(&mut self) -> Option<HeartbeatEnd> {
        let ids = self.driver.ids.clone();
        let mut backoff = Backoff::new(UNTIL_LEASE_ENDS, ids.as_ref());
        let mut tried: Vec<Try> = Vec::new();
        // The last call's error, told when the lease runs out.
        let mut failed = None;
        loop {
            if Instant::now() >= self.stored.borrow().valid_until {
                if let Some(error) = &failed
                    && !self.ending(&self.wanted.borrow()).is_some_and(Ending::is_deferral)
                {
                    let (job, in_a_row) = (&self.job, self.job.deferrals() + 1);
                    job_deferred(job.job_type(), job.partition(), job.id(), in_a_row, error);
                }
                return Some(lost(tried));
            }
            let sent = Instant::now();
            let wanted = self.wanted.borrow().clone();
            let renews = wanted.renewals > self.stored.borrow().renewals
                || sent >= self.renewed_at + self.driver.timings.renew_every();
            let now = self.driver.clock.now();
            let (event, settlement) = self.event(&wanted, renews, now);
            let next = match self.job.apply(event, now) {
                Ok(next) => next,
                Err(illegal) => {
                    tracing::info!(error = &illegal as &dyn std::error::Error, "write under lost lease");
                    return Some(lost(tried));
                }
            };
            let settlement = settlement.unwrap_or_else(|| next.settlement(&self.job));
            tried.push(Try { job: next.clone(), wanted, sent, renews });
            let update = self.driver.jobs.update(next.partition(), &next, &settlement);
            match in_time("write job", update).await {
                Ok(()) => return self.found_stored(tried.pop()),
                Err(UpdateError::Port(error)) => {
                    self.write_failed(&error);
                    if settlement != Settlement::None {
                        self.give_back(&error);
                    }
                    failed = Some(error);
                }
                // An earlier try may have had its effect: the job itself tells.
                Err(refused @ (UpdateError::Conflict | UpdateError::MonthFull)) => {
                    match in_time("read job", self.driver.jobs.read(next.partition(), next.id())).await {
                        Err(error) => {
                            self.write_failed(&error);
                            failed = Some(error);
                        }
                        Ok(found) => {
                            failed = None;
                            let index = tried.iter().position(|earlier| found.as_ref() == Some(&earlier.job));
                            if let Some(index) = index {
                                return self.found_stored(Some(tried.swap_remove(index)));
                            }
                            match found {
                                // The sweeper may have moved it: then it equals no try of ours.
                                Some(found) if found.lease().is_some_and(|lease| lease.token == self.token) => {
                                    if found.is_counted() && !self.job.is_counted() {
                                        self.counted(Ok(()));
                                    } else if found == self.job && matches!(refused, UpdateError::MonthFull) {
                                        self.counted(Err(FailureReason::MonthlyQuotaExceeded));
                                        return None;
                                    }
                                    self.job = found;
                                    if settlement != Settlement::None {
                                        self.give_back(&PortError::unavailable("write job", "lost every race"));
                                    }
                                }
                                Some(_) | None => return Some(lost(tried)),
                            }
                        }
                    }
                }
            }
            backoff.wait().await;
        }
    }

    /// What is to happen to the job, and what else is written with it where that does not follow from the job.
    fn event(&self, wanted: &Wanted, renews: bool, now: Timestamp) -> (Event, Option<Settlement>) {
        let token = self.token.clone();
        let (progress, checkpoint) = (wanted.progress, wanted.checkpoint.clone());
        let ending = self.ending(wanted).cloned();
        let is_counted = self.stored.borrow().counted.is_some() || self.job.is_counted();
        // A count takes another table than a renewal, and must not keep the lease from being renewed.
        if let Some((records, limit)) = wanted.count.filter(|_| ending.is_none() && !renews && !is_counted) {
            return (Event::Counted { token, records }, Some(Settlement::Reserve { limit }));
        }
        let event = match ending {
            None => {
                let renewal = renews.then(|| request(&token, &self.driver.timings, now));
                Event::Advanced { token, renewal, progress, checkpoint }
            }
            Some(Ending::Complete(Worked { result, progress, leftovers })) => {
                Event::Completed { token, result, progress, leftovers }
            }
            Some(Ending::Fail(reason)) => Event::Failed { token, reason, progress, checkpoint },
            Some(Ending::Release { why, delay }) => {
                Event::Released { token, due_at: after(now, delay), why, progress, checkpoint }
            }
        };
        (event, None)
    }

    /// A try is stored: it confirms the state that it carried, and no later one.
    fn found_stored(&mut self, stored: Option<Try>) -> Option<HeartbeatEnd> {
        let Try { job, wanted, sent, renews } = stored?;
        let was_counted = self.job.is_counted();
        self.job = job;
        self.is_told = false;
        if self.job.lease().is_none_or(|lease| lease.token != self.token) {
            job_ended(&self.job, self.driver.clock.now());
            return Some(HeartbeatEnd::Stored(Box::new(self.job.clone())));
        }
        if !was_counted && self.job.is_counted() {
            self.counted(Ok(()));
            return None;
        }
        self.written_at = sent;
        if renews {
            self.renewed_at = sent;
        }
        let valid_until = self.renewed_at + self.driver.timings.lease;
        self.stored.send_modify(|stored| {
            stored.number = wanted.number;
            stored.valid_until = valid_until;
            if renews {
                stored.renewals = wanted.renewals;
            }
        });
        None
    }

    /// How the job goes on, if it does so without this worker.
    fn ending<'a>(&'a self, wanted: &'a Wanted) -> Option<&'a Ending> {
        self.given_back.as_ref().or(wanted.ending.as_ref())
    }

    /// Says what became of the count; of a job that is given back nobody works any more.
    fn counted(&mut self, outcome: Result<(), FailureReason>) {
        self.unsettled_since = None;
        if self.given_back.is_none() {
            self.stored.send_modify(|stored| stored.counted = Some(outcome));
        }
    }

    /// A write that needs the table of usage has failed. The lease is no reason to wait: after a while, or at once when it
    /// does not pass by itself, the job is deferred, which needs its own table alone. Nothing is lost: whoever goes on comes
    /// to the same count, or the same end.
    fn give_back(&mut self, error: &PortError) {
        let since = *self.unsettled_since.get_or_insert_with(Instant::now);
        let is_over = !error.is_transient() || since.elapsed() >= self.driver.timings.renew_every();
        if !is_over || self.given_back.is_some() {
            return;
        }
        let wanted = self.wanted.borrow();
        let has_advanced = self.job.has_advanced_to(wanted.progress, wanted.checkpoint.as_deref());
        let before = if has_advanced { 0 } else { self.job.deferrals() };
        self.given_back = Some(match &wanted.ending {
            // Told already.
            Some(ending) if ending.is_deferral() => self.driver.release(&self.job, before, error),
            // Failing would take the same write.
            Some(_) => {
                job_deferred(self.job.job_type(), self.job.partition(), self.job.id(), before + 1, error);
                self.driver.release(&self.job, before, error)
            }
            None => self.driver.deferral(&self.job, before, error),
        });
    }

    /// Tells of a call that failed: of one that does not pass by itself once, as a metric too.
    fn write_failed(&mut self, error: &PortError) {
        tracing::warn!(job_id = %self.job.id(), error = error as &dyn std::error::Error, "write under lease");
        if !error.is_transient() && !std::mem::replace(&mut self.is_told, true) {
            service_defect(self.job.job_type(), Some((self.job.partition(), self.job.id())), error);
        }
    }
}

fn lost(tried: Vec<Try>) -> HeartbeatEnd {
    HeartbeatEnd::Lost { tried: tried.into_iter().map(|tried| tried.job).collect() }
}

/// A call with a time of its own: whether one that takes longer has its effect is not known.
pub(super) async fn in_time<T, E: From<PortError>>(
    operation: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(PortError::unavailable(operation, "timed out").into()),
    }
}

fn request(token: &Token, timings: &Timings, now: Timestamp) -> LeaseRequest {
    LeaseRequest {
        token: token.clone(),
        expires_at: after(now, timings.lease),
        due_at: after(now, timings.lease + timings.due_grace()),
        oldest: now - timings.max_age,
    }
}

#[cfg(test)]
mod tests;
