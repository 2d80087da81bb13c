//! Each port as the network has it: memory, behind whatever is to become of the call.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use model::{
    ChangeGroup, ChangeItem, ChangeLog, Deletion, IdempotencyEntry, IdempotencyKey, Job, JobId, KeyPrefix, Month,
    MultipartId, ObjectKey, OpenUploads, Partition, Pool, Reservation, Settlement, Shard, Stamp, Tenant, TenantId,
    Upload, UploadId, UploadSlot, Window,
};
use ports::{
    AcceptError, Acceptance, AcceptanceStore, AddUploadError, BatchOutcome, Cancellation, CountPage, DueCursor,
    DueGroup, DueJob, DuePage, DueStore, Fetched, FileRemover, FoundRecords, JobQueue, JobStore, ListedJobs,
    MonthUsage, MultipartStore, ObjectHead, ObjectStore, Page, PortError, RecordReader, RecordRemover, RecordWriter,
    StoredRecord, UpdateError, UploadError, UploadedPart, UsageStore,
};
use records::{RecordId, ResourceType, StoredLine};
use tokio::time::Instant;

use super::{Fate, Network, Operation, WRITE_TIMEOUT};

#[async_trait]
impl AcceptanceStore for Network {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let (memory, partition, acceptance) = (self.memory.clone(), partition.clone(), acceptance.clone());
        let fate = self.fate(Operation::Accept);
        if fate.0 == Fate::Contended {
            return Err(AcceptError::Cancelled(Cancellation { contention: true, ..Cancellation::default() }));
        }
        self.write_as(fate, Operation::Accept, async move { memory.accept(&partition, &acceptance).await }).await
    }
}

#[async_trait]
impl JobStore for Network {
    async fn read(&self, partition: &Partition, id: &JobId) -> Result<Option<Job>, PortError> {
        Network::read(self, Operation::Job, JobStore::read(&self.memory, partition, id)).await
    }

    async fn update(&self, partition: &Partition, job: &Job, settlement: &Settlement) -> Result<(), UpdateError> {
        self.seen.lock().unwrap().job_writes += 1;
        let (memory, partition) = (self.memory.clone(), partition.clone());
        let (job, settlement) = (job.clone(), settlement.clone());
        let operation = if settlement == Settlement::None { Operation::Job } else { Operation::Settle };
        self.write(operation, async move { memory.update(&partition, &job, &settlement).await }).await
    }

    async fn list(
        &self,
        partition: &Partition,
        after: Option<&JobId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListedJobs, PortError> {
        Network::read(self, Operation::Job, self.memory.list(partition, after, now, limit)).await
    }

    async fn delete(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        let (memory, partition, id) = (self.memory.clone(), partition.clone(), id.clone());
        self.write(Operation::Job, async move { memory.delete(&partition, &id).await }).await
    }
}

#[async_trait]
impl DueStore for Network {
    async fn due(
        &self,
        group: DueGroup,
        now: Timestamp,
        after: Option<&DueCursor>,
        limit: usize,
    ) -> Result<DuePage, PortError> {
        Network::read(self, Operation::Job, self.memory.due(group, now, after, limit)).await
    }

    async fn oldest(&self, group: DueGroup) -> Result<Option<Timestamp>, PortError> {
        Network::read(self, Operation::Job, self.memory.oldest(group)).await
    }

    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError> {
        let (memory, due) = (self.memory.clone(), due.clone());
        self.write(Operation::Postpone, async move { memory.postpone(&due, until).await }).await
    }
}

#[async_trait]
impl RecordWriter for Network {
    async fn log_changes(&self, partition: &Partition, group: &ChangeGroup, ids: &[RecordId]) -> Result<(), PortError> {
        let (memory, partition, group, ids) = (self.memory.clone(), partition.clone(), *group, ids.to_vec());
        self.write(Operation::LogChanges, async move { memory.log_changes(&partition, &group, &ids).await }).await
    }

