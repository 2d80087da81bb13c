//! Accepting a job: limits, one transaction, a message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    Fingerprint, IDEMPOTENCY_WINDOW, IdempotencyEntry, IdempotencyKey, Job, JobId, JobSpec, Label, Month, NewJob,
    Partition, Principal, RateLimit, Reservation, Timings, UploadId, after,
};
use ports::{
    AcceptError, Acceptance, AcceptanceStore, Backoff, Cancellation, Clock, IdSource, IdempotencyWrite, JobQueue,
    JobStore, PortError, RetryPolicy, UsageStore, retry, send,
};

mod export;
mod import;

pub use export::{ExportRequest, ExportStarter};
pub use import::{ImportData, ImportRequest, ImportStarter};

/// A lost race is run again: 50 calls at once took up to 12 tries on an idle machine, and more on a busy one.
const RACES: RetryPolicy = RetryPolicy::new(30, 10, 600);

/// Looking whether an acceptance had its effect whose answer was lost.
const UNKNOWN_OUTCOME: RetryPolicy = RetryPolicy::new(3, 50, 400);

/// A job that was accepted, now or by an earlier call of the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub job_id: JobId,
    /// Whether an earlier call started it.
    pub replayed: bool,
    /// The bulk limit as it stands after this call.
    pub bulk: RateLimit,
    /// What this call took of the month, in requests.
    pub requests: u64,
}

/// Why no job was accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptJobError {
    #[error("idempotency key was used for another call")]
    IdempotencyConflict,
    /// The caller has no such upload: absent, foreign, or forgotten.
    #[error("upload is unknown")]
    UploadUnknown,
    /// Nothing has imported the upload, and nothing can any more.
    #[error("upload has expired")]
    UploadExpired,
    /// This job of the caller's has imported the upload.
    #[error("upload was used")]
    UploadUsed(JobId),
    /// Nothing has been uploaded yet, or no bytes.
    #[error("upload is empty")]
    UploadEmpty,
    /// The upload has more than [`model::MAX_UPLOAD_BYTES`] bytes.
    #[error("upload is too large")]
    UploadTooLarge,
    /// The month's pool has no room for the job.
    #[error("monthly quota exceeded")]
    MonthFull,
    #[error("bulk operations of the hour are used up")]
    HourFull(RateLimit),
    /// Too many calls raced for the same items; nothing was done.
    #[error("lost every race for the acceptance")]
    Contention,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What starters of both kinds work with.
pub struct JobAcceptor {
    pub acceptances: Arc<dyn AcceptanceStore>,
    pub jobs: Arc<dyn JobStore>,
    pub usage: Arc<dyn UsageStore>,
    pub queue: Arc<dyn JobQueue>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub timings: Timings,
    /// For how long jobs and their files are kept.
    pub retention: Duration,
}

/// The client's `Idempotency-Key` and what its call boils down to.
pub(crate) type Idempotency = Option<(IdempotencyKey, Fingerprint)>;

/// What one kind of job brings to its acceptance.
pub(crate) struct Draft {
    pub(crate) spec: JobSpec,
    pub(crate) label: Option<Label>,
    /// Records in all, where known.
    pub(crate) total: u64,
    /// What the job takes of the month when it is accepted.
    pub(crate) requests: u64,
    /// The upload that it uses.
    pub(crate) upload: Option<UploadId>,
}

/// What one kind of job does for its acceptance.
#[async_trait]
pub(crate) trait Drafter: Sync {
    /// Looks at what the job needs. May be run again, while races are lost.
    async fn draft(&self, job_id: &JobId, month_limit: Option<u64>) -> Result<Draft, AcceptJobError>;

    /// Stores what the job will read; run once, before the acceptance.
    async fn store_source(&self, job_id: &JobId) -> Result<(), PortError>;
}

impl JobAcceptor {
    /// Accepts a job, or finds the one that the same idempotency key has started.
    ///
    /// After `Ok` the job ends as completed or failed, whatever crashes: the job's item is written, and the sweeper
    /// sends the message when this cannot.
    pub(crate) async fn accept(
        &self,
        who: &Principal,
        idempotency: &Idempotency,
        drafter: &dyn Drafter,
    ) -> Result<Accepted, AcceptJobError> {
        let job_id = JobId::new(self.clock.now(), self.ids.random());
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        let mut source_is_stored = false;
        loop {
            let month_limit = who.tenant.refusing_limit(who.partition.environment);
            let checked = match drafter.draft(&job_id, month_limit).await {
                Ok(draft) => self.check(who, idempotency, &job_id, draft).await,
                Err(error) => Err(error),
            };
            // Read after the limits: a replay is one, also when the first call has just used them up.
            let gone = match self.replay(who, idempotency).await? {
                Replay::Of(accepted) => return Ok(accepted),
                Replay::None => None,
                Replay::Gone(job_id) => Some(job_id),
            };
            let (mut acceptance, bulk) = checked?;
            if let Some(idempotency) = &mut acceptance.idempotency {
                idempotency.gone = gone;
            }
            if !source_is_stored {
                drafter.store_source(&job_id).await?;
                source_is_stored = true;
            }
            match self.write(&who.partition, &acceptance).await? {
                Ok(()) => {
                    let requests = acceptance.job.reservation().requests;
                    // Sent or not, it is due within minutes.
                    let _sent =
                        send(self.queue.as_ref(), self.jobs.as_ref(), self.clock.as_ref(), &acceptance.job).await;
                    return Ok(Accepted { job_id, replayed: false, bulk, requests });
                }
                // The idempotency entry wins over the other conditions, also when another transaction is at work on it:
                // the next try finds it first.
                Err(cancelled) if cancelled.idempotency_key_used || cancelled.contention => {}
                Err(cancelled) if cancelled.month_full => return Err(AcceptJobError::MonthFull),
                Err(_lost_race) => {}
            }
            if !races.wait().await {
                return Err(AcceptJobError::Contention);
            }
        }
    }

