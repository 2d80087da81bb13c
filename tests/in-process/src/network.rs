//! A network between the worker and its ports, as bad as a seed makes it.
//!
//! Every call that changes something runs on its own, whatever becomes of its caller, as a request that
//! has left a machine does: it may arrive late, after the caller has died, or arrive and have its answer
//! lost. Time is tokio's, paused, so that a seed always gives the same run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::memory::{Memory, SeededIds};
use domain::ports::{
    AcceptError, Acceptance, BatchOutcome, Change, CountPage, Due, Fetched, IdSource, JobQueue, JobStore, MonthUsage,
    MultipartId, ObjectHead, ObjectStore, Page, PageKey, PortError, ReadRange, RecordStore, SignedUrl, Slice,
    UpdateError, UploadError, UploadedPart, UsageStore,
};
use domain::{
    IdempotencyEntry, IdempotencyKey, Job, JobId, JobType, Month, ObjectKey, Partition, Pool, Reservation, Segment,
    Target, Tenant, TenantId, Upload, UploadId, Window,
};
use jiff::Timestamp;
use records::{ResourceType, StoredLine};

/// How bad it is, in thousandths of all calls.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Refused without an effect.
    pub refused: u64,
    /// Done, and the answer lost.
    pub answer_lost: u64,
    /// Taking very long.
    pub slow: u64,
}

/// What has been seen of the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Parts that were sent.
    pub parts: u64,
    /// Records that were sent, in batches.
    pub records: u64,
}

/// Memory behind a bad network.
#[derive(Clone)]
pub struct Network {
    memory: Memory,
    random: Arc<SeededIds>,
    weather: Arc<Mutex<Weather>>,
    seen: Arc<Mutex<Seen>>,
}

fn unavailable() -> PortError {
    PortError::Unavailable { operation: "call", cause: "as the seed wants it".into() }
}

impl Network {
    /// The network of a seed.
    #[must_use]
    pub fn new(memory: &Memory, seed: u64, weather: Weather) -> Self {
        let random = Arc::new(SeededIds::new(seed));
        Self { memory: memory.clone(), random, weather: Arc::new(Mutex::new(weather)), seen: Arc::default() }
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// What has been seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }

    fn below(&self, bound: u64) -> u64 {
        u64::try_from(self.random.random() % u128::from(bound.max(1))).unwrap()
    }

    /// How long one way of a call takes.
    fn delay(&self) -> Duration {
        let slow = self.weather.lock().unwrap().slow;
        let most = if self.below(1_000) < slow { 20_000 } else { 60 };
        Duration::from_millis(self.below(most))
    }

    /// A call that only reads.
    async fn read<T>(&self, call: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        tokio::time::sleep(self.delay()).await;
        let Weather { refused, answer_lost, .. } = *self.weather.lock().unwrap();
        if self.below(1_000) < refused + answer_lost { Err(unavailable()) } else { call.await }
    }

    /// A call with an effect, which takes place even when nobody waits for it any more.
    async fn write<T, E>(&self, call: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PortError> + Send + 'static,
    {
        let Weather { refused, answer_lost, .. } = *self.weather.lock().unwrap();
        let fate = self.below(1_000);
        let is_lost = (refused..refused + answer_lost).contains(&fate);
        // The caller may hear of an error long before what it sent has its effect.
        let is_late = is_lost && self.below(2) == 0;
        let there = if is_late { Duration::from_millis(self.below(300_000)) } else { self.delay() };
        let back = self.delay();
        let arriving = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            if fate < refused { Err(unavailable().into()) } else { call.await }
        });
        if is_late {
            tokio::time::sleep(back).await;
            return Err(unavailable().into());
        }
        let outcome = arriving.await.unwrap_or_else(|_| Err(unavailable().into()));
        tokio::time::sleep(back).await;
        if is_lost { Err(unavailable().into()) } else { outcome }
    }
}

#[async_trait]
impl JobStore for Network {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let (memory, partition, acceptance) = (self.memory.clone(), partition.clone(), acceptance.clone());
        self.write(async move { memory.accept(&partition, &acceptance).await }).await
    }

    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError> {
        self.read(JobStore::get(&self.memory, partition, id, now)).await
    }

    async fn segment(
        &self,
        partition: &Partition,
        id: &JobId,
        number: u8,
        now: Timestamp,
    ) -> Result<Option<Segment>, PortError> {
        self.read(self.memory.segment(partition, id, number, now)).await
    }

    async fn with_segments(
        &self,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<(Job, Vec<Segment>)>, PortError> {
        self.read(self.memory.with_segments(partition, id, now)).await
    }

    async fn update(&self, partition: &Partition, change: &Change) -> Result<(), UpdateError> {
        let (memory, partition, change) = (self.memory.clone(), partition.clone(), change.clone());
        self.write(async move { memory.update(&partition, &change).await }).await
    }

    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        self.read(self.memory.due(job_type, now, limit)).await
    }

    async fn postpone(&self, due: &Due, until: Timestamp) -> Result<bool, PortError> {
        let (memory, due) = (self.memory.clone(), due.clone());
        self.write(async move { memory.postpone(&due, until).await }).await
    }
}

