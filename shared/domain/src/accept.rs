//! Accepting a job: limits, one transaction, a message.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use records::ResourceType;

use crate::idempotency::{Fingerprint, IDEMPOTENCY_WINDOW, IdempotencyEntry, IdempotencyKey};
use crate::ids::{JobId, UploadId};
use crate::job::{Event, ImportSource, Job, JobSpec, JobType, NewJob, Reservation};
use crate::keys::Principal;
use crate::object_key::ObjectKey;
use crate::pace::{Pace, after};
use crate::plan::Month;
use crate::ports::{
    AcceptError, Acceptance, Cancellation, Change, Clock, IdSource, JobQueue, JobStore, ObjectHead, ObjectStore,
    PortError, UsageStore,
};
use crate::retry::pause;
use crate::upload::MAX_UPLOAD;
use crate::window::RateLimit;

/// How often a lost race is run again: 50 starts at once took up to 12 tries.
const MAX_TRIES: u32 = 20;

/// A valid call for a job.
#[derive(Debug, Clone)]
pub struct StartJob {
    /// What is asked for.
    pub work: Work,
    /// The client's `Idempotency-Key` and what the call boils down to.
    pub idempotency: Option<(IdempotencyKey, Fingerprint)>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Work {
    /// An import of NDJSON that came with the call.
    Import {
        /// The type of every record.
        resource_type: ResourceType,
        /// The NDJSON.
        data: Bytes,
        /// How many lines it has.
        lines: u64,
    },
    /// An import of NDJSON that was uploaded before.
    ImportUpload {
        /// The type of every record.
        resource_type: ResourceType,
        /// The upload.
        upload: UploadId,
    },
    /// An export.
    Export {
        /// The types asked for, each once.
        resource_types: Vec<ResourceType>,
        /// Only what was created or updated at this moment or later.
        since: Option<Timestamp>,
    },
}

impl Work {
    /// Import or export.
    #[must_use]
    pub fn job_type(&self) -> JobType {
        match self {
            Self::Import { .. } | Self::ImportUpload { .. } => JobType::Import,
            Self::Export { .. } => JobType::Export,
        }
    }

    /// The types it is about.
    #[must_use]
    pub fn resource_types(&self) -> &[ResourceType] {
        match self {
            Self::Import { resource_type, .. } | Self::ImportUpload { resource_type, .. } => {
                slice::from_ref(resource_type)
            }
            Self::Export { resource_types, .. } => resource_types,
        }
    }

    /// How many records there are, where that is known.
    #[must_use]
    pub fn records(&self) -> Option<u64> {
        match self {
            Self::Import { lines, .. } => Some(*lines),
            Self::ImportUpload { .. } | Self::Export { .. } => None,
        }
    }

    /// What the job counts in the month when it is accepted: an import its records, an export one; the
    /// records of an upload are counted later.
    fn requests(&self) -> u64 {
        match self {
            Self::Import { lines, .. } => *lines,
            Self::ImportUpload { .. } => 0,
            Self::Export { .. } => 1,
        }
    }
}

/// A job that was accepted, now or by an earlier call of the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The job.
    pub job_id: JobId,
    /// Whether an earlier call started it.
    pub replayed: bool,
    /// The bulk limit as it stands after this call.
    pub bulk: RateLimit,
    /// What this call took of the month.
    pub requests: u64,
}

/// Why no job was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The idempotency key was used with another body.
    #[error("idempotency key was used for another call")]
    IdempotencyConflict,
    /// The upload is not there for this caller: absent, foreign, used or expired.
    #[error("upload cannot be used")]
    UploadUnusable,
    /// Nothing has been uploaded yet, or nothing but no bytes.
    #[error("upload is empty")]
    UploadEmpty,
    /// The upload has more than [`MAX_UPLOAD`] bytes.
    #[error("upload is too large")]
    UploadTooLarge,
    /// The month's pool has no room for the job.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// All bulk operations of the hour are used up.
    #[error("bulk operations of the hour are used up")]
    HourFull(RateLimit),
    /// Too many calls raced for the same items; nothing was done.
    #[error("lost every race for the acceptance")]
    Contention,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Starts jobs.