    async fn write_batch(
        &self,
        partition: &Partition,
        group: &ChangeGroup,
        batch: &mut [StoredLine],
    ) -> Result<BatchOutcome, PortError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.batches += 1;
            seen.records += batch.len() as u64;
        }
        let fate = self.fate(Operation::WriteBatch);
        // Some of a batch may not be taken.
        let taken = if fate.0 == Fate::Partial {
            batch.len() / 2
        } else if self.below(1_000) < self.weather.lock().unwrap().throttled {
            usize::try_from(self.below(batch.len() as u64)).unwrap()
        } else {
            batch.len()
        };
        let (memory, partition, group, mut sent) = (self.memory.clone(), partition.clone(), *group, batch.to_vec());
        let weather = *self.weather.lock().unwrap();
        let lag = Duration::from_millis(self.below(weather.lag));
        let (seen, began) = (self.seen.clone(), Instant::now());
        self.write_as(fate, Operation::WriteBatch, async move {
            tokio::time::sleep(lag).await;
            if began.elapsed() > WRITE_TIMEOUT {
                seen.lock().unwrap().late.extend(sent.iter().map(|line| line.id().clone()));
            }
            let unwritten = sent.split_off(taken).iter().map(|line| line.id().clone()).collect();
            let written = memory.write_batch(&partition, &group, &mut sent).await?;
            assert!(written.unwritten.is_empty(), "memory takes everything");
            Ok(BatchOutcome { unwritten })
        })
        .await
    }
}

#[async_trait]
impl RecordReader for Network {
    async fn read(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<Page<StoredRecord>, PortError> {
        let mut page = self.read_records(RecordReader::read(&self.memory, partition, shard, after)).await?;
        // Pages of a real store end anywhere.
        let cut = 1 + usize::try_from(self.below(10)).unwrap();
        page.has_more |= cut < page.items.len();
        page.items.truncate(cut);
        Ok(page)
    }

    async fn count(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<CountPage<RecordId>, PortError> {
        self.read_records(RecordReader::count(&self.memory, partition, shard, after)).await
    }

    async fn newest_change(&self, partition: &Partition, log: ChangeLog) -> Result<Option<Stamp>, PortError> {
        self.read_records(self.memory.newest_change(partition, log)).await
    }

    async fn changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<Page<ChangeItem>, PortError> {
        self.read_records(self.memory.changes(partition, log, from, until)).await
    }

    async fn count_changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<CountPage<Stamp>, PortError> {
        self.read_records(self.memory.count_changes(partition, log, from, until)).await
    }

    async fn deletions(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        after: Option<&RecordId>,
    ) -> Result<Page<Deletion>, PortError> {
        self.read_records(self.memory.deletions(partition, resource_type, after)).await
    }

    async fn find(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        ids: &[RecordId],
    ) -> Result<FoundRecords, PortError> {
        self.read_records(self.memory.find(partition, resource_type, ids)).await
    }
}

#[async_trait]
impl RecordRemover for Network {
    async fn log_deletion(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError> {
        let (memory, partition, deletion) = (self.memory.clone(), partition.clone(), deletion.clone());
        let log = async move { memory.log_deletion(&partition, resource_type, &deletion).await };
        self.write(Operation::LogChanges, log).await
    }

    async fn delete_record(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError> {
        let (memory, partition, deletion) = (self.memory.clone(), partition.clone(), deletion.clone());
        let delete = async move { memory.delete_record(&partition, resource_type, &deletion).await };
        self.write(Operation::WriteBatch, delete).await
    }
}

#[async_trait]
impl ObjectStore for Network {
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.objects += 1;
            let hash = testing::checksum(&content);
            let before = seen.object_bytes.insert(key.as_str().to_owned(), hash);
            seen.key_used_twice |= before.is_some_and(|before| before != hash);
        }
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        self.write(Operation::Objects, async move { memory.put(&partition, &key, content).await }).await
    }

    async fn get(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        etag: Option<&str>,
        from: u64,
    ) -> Result<Fetched, PortError> {
        let fetching = ObjectStore::get(&self.memory, partition, key, etag, from);
        Ok(match Network::read(self, Operation::Objects, fetching).await? {
            Fetched::Content { etag, size, body } => Fetched::Content { etag, size, body: self.breaking(body) },
            other => other,
        })
    }

    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
        Network::read(self, Operation::Objects, self.memory.head(partition, key)).await
    }
}

#[async_trait]
impl MultipartStore for Network {
    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError> {
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        self.write(Operation::Objects, async move { memory.begin(&partition, &key).await }).await
    }

