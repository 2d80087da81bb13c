//! Holding work: the lease, its renewal, and every write under it, in one place for jobs and segments.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::ids::{Partition, Token};
use crate::job::IllegalTransition;
use crate::lease::{Claim, Lease};
use crate::message::Target;
use crate::metrics::METRICS;
use crate::pace::{Pace, after};
use crate::ports::{Change, Clock, IdSource, JobStore, PortError, UpdateError};
use crate::retry::pause;

mod job;
mod segment;

#[cfg(any(test, feature = "testing"))]
pub(crate) use job::settlement;

/// How often a write is tried when others write to the same item at the same time.
const MAX_RACES: u32 = 10;

/// What one worker at a time does, under a lease.
#[async_trait]
pub(crate) trait Leased: Clone + PartialEq + Send + Sync + 'static {
    /// How far the work is, written down with a renewal.
    type Note: Clone + Send + Sync;

    fn lease(&self) -> Option<&Lease>;
    fn is_held_by(&self, token: &Token) -> bool {
        self.lease().is_some_and(|lease| lease.token == *token)
    }
    fn note(&self) -> Self::Note;
    fn taken(&self, claim: Claim, now: Timestamp) -> Result<Self, IllegalTransition>;
    fn renewed(&self, claim: Claim, note: Self::Note, now: Timestamp) -> Result<Self, IllegalTransition>;
    /// Storing this revision, with what it means for the month.
    fn change(&self) -> Change;
    /// Tells of an end that was just written, if this is one.
    fn ended(&self, now: Timestamp);
    async fn load(
        jobs: &dyn JobStore,
        partition: &Partition,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Self>, PortError>;
}

/// What came of looking at some work.
pub(crate) enum Take<T> {
    /// It is ours for now.
    Held(Box<T>),
    /// It is not for us: why.
    Refused(IllegalTransition),
    /// There is no such work.
    Absent,
}

/// Why a write under the lease had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HoldError {
    /// The lease is lost, or about to end: whoever holds it now goes on.
    #[error("lease was lost")]
    Lost,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What a worker needs for holding work.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) pace: Pace,
}

/// Work that this worker holds the lease of.
///
/// The worker counts the lease on its own monotonic clock, from before the write that took or renewed
/// it was sent, and starts no call in the lease's last part: no clock needs to be right for that.
pub(crate) struct Hold<T: Leased> {
    holder: Holder,
    partition: Partition,
    target: Target,
    token: Token,
    /// The work as last written, and when; locked across a write, so that writes go one by one.
    written: tokio::sync::Mutex<Written<T>>,
    valid_until: Mutex<Instant>,
}

struct Written<T: Leased> {
    current: T,
    at: Instant,
    note: T::Note,
}

/// Whether a write is tried again when a dependency is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// No: it can be done later.
    None,
    /// Until the lease runs out.
    UntilLeaseEnds,
}

impl<T: Leased> Hold<T> {
    /// Takes the lease, if it can be had.
    pub(crate) async fn take(holder: Holder, partition: &Partition, target: &Target) -> Result<Take<Self>, PortError> {
        let Holder { jobs, clock, ids, pace } = &holder;
        let token = Token::new(ids.random());
        let began = Instant::now();
        for attempt in 0..MAX_RACES {
            if attempt > 0 {
                pause(ids.as_ref(), attempt, Duration::from_millis(10), Duration::from_millis(200)).await;
            }
            let sent = Instant::now();
            let now = clock.now();
            let Some(found) = T::load(jobs.as_ref(), partition, target, now).await? else { return Ok(Take::Absent) };
            let (taken, sent) = match found.taken(claim(&token, pace, now), now) {
                // Our own take whose answer was lost; it may have been the first.
                Err(IllegalTransition::Leased) if found.is_held_by(&token) => (found, began),
                Err(refusal) => return Ok(Take::Refused(refusal)),
                Ok(taken) => match jobs.update(partition, &taken.change()).await {
                    Ok(()) => (taken, sent),
                    // Neither a take nor a failure reserves anything: the month is never full for them.
                    Err(
                        UpdateError::Conflict
                        | UpdateError::MonthFull
                        | UpdateError::Port(PortError::Unavailable { .. }),
                    ) => continue,
                    Err(UpdateError::Port(error)) => return Err(error),
                },
            };
            let Some(lease) = taken.lease() else {
                taken.ended(now);
                return Ok(Take::Refused(IllegalTransition::Exhausted));
            };
            if lease.attempt > 0 {
                tracing::warn!(target: METRICS, job_id = %target.job_id, segment = target.segment,
                    tenant = %partition.tenant, lease_takeovers = 1);
            }
            return Ok(Take::Held(Box::new(Self::new(holder, partition, target, token, taken, sent))));
        }
        Ok(Take::Refused(IllegalTransition::Leased))
    }