pub struct Starter {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// What limits them.
    pub usage: Arc<dyn UsageStore>,
    /// Where the NDJSON of imports is put.
    pub objects: Arc<dyn ObjectStore>,
    /// What carries the message.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
    /// Times.
    pub pace: Pace,
    /// For how long jobs and their files are kept.
    pub retention: Duration,
}

impl Starter {
    /// Accepts a job, or finds the one that the same idempotency key has started.
    ///
    /// After `Ok` the job ends as completed or failed, whatever crashes: the job's item is written, and a
    /// message that cannot be sent is made good by the sweeper.
    pub async fn start(&self, who: &Principal, call: StartJob) -> Result<Started, StartError> {
        let job_id = JobId::new(self.clock.now(), self.ids.random());
        let mut source_is_stored = false;
        for attempt in 0..MAX_TRIES {
            if attempt > 0 {
                pause(self.ids.as_ref(), attempt, Duration::from_millis(10), Duration::from_millis(400)).await;
            }
            let prepared = self.prepare(who, &call, &job_id).await;
            // Read behind the limits: a replay is one, also when the first call has just used them up.
            if let Some(replay) = self.replay(who, &call).await? {
                return Ok(replay);
            }
            let (acceptance, bulk) = prepared?;
            if !source_is_stored {
                self.store_source(who, &call.work, &job_id).await?;
                source_is_stored = true;
            }
            match self.accept(who, &acceptance).await? {
                Ok(()) => {
                    self.send(acceptance.job).await;
                    return Ok(Started { job_id, replayed: false, bulk, requests: call.work.requests() });
                }
                // The idempotency entry wins over the other conditions: the next try finds it first.
                Err(cancelled) if cancelled.idempotency_key_used => {}
                Err(cancelled) if cancelled.upload_unusable => return Err(StartError::UploadUnusable),
                Err(cancelled) if cancelled.month_full => return Err(StartError::MonthFull),
                Err(_lost_race) => {}
            }
        }
        Err(StartError::Contention)
    }

    /// The first call's answer, when the idempotency key has been used.
    async fn replay(&self, who: &Principal, call: &StartJob) -> Result<Option<Started>, StartError> {
        let Some((key, fingerprint)) = &call.idempotency else { return Ok(None) };
        let now = self.clock.now();
        let Some(entry) = self.usage.idempotency(&who.partition, key, now).await? else { return Ok(None) };
        if entry.fingerprint != *fingerprint {
            return Err(StartError::IdempotencyConflict);
        }
        let window = self.usage.window(&who.partition.tenant).await?;
        let bulk = window.rate_limit(now, who.tenant.bulk_operations_per_hour);
        Ok(Some(Started { job_id: entry.job_id, replayed: true, bulk, requests: 0 }))
    }

    /// What has been uploaded, for an import of an upload.
    async fn check_upload(&self, who: &Principal, work: &Work) -> Result<Option<ObjectHead>, StartError> {
        let Work::ImportUpload { upload, .. } = work else { return Ok(None) };
        let known = self.usage.upload(&who.partition, upload, self.clock.now()).await?;
        if known.is_none_or(|known| known.used) {
            return Err(StartError::UploadUnusable);
        }
        let head = self.objects.head(&who.partition, &ObjectKey::upload(&who.partition, upload)).await?;
        match head {
            None | Some(ObjectHead { size: 0, .. }) => Err(StartError::UploadEmpty),
            Some(head) if head.size > MAX_UPLOAD => Err(StartError::UploadTooLarge),
            Some(head) => Ok(Some(head)),
        }
    }