    /// The first call's answer, when the idempotency key has been used. An entry whose job is gone counts as absent.
    async fn replay(&self, who: &Principal, idempotency: &Idempotency) -> Result<Replay, AcceptJobError> {
        let Some((key, fingerprint)) = idempotency else { return Ok(Replay::None) };
        let now = self.clock.now();
        let Some(entry) = self.usage.idempotency(&who.partition, key, now).await? else { return Ok(Replay::None) };
        if self.jobs.get(&who.partition, &entry.job_id, now).await?.is_none() {
            return Ok(Replay::Gone(entry.job_id));
        }
        if entry.fingerprint != *fingerprint {
            return Err(AcceptJobError::IdempotencyConflict);
        }
        let window = self.usage.window(&who.partition.tenant).await?;
        let bulk = window.rate_limit(now, who.tenant.bulk_operations_per_hour);
        Ok(Replay::Of(Accepted { job_id: entry.job_id, replayed: true, bulk, requests: 0 }))
    }

    /// Reads the limits, and puts the transaction together; with the bulk limit as it stands after it.
    async fn check(
        &self,
        who: &Principal,
        idempotency: &Idempotency,
        job_id: &JobId,
        draft: Draft,
    ) -> Result<(Acceptance, RateLimit), AcceptJobError> {
        let now = self.clock.now();
        let (month, pool) = (Month::of(now), who.tenant.plan.pool(who.partition.environment));
        let month_limit = who.tenant.refusing_limit(who.partition.environment);
        let used = self.usage.month(&who.partition.tenant, &month).await?.of(pool);
        // An upload's records are counted later, and are one at least.
        let least = draft.requests.max(1);
        if month_limit.is_some_and(|limit| used.saturating_add(least) > limit) {
            return Err(AcceptJobError::MonthFull);
        }
        let hourly = who.tenant.bulk_operations_per_hour;
        let window = self.usage.window(&who.partition.tenant).await?;
        let window =
            window.admit(now, hourly).ok_or_else(|| AcceptJobError::HourFull(window.rate_limit(now, hourly)))?;
        let bulk = window.rate_limit(now, hourly);
        let job = Job::new(NewJob {
            partition: who.partition.clone(),
            id: job_id.clone(),
            spec: draft.spec,
            label: draft.label,
            total: draft.total,
            counted: draft.upload.is_none(),
            reservation: Reservation { pool, month, requests: draft.requests },
            created_at: now,
            expires_at: after(now, self.retention),
            due_at: after(now, self.timings.redrive),
        });
        let idempotency = idempotency.clone().map(|(key, fingerprint)| {
            let (job_id, expires_at) = (job_id.clone(), after(now, IDEMPOTENCY_WINDOW));
            IdempotencyWrite { key, entry: IdempotencyEntry { fingerprint, job_id, expires_at }, gone: None }
        });
        let request_token = format!("{:032x}", self.ids.random());
        let acceptance = Acceptance { job, window, month_limit, upload: draft.upload, idempotency, request_token };
        Ok((acceptance, bulk))
    }

    /// Runs the transaction. The outer error is a dependency's, the inner one says which conditions did not hold.
    async fn write(
        &self,
        partition: &Partition,
        acceptance: &Acceptance,
    ) -> Result<Result<(), Cancellation>, PortError> {
        match self.acceptances.accept(partition, acceptance).await {
            // Job ids are random: one that exists is this call's own, of a try whose answer was lost.
            Ok(()) | Err(AcceptError::Cancelled(Cancellation { job_exists: true, .. })) => Ok(Ok(())),
            Err(AcceptError::Cancelled(cancelled)) => Ok(Err(cancelled)),
            // Whether it had its effect is not known: the job tells.
            Err(AcceptError::Port(error)) => {
                let look = || self.jobs.read(partition, acceptance.job.id());
                match retry(UNKNOWN_OUTCOME, self.ids.as_ref(), PortError::is_transient, look).await {
                    Ok(Some(_)) => Ok(Ok(())),
                    Ok(None) | Err(_) => Err(error),
                }
            }
        }
    }
}

/// What an idempotency key says.
enum Replay {
    None,
    Of(Accepted),
    /// The entry's job does not exist any more.
    Gone(JobId),
}