#[async_trait]
impl RecordStore for Network {
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError> {
        self.seen.lock().unwrap().records += batch.len() as u64;
        // Some of a batch may not be taken.
        let taken = if self.below(1_000) < self.weather.lock().unwrap().refused {
            usize::try_from(self.below(batch.len() as u64)).unwrap()
        } else {
            batch.len()
        };
        let (memory, partition, mut sent) = (self.memory.clone(), partition.clone(), batch.to_vec());
        self.write(async move {
            let unwritten = sent.split_off(taken).iter().map(|line| line.id().clone()).collect();
            let written = memory.write_batch(&partition, resource_type, &mut sent, stamp).await?;
            assert!(written.unwritten.is_empty(), "memory takes everything");
            Ok(BatchOutcome { unwritten })
        })
        .await
    }

    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError> {
        let page = self.read(RecordStore::read(&self.memory, partition, slice, range, from)).await?;
        // Pages of a real store end anywhere.
        let cut = 1 + usize::try_from(self.below(10)).unwrap();
        if cut >= page.lines.len() {
            return Ok(page);
        }
        let lines: Vec<_> = page.lines.into_iter().take(cut).collect();
        Ok(Page { next: lines.last().and_then(|line| PageKey::of(line)), lines })
    }

    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError> {
        self.read(self.memory.count(partition, slice, range, from)).await
    }
}

#[async_trait]
impl ObjectStore for Network {
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError> {
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        self.write(async move { memory.put(&partition, &key, content).await }).await
    }

    async fn get(&self, partition: &Partition, key: &ObjectKey, etag: Option<&str>) -> Result<Fetched, PortError> {
        self.read(ObjectStore::get(&self.memory, partition, key, etag)).await
    }

    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
        self.read(self.memory.head(partition, key)).await
    }

    async fn sign_upload(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        self.memory.sign_upload(partition, key, now, until).await
    }

    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError> {
        let (memory, partition, key) = (self.memory.clone(), partition.clone(), key.clone());
        self.write(async move { memory.begin(&partition, &key).await }).await
    }

    async fn upload_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        content: Bytes,
    ) -> Result<UploadedPart, UploadError> {
        self.seen.lock().unwrap().parts += 1;
        let (memory, partition, key, upload) = (self.memory.clone(), partition.clone(), key.clone(), upload.clone());
        self.write(async move { memory.upload_part(&partition, &key, &upload, number, content).await }).await
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
        self.write(async move { memory.complete(&partition, &key, &upload, &parts, size).await }).await
    }

    async fn abort(&self, partition: &Partition, key: &ObjectKey, upload: &MultipartId) -> Result<(), PortError> {
        let (memory, partition, key, upload) = (self.memory.clone(), partition.clone(), key.clone(), upload.clone());
        self.write(async move { memory.abort(&partition, &key, &upload).await }).await
    }

    async fn sign_download(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        file_name: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        self.memory.sign_download(partition, key, file_name, now, until).await
    }
}

#[async_trait]
impl JobQueue for Network {
    async fn send(&self, partition: &Partition, target: &Target, job_type: JobType) -> Result<(), PortError> {
        let (memory, partition, target) = (self.memory.clone(), partition.clone(), target.clone());
        self.write(async move { memory.send(&partition, &target, job_type).await }).await
    }
}

#[async_trait]
impl UsageStore for Network {
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError> {
        self.read(self.memory.tenant(tenant)).await
    }

    async fn save_tenant(&self, tenant: &Tenant) -> Result<(), PortError> {
        let (memory, tenant) = (self.memory.clone(), tenant.clone());
        self.write(async move { memory.save_tenant(&tenant).await }).await
    }

    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError> {
        let (memory, tenant) = (self.memory.clone(), tenant.clone());
        self.write(async move { memory.count_minute(&tenant, now).await }).await
    }

    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError> {
        self.read(self.memory.month(tenant, month)).await
    }

    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError> {
        let (memory, tenant, month) = (self.memory.clone(), tenant.clone(), month.clone());
        self.write(async move { memory.count_month(&tenant, pool, &month).await }).await
    }

    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError> {
        self.read(self.memory.window(tenant)).await
    }

    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
    ) -> Result<bool, PortError> {
        let (memory, partition, upload) = (self.memory.clone(), partition.clone(), upload.clone());
        let reservation = reservation.clone();
        self.write(async move { memory.create_upload(&partition, &upload, &reservation, month_limit).await }).await
    }

    async fn upload(&self, partition: &Partition, id: &UploadId, now: Timestamp) -> Result<Option<Upload>, PortError> {
        self.read(self.memory.upload(partition, id, now)).await
    }

    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError> {
        self.read(self.memory.idempotency(partition, key, now)).await
    }
}