    /// Looks at the upload, reads the limits, and puts the transaction together.
    async fn prepare(
        &self,
        who: &Principal,
        call: &StartJob,
        job_id: &JobId,
    ) -> Result<(Acceptance, RateLimit), StartError> {
        let uploaded = self.check_upload(who, &call.work).await?;
        let now = self.clock.now();
        let month = Month::of(now);
        let pool = who.tenant.plan.pool(who.partition.environment);
        let month_limit = who.tenant.refusing_limit(who.partition.environment);
        let requests = call.work.requests();
        let used = self.usage.month(&who.partition.tenant, &month).await?.of(pool);
        if month_limit.is_some_and(|limit| used.saturating_add(requests) > limit) {
            return Err(StartError::MonthFull);
        }
        let hourly = who.tenant.bulk_operations_per_hour;
        let window = self.usage.window(&who.partition.tenant).await?;
        let window = window.admit(now, hourly).ok_or_else(|| StartError::HourFull(window.rate_limit(now, hourly)))?;
        let bulk = window.rate_limit(now, hourly);
        let (spec, total) = match &call.work {
            Work::Import { resource_type, lines, .. } => {
                let source = ImportSource::Inline { key: ObjectKey::import(&who.partition, job_id) };
                (JobSpec::Import { resource_type: *resource_type, source }, *lines)
            }
            Work::ImportUpload { resource_type, upload } => {
                let key = ObjectKey::upload(&who.partition, upload);
                let etag = uploaded.map(|head| head.etag).unwrap_or_default();
                let source = ImportSource::Upload { key, etag, month_limit };
                (JobSpec::Import { resource_type: *resource_type, source }, 0)
            }
            Work::Export { resource_types, since } => {
                (JobSpec::Export { resource_types: resource_types.clone(), since: *since }, 0)
            }
        };
        let upload = match &call.work {
            Work::ImportUpload { upload, .. } => Some(upload.clone()),
            Work::Import { .. } | Work::Export { .. } => None,
        };
        let job = Job::new(NewJob {
            partition: who.partition.clone(),
            id: job_id.clone(),
            spec,
            total,
            counted: upload.is_none(),
            reservation: Reservation { pool, month, requests },
            created_at: now,
            expires_at: after(now, self.retention),
            due_at: after(now, self.pace.resend),
        });
        let idempotency = call.idempotency.clone().map(|(key, fingerprint)| {
            let expires_at = after(now, IDEMPOTENCY_WINDOW);
            (key, IdempotencyEntry { fingerprint, job_id: job_id.clone(), expires_at })
        });
        let request_token = format!("{:032x}", self.ids.random());
        Ok((Acceptance { job, window, month_limit, upload, idempotency, request_token }, bulk))
    }

    /// Puts the NDJSON of an import where the processor finds it. What a refused call leaves there goes
    /// with the bucket's lifecycle.
    async fn store_source(&self, who: &Principal, work: &Work, job_id: &JobId) -> Result<(), PortError> {
        match work {
            Work::Import { data, .. } => {
                let key = ObjectKey::import(&who.partition, job_id);
                self.objects.put(&who.partition, &key, data.clone()).await
            }
            Work::ImportUpload { .. } | Work::Export { .. } => Ok(()),
        }
    }

    /// Runs the transaction until its outcome is known. The outer error is a dependency's, the inner one
    /// says which conditions did not hold.
    async fn accept(&self, who: &Principal, acceptance: &Acceptance) -> Result<Result<(), Cancellation>, PortError> {
        let mut unknown = None;
        for attempt in 0..3 {
            if attempt > 0 {
                pause(self.ids.as_ref(), attempt, Duration::from_millis(50), Duration::from_millis(400)).await;
            }
            match self.jobs.accept(&who.partition, acceptance).await {
                // Job ids are random: one that is there is this call's own, of a try whose answer was lost.
                Ok(()) | Err(AcceptError::Cancelled(Cancellation { job_exists: true, .. })) => return Ok(Ok(())),
                Err(AcceptError::Cancelled(cancelled)) => return Ok(Err(cancelled)),
                Err(AcceptError::Port(error @ PortError::Unavailable { .. })) => unknown = Some(error),
                Err(AcceptError::Port(error @ PortError::Defect { .. })) => return Err(error),
            }
        }
        unknown.map_or(Ok(Err(Cancellation::default())), Err)
    }

    /// Sends the message. When that fails the job is due at once, and the sweeper sends it; when even that
    /// cannot be written, the job is due a little later all the same.
    async fn send(&self, job: Job) {
        let Err(error) = self.queue.send(job.partition(), &job.id().into(), job.job_type()).await else { return };
        tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "send job message");
        let Ok(unsent) = job.apply(Event::SendFailed, self.clock.now()) else { return };
        if let Err(error) = self.jobs.update(job.partition(), &Change::job(unsent)).await {
            tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "mark job as unsent");
        }
    }
}
