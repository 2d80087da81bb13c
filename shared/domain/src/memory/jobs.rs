//! Jobs in memory.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Memory;
use crate::ids::{JobId, Partition};
use crate::job::{Job, JobType, Reservation};
use crate::message::Target;
use crate::ports::{AcceptError, Acceptance, Cancellation, Change, Due, JobStore, PortError, Settlement, UpdateError};
use crate::segment::Segment;

#[async_trait]
impl JobStore for Memory {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { job, window, month_limit, upload, idempotency, request_token: _ } = acceptance;
        let mut state = self.lock();
        let tenant = &partition.tenant;
        let reservation = job.reservation();
        let month = (tenant.clone(), reservation.pool, reservation.month.clone());
        let used = state.months.get(&month).copied().unwrap_or(0) + reservation.requests;
        let idempotency = idempotency.as_ref().map(|(key, entry)| {
            let key = (partition.clone(), key.as_str().to_owned());
            let in_use = state.idempotency.get(&key).is_some_and(|old| old.expires_at > job.created_at());
            (key, entry.clone(), in_use)
        });
        let cancellation = Cancellation {
            job_exists: state.jobs.contains_key(&(partition.clone(), job.id().clone())),
            idempotency_key_used: idempotency.as_ref().is_some_and(|(_, _, in_use)| *in_use),
            window_changed: state.windows.get(tenant).map_or(0, |old| old.version) + 1 != window.version,
            month_full: month_limit.is_some_and(|limit| used > limit),
            upload_unusable: upload
                .as_ref()
                .is_some_and(|id| state.uploads.get(&(partition.clone(), id.clone())).is_none_or(|upload| upload.used)),
            contention: false,
        };
        if cancellation != Cancellation::default() {
            return Err(AcceptError::Cancelled(cancellation));
        }
        state.jobs.insert((partition.clone(), job.id().clone()), job.clone());
        state.windows.insert(tenant.clone(), window.clone());
        state.months.insert(month, used);
        if let Some(upload) = upload.as_ref().and_then(|id| state.uploads.get_mut(&(partition.clone(), id.clone()))) {
            upload.used = true;
        }
        if let Some((key, entry, _)) = idempotency {
            state.idempotency.insert(key, entry);
        }
        Ok(())
    }

    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError> {
        let state = self.lock();
        let job = state.jobs.get(&(partition.clone(), id.clone()));
        Ok(job.filter(|job| job.expires_at() > now).cloned())
    }

    async fn segment(
        &self,
        partition: &Partition,
        id: &JobId,
        number: u8,
        now: Timestamp,
    ) -> Result<Option<Segment>, PortError> {
        let state = self.lock();
        let segment = state.segments.get(&(partition.clone(), id.clone(), number));
        Ok(segment.filter(|segment| segment.expires_at() > now).cloned())
    }

    async fn with_segments(
        &self,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<(Job, Vec<Segment>)>, PortError> {
        let Some(job) = self.get(partition, id, now).await? else { return Ok(None) };
        let state = self.lock();
        let first = (partition.clone(), id.clone(), 0);
        let all = state.segments.range(first..).take_while(|((owner, of, _), _)| owner == partition && of == id);
        Ok(Some((job, all.map(|(_, segment)| segment.clone()).collect())))
    }

    async fn update(&self, partition: &Partition, change: &Change) -> Result<(), UpdateError> {
        let Change { job, segments, settlement } = change;
        let mut state = self.lock();
        let key = |id: &JobId| (partition.clone(), id.clone());
        let segment_key = |segment: &Segment| (partition.clone(), segment.job_id().clone(), segment.number());
        let follows = |stored: Option<u64>, revision: u64| stored.unwrap_or(0) + 1 == revision;
        let jobs_follow =
            job.iter().all(|job| follows(state.jobs.get(&key(job.id())).map(Job::revision), job.revision()));
        let segments_follow = segments.iter().all(|segment| {
            follows(state.segments.get(&segment_key(segment)).map(Segment::revision), segment.revision())
        });
        if !jobs_follow || !segments_follow {
            return Err(UpdateError::Conflict);
        }
        let month = |of: &Reservation| (partition.tenant.clone(), of.pool, of.month.clone());
        match settlement {
            Settlement::None => {}
            Settlement::Reserve { reservation, limit } => {
                let used = state.months.entry(month(reservation)).or_default();
                if limit.is_some_and(|limit| *used + reservation.requests > limit) {
                    return Err(UpdateError::MonthFull);
                }
                *used += reservation.requests;
            }
            Settlement::Refund(reservation) => {
                let used = state.months.entry(month(reservation)).or_default();
                *used = used.saturating_sub(reservation.requests);
            }
        }
        if let Some(job) = job {
            state.jobs.insert(key(job.id()), job.clone());
        }
        for segment in segments {
            state.segments.insert(segment_key(segment), segment.clone());
        }
        Ok(())
    }

    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let state = self.lock();
        let jobs = state.jobs.values().filter(|job| job.job_type() == job_type);
        let jobs = jobs.map(|job| (job.partition(), Target::from(job.id()), job.due_at()));
        let segments = state.segments.values().filter(|_| job_type == JobType::Export);
        let segments = segments.map(|segment| (segment.partition(), segment.target(), segment.due_at()));
        let mut due: Vec<_> = jobs
            .chain(segments)
            .filter_map(|(partition, target, due_at)| {
                let due_at = due_at.filter(|due_at| *due_at <= now)?;
                Some(Due { partition: partition.clone(), target, job_type, due_at })
            })
            .collect();
        due.sort_by_key(|due| due.due_at);
        due.truncate(limit);
        Ok(due)
    }

    async fn postpone(&self, due: &Due, until: Timestamp) -> Result<bool, PortError> {
        let mut state = self.lock();
        let (partition, Target { job_id, segment }) = (due.partition.clone(), due.target.clone());
        if let Some(number) = segment {
            let stored = state.segments.get_mut(&(partition, job_id, number));
            let Some(segment) = stored.filter(|segment| segment.due_at() == Some(due.due_at)) else { return Ok(false) };
            *segment = segment.clone().restored(segment.revision(), Some(until));
            return Ok(true);
        }
        let stored = state.jobs.get_mut(&(partition, job_id));
        let Some(job) = stored.filter(|job| job.due_at() == Some(due.due_at)) else { return Ok(false) };
        *job = job.clone().restored(job.revision(), Some(until));
        Ok(true)
    }
}
