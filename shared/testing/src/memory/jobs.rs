//! Jobs in memory.

use async_trait::async_trait;
use jiff::Timestamp;
use model::{Job, JobId, Partition, Reservation, Settlement};
use ports::{
    AcceptError, Acceptance, AcceptanceStore, Cancellation, DueCursor, DueGroup, DueJob, DuePage, DueStore, JobStore,
    ListedJobs, PortError, Stage, UpdateError,
};

use super::Memory;

#[async_trait]
impl AcceptanceStore for Memory {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { job, window, month_limit, upload, idempotency, request_token: _ } = acceptance;
        let mut state = self.lock();
        let tenant = &partition.tenant;
        let reservation = job.reservation();
        let month = (tenant.clone(), reservation.pool, reservation.month.clone());
        let used = state.months.get(&month).copied().unwrap_or(0) + reservation.requests;
        let upload = upload.as_ref().map(|id| (partition.clone(), id.clone()));
        let idempotency = idempotency.as_ref().map(|write| {
            let key = (partition.clone(), write.key.as_str().to_owned());
            let in_use = state
                .idempotency
                .get(&key)
                .is_some_and(|old| old.expires_at > job.created_at() && write.gone.as_ref() != Some(&old.job_id));
            (key, write.entry.clone(), in_use)
        });
        let cancellation = Cancellation {
            job_exists: state.jobs.contains_key(&(partition.clone(), job.id().clone())),
            idempotency_key_used: idempotency.as_ref().is_some_and(|(_, _, in_use)| *in_use),
            window_changed: state.windows.get(tenant).map_or(0, |old| old.version) + 1 != window.version,
            month_full: month_limit.is_some_and(|limit| used > limit),
            upload_unusable: upload
                .as_ref()
                .is_some_and(|key| state.uploads.get(key).is_none_or(|upload| upload.used_by.is_some())),
            contention: false,
        };
        if cancellation != Cancellation::default() {
            return Err(AcceptError::Cancelled(cancellation));
        }
        state.jobs.insert((partition.clone(), job.id().clone()), job.clone());
        state.windows.insert(tenant.clone(), window.clone());
        state.months.insert(month, used);
        if let Some(upload) = upload.and_then(|key| state.uploads.get_mut(&key)) {
            upload.used_by = Some(job.id().clone());
        }
        if let Some((key, entry, _)) = idempotency {
            state.idempotency.insert(key, entry);
        }
        Ok(())
    }
}

#[async_trait]
impl JobStore for Memory {
    async fn read(&self, partition: &Partition, id: &JobId) -> Result<Option<Job>, PortError> {
        Ok(self.lock().jobs.get(&(partition.clone(), id.clone())).cloned())
    }

    async fn update(&self, partition: &Partition, job: &Job, settlement: &Settlement) -> Result<(), UpdateError> {
        let mut state = self.lock();
        let key = (partition.clone(), job.id().clone());
        if state.jobs.get(&key).map_or(0, Job::revision) + 1 != job.revision() {
            return Err(UpdateError::Conflict);
        }
        let month_of = |of: &Reservation| (partition.tenant.clone(), of.pool, of.month.clone());
        match settlement {
            Settlement::None => {}
            Settlement::Reserve { limit } => {
                let reservation = job.reservation();
                let used = state.months.entry(month_of(reservation)).or_default();
                if limit.is_some_and(|limit| *used + reservation.requests > limit) {
                    return Err(UpdateError::MonthFull);
                }
                *used += reservation.requests;
            }
            Settlement::Refund(refund) => {
                let used = state.months.entry(month_of(refund)).or_default();
                *used = used.saturating_sub(refund.requests);
            }
        }
        state.jobs.insert(key, job.clone());
        Ok(())
    }

    async fn list(
        &self,
        partition: &Partition,
        after: Option<&JobId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListedJobs, PortError> {
        let state = self.lock();
        let of_partition = state.jobs.values().filter(|job| job.partition() == partition);
        let mut jobs: Vec<_> = of_partition.filter(|job| after.is_none_or(|after| job.id() < after)).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id().clone()));
        let has_more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| has_more).map(|job| job.id().clone());
        Ok(ListedJobs {
            jobs: jobs.into_iter().filter(|job| job.is_shown(now)).cloned().map(Job::in_list).collect(),
            next,
        })
    }

    async fn delete(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        self.lock().jobs.remove(&(partition.clone(), id.clone()));
        Ok(())
    }
}

#[async_trait]
impl DueStore for Memory {
    async fn due(
        &self,
        group: DueGroup,
        now: Timestamp,
        after: Option<&DueCursor>,
        limit: usize,
    ) -> Result<DuePage, PortError> {
        let state = self.lock();
        let of_group =
            state.jobs.values().filter(|job| job.job_type() == group.job_type && Stage::of(job) == group.stage);
        let place = |due: &DueJob| (due.due_at, due.partition.to_string(), due.job_id.to_string());
        let after = after.map(|after| (after.due_at, after.partition.clone(), after.job_id.clone()));
        let mut due: Vec<_> = of_group
            .filter_map(|job| {
                let due_at = job.due_at().filter(|due_at| *due_at <= now)?;
                let (partition, job_id) = (job.partition().clone(), job.id().clone());
                Some(DueJob { partition, job_id, group, due_at })
            })
            .filter(|due| after.as_ref().is_none_or(|after| place(due) > *after))
            .collect();
        due.sort_by_key(place);
        let has_more = due.len() > limit;
        due.truncate(limit);
        let next = due.last().filter(|_| has_more).map(|last| {
            let (due_at, partition, job_id) = place(last);
            DueCursor { due_at, partition, job_id }
        });
        Ok(DuePage { jobs: due, unreadable: 0, next })
    }

    async fn oldest(&self, group: DueGroup) -> Result<Option<Timestamp>, PortError> {
        let state = self.lock();
        let of_group =
            state.jobs.values().filter(|job| job.job_type() == group.job_type && Stage::of(job) == group.stage);
        Ok(of_group.filter(|job| job.due_at().is_some()).map(|job| job.id().created_at()).min())
    }

    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError> {
        let mut state = self.lock();
        let stored = state.jobs.get_mut(&(due.partition.clone(), due.job_id.clone()));
        let Some(job) = stored.filter(|job| job.due_at() == Some(due.due_at) || job.due_at() == Some(until)) else {
            return Ok(false);
        };
        *job = job.clone().with_revision(job.revision(), Some(until));
        Ok(true)
    }
}