    async fn copy_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        from: &ObjectKey,
    ) -> Result<(), UploadError> {
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        let (upload, from) = (upload.clone(), from.clone());
        self.write(Operation::Objects, async move { memory.copy_part(&partition, &key, &upload, number, &from).await })
            .await
    }

    async fn list_parts(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
    ) -> Result<Vec<UploadedPart>, UploadError> {
        let listed = self.memory.list_parts(partition, key, upload).await;
        Network::read(self, Operation::Objects, async { Ok(()) }).await?;
        listed
    }

    async fn complete(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError> {
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        let (upload, parts) = (upload.clone(), parts.to_vec());
        self.completes();
        self.write(Operation::Objects, async move { memory.complete(&partition, &key, &upload, &parts, size).await })
            .await
    }
}

#[async_trait]
impl FileRemover for Network {
    async fn remove(&self, partition: &Partition, prefix: &KeyPrefix, keep: &[ObjectKey]) -> Result<u64, PortError> {
        let (memory, partition, prefix) = (self.memory.clone(), partition.clone(), prefix.clone());
        let keep = keep.to_vec();
        self.write(Operation::Objects, async move { memory.remove(&partition, &prefix, &keep).await }).await
    }
}

#[async_trait]
impl JobQueue for Network {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        let (memory, partition, id) = (self.memory.clone(), partition.clone(), id.clone());
        self.write(Operation::Send, async move { memory.send(&partition, &id).await }).await
    }
}

#[async_trait]
impl UsageStore for Network {
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError> {
        Network::read(self, Operation::Usage, self.memory.tenant(tenant)).await
    }

    async fn save_tenant(&self, tenant: &Tenant, before: Option<&Tenant>) -> Result<bool, PortError> {
        let (memory, tenant, before) = (self.memory.clone(), tenant.clone(), before.cloned());
        self.write(Operation::Usage, async move { memory.save_tenant(&tenant, before.as_ref()).await }).await
    }

    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError> {
        let (memory, tenant) = (self.memory.clone(), tenant.clone());
        self.write(Operation::Usage, async move { memory.count_minute(&tenant, now).await }).await
    }

    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError> {
        Network::read(self, Operation::Usage, self.memory.month(tenant, month)).await
    }

    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError> {
        let (memory, tenant, month) = (self.memory.clone(), tenant.clone(), month.clone());
        self.write(Operation::Usage, async move { memory.count_month(&tenant, pool, &month).await }).await
    }

    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError> {
        Network::read(self, Operation::Usage, self.memory.window(tenant)).await
    }

    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
        slot: &UploadSlot,
    ) -> Result<(), AddUploadError> {
        let (memory, partition, upload) = (self.memory.clone(), partition.clone(), upload.clone());
        let (reservation, slot) = (reservation.clone(), slot.clone());
        self.write(Operation::Usage, async move {
            memory.create_upload(&partition, &upload, &reservation, month_limit, &slot).await
        })
        .await
    }

    async fn open_uploads(&self, partition: &Partition, now: Timestamp) -> Result<OpenUploads, PortError> {
        Network::read(self, Operation::Usage, self.memory.open_uploads(partition, now)).await
    }

    async fn upload(&self, partition: &Partition, id: &UploadId) -> Result<Option<Upload>, PortError> {
        Network::read(self, Operation::Usage, self.memory.upload(partition, id)).await
    }

    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError> {
        Network::read(self, Operation::Usage, self.memory.idempotency(partition, key, now)).await
    }
}