    /// A hold on work whose lease was written with this token, not before `sent`.
    fn new(holder: Holder, partition: &Partition, target: &Target, token: Token, current: T, sent: Instant) -> Self {
        let note = current.note();
        Self {
            valid_until: Mutex::new(sent + holder.pace.lease),
            written: tokio::sync::Mutex::new(Written { current, at: sent, note }),
            partition: partition.clone(),
            target: target.clone(),
            token,
            holder,
        }
    }

    /// The work as last written.
    pub(crate) async fn current(&self) -> T {
        self.written.lock().await.current.clone()
    }

    /// What is held.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The lease's token.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether a call may still be started. To be asked before every call that the lease does not fence.
    pub(crate) fn check(&self) -> Result<(), HoldError> {
        let valid_until = *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() + self.holder.pace.lease_margin() < valid_until { Ok(()) } else { Err(HoldError::Lost) }
    }

    /// Renews the lease until it is lost; run beside the work, which is dropped when this ends.
    pub(crate) async fn keep_alive(&self) -> HoldError {
        loop {
            let renewed = self.written.lock().await.at;
            tokio::time::sleep_until(renewed + self.holder.pace.renew_every()).await;
            let mut written = self.written.lock().await;
            if written.at > renewed {
                continue;
            }
            match self.renew(&mut written, Patience::None).await {
                Ok(()) => {}
                Err(error @ (HoldError::Lost | HoldError::MonthFull)) => return error,
                Err(HoldError::Port(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "renew lease");
                    drop(written);
                    tokio::time::sleep(self.holder.pace.lease / 30).await;
                }
            }
        }
    }

    async fn renew(&self, written: &mut Written<T>, patience: Patience) -> Result<(), HoldError> {
        let sent = Instant::now();
        let note = written.note.clone();
        let renewed = |current: &T, now| current.renewed(claim(&self.token, &self.holder.pace, now), note.clone(), now);
        self.write(written, patience, renewed, T::change).await?;
        written.at = sent;
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = sent + self.holder.pace.lease;
        Ok(())
    }

    /// Ends the hold with what `make` makes of the work.
    async fn end(
        &self,
        make: impl Fn(&T, Timestamp) -> Result<T, IllegalTransition>,
        change: impl Fn(&T) -> Change,
    ) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        self.write(&mut written, Patience::UntilLeaseEnds, make, change).await?;
        written.current.ended(self.holder.clock.now());
        Ok(())
    }

    /// Makes the next revision and stores it, whatever came of earlier tries of the same write.
    async fn write(
        &self,
        written: &mut Written<T>,
        patience: Patience,
        make: impl Fn(&T, Timestamp) -> Result<T, IllegalTransition>,
        change: impl Fn(&T) -> Change,
    ) -> Result<(), HoldError> {
        let Holder { jobs, clock, ids, .. } = &self.holder;
        let mut tried: Vec<T> = Vec::new();
        let mut races = 0;
        loop {
            self.check()?;
            let now = clock.now();
            let next = match make(&written.current, now) {
                Ok(next) => next,
                // An earlier try whose answer was lost, under a renewal that came after it.
                Err(IllegalTransition::Counted) => return Ok(()),
                Err(illegal) => {
                    tracing::info!(error = &illegal as &dyn std::error::Error, "write under lost lease");
                    return Err(HoldError::Lost);
                }
            };
            tried.push(next.clone());
            match jobs.update(&self.partition, &change(&next)).await {
                Ok(()) => {
                    written.current = next;
                    return Ok(());
                }
                Err(UpdateError::MonthFull) => return Err(HoldError::MonthFull),
                Err(UpdateError::Port(error @ PortError::Unavailable { .. }))
                    if patience == Patience::UntilLeaseEnds =>
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "write under lease");
                    let tries = u32::try_from(tried.len()).unwrap_or(u32::MAX);
                    pause(ids.as_ref(), tries, Duration::from_millis(100), Duration::from_secs(2)).await;
                }
                Err(UpdateError::Port(error)) => return Err(HoldError::Port(error)),
                Err(UpdateError::Conflict) => {
                    races += 1;
                    let stored = T::load(jobs.as_ref(), &self.partition, &self.target, now).await;
                    let stored = stored?.ok_or(HoldError::Lost)?;
                    // A try of this write whose answer was lost.
                    if tried.contains(&stored) {
                        written.current = stored;
                        return Ok(());
                    }
                    if !stored.is_held_by(&self.token) || races > MAX_RACES {
                        return Err(HoldError::Lost);
                    }
                    written.current = stored;
                    pause(ids.as_ref(), races, Duration::from_millis(10), Duration::from_millis(200)).await;
                }
            }
        }
    }
}

fn claim(token: &Token, pace: &Pace, now: Timestamp) -> Claim {
    Claim { token: token.clone(), expires_at: after(now, pace.lease), due_at: due(pace, now) }
}

fn due(pace: &Pace, now: Timestamp) -> Timestamp {
    after(now, pace.lease + pace.due_grace())
}
