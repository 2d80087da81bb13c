//! Writing records: first what is about to change, then the records, at the pace that the store takes.

use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{FuturesUnordered, StreamExt};
use model::{ChangeGroup, MAX_STAMP_AGE};
use ports::{Backoff, Clock, IdSource, MAX_BATCH, METRICS, PortError, RecordWriter, RetryPolicy};
use records::{RecordId, ResourceType, StoredLine};
use tokio::time::Instant;

use super::rate_limiter::RateLimiter;
use crate::driver::{LeaseGuard, WorkError};

/// Tries without any record getting through, each under a stamp of its own, before the job is deferred.
const TRIES: RetryPolicy = RetryPolicy::new(10, 50, 5_000);

/// Writes the groups of one import.
pub(super) struct GroupWriter {
    pub(super) records: Arc<dyn RecordWriter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) guard: LeaseGuard,
    pub(super) resource_type: ResourceType,
    pub(super) limiter: Mutex<RateLimiter>,
}

impl GroupWriter {
    /// Writes a group, as often as it takes. What is left when its stamp is too old forms a new group: no try starts
    /// under an old stamp, so that soon after a stamp every write with it has landed.
    pub(super) async fn write(&self, mut lines: Vec<StoredLine>) -> Result<(), WorkError> {
        let (clock, ids) = (&self.clock, self.ids.as_ref());
        // Of all stamps of this group: a store that takes nothing under ten of them is down.
        let mut backoff = Backoff::new(TRIES, ids);
        while !lines.is_empty() {
            let slot = self.limiter().slot(lines.len(), Instant::now());
            tokio::time::sleep_until(slot).await;
            let drawn = Instant::now();
            let group = ChangeGroup::draw(self.resource_type, clock.now(), ids.random());
            let is_fresh = || drawn.elapsed() < MAX_STAMP_AGE;
            if !self.log(&group, &lines, is_fresh, &mut backoff).await? {
                continue;
            }
            let before = lines.len();
            let mut batches = FuturesUnordered::new();
            while !lines.is_empty() {
                let batch: Vec<_> = lines.drain(..lines.len().min(MAX_BATCH)).collect();
                batches.push(self.write_batch(group, batch, is_fresh));
            }
            while let Some(left) = batches.next().await {
                lines.extend(left?);
            }
            if lines.len() < before {
                backoff.reset();
            } else if !backoff.wait().await {
                return Err(PortError::unavailable("write records", "no record was taken").into());
            }
        }
        Ok(())
    }

    /// Logs the group; false when its stamp has become too old meanwhile.
    async fn log(
        &self,
        group: &ChangeGroup,
        lines: &[StoredLine],
        is_fresh: impl Fn() -> bool,
        backoff: &mut Backoff<'_>,
    ) -> Result<bool, WorkError> {
        let changed: Vec<RecordId> = lines.iter().map(|line| line.id().clone()).collect();
        loop {
            self.guard.may_call().await;
            if !is_fresh() {
                return Ok(false);
            }
            match self.records.log_changes(self.guard.job().partition(), group, &changed).await {
                Ok(()) => return Ok(true),
                Err(error) if error.is_transient() => {
                    if matches!(error, PortError::Throttled { .. }) {
                        self.limiter().ended(0, 1, Instant::now());
                    }
                    if !backoff.wait().await {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a batch, as often as its stamp allows; returns what is left.
    async fn write_batch(
        &self,
        group: ChangeGroup,
        mut lines: Vec<StoredLine>,
        is_fresh: impl Fn() -> bool,
    ) -> Result<Vec<StoredLine>, WorkError> {
        // The stamp ends it.
        let mut backoff = Backoff::new(TRIES.unlimited(), self.ids.as_ref());
        let mut is_first = true;
        loop {
            if !std::mem::take(&mut is_first) {
                let slot = self.limiter().slot(lines.len(), Instant::now());
                tokio::time::sleep_until(slot).await;
            }
            self.guard.may_call().await;
            if !is_fresh() {
                return Ok(lines);
            }
            let sent = lines.len();
            match self.records.write_batch(self.guard.job().partition(), &group, &mut lines).await {
                Ok(outcome) => {
                    let refused = outcome.unwritten.len();
                    self.limiter().ended(sent - refused, refused, Instant::now());
                    if refused == 0 {
                        return Ok(Vec::new());
                    }
                    tracing::info!(target: METRICS, job_type = "import", throttled_writes = refused);
                    lines.retain(|line| outcome.unwritten.contains(line.id()));
                    if refused < sent {
                        backoff.reset();
                    }
                }
                Err(PortError::Throttled { .. }) => {
                    tracing::info!(target: METRICS, job_type = "import", throttled_writes = sent);
                    self.limiter().ended(0, sent, Instant::now());
                }
                // A broken connection says nothing of the store's pace.
                Err(PortError::Unavailable { .. }) => {}
                Err(error @ (PortError::Refused { .. } | PortError::Defect { .. })) => return Err(error.into()),
            }
            backoff.wait().await;
        }
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, RateLimiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
