//! What the use cases need from outside, as traits. The partition is the first argument of everything
//! that belongs to one, so that a forgotten filter does not compile.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use records::{RecordId, ResourceType, StoredLine};
use serde::{Deserialize, Serialize};

use crate::idempotency::{IdempotencyEntry, IdempotencyKey};
use crate::ids::{JobId, Partition, TenantId, UploadId};
use crate::job::{Job, JobType, Reservation};
use crate::keys::{ApiKeyHash, StoredKey};
use crate::message::Target;
use crate::object_key::ObjectKey;
use crate::plan::{Month, Pool, Tenant};
use crate::segment::Segment;
use crate::upload::Upload;
use crate::window::Window;

/// The cause of a failure, kept for the log; it never names a value of a record.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A call to the outside went wrong.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A dependency throttles, is down, or did not answer: the same call may work later. Whether it
    /// had its effect is not known.
    #[error("{operation}: unavailable: {cause}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// What the dependency said.
        #[source]
        cause: Cause,
    },
    /// A refusal that will not go away by itself: a missing permission, an item that cannot be read.
    #[error("{operation}: defect: {cause}")]
    Defect {
        /// What was being done.
        operation: &'static str,
        /// What the dependency said.
        #[source]
        cause: Cause,
    },
}

/// Reads the wall clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Draws randomness.
pub trait IdSource: Send + Sync {
    /// 128 unguessable bits.
    fn random(&self) -> u128;
}

/// Why a job was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Another write came first: the stored job is not the one that the write follows.
    #[error("job was changed meanwhile")]
    Conflict,
    /// The month has no room for what the write reserves.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// All that one accepted call changes, together or not at all.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The new job.
    pub job: Job,
    /// The window with the new operation; on condition that the stored one is of the version before.
    pub window: Window,
    /// The month's limit that the job's reservation must fit, if any refuses.
    pub month_limit: Option<u64>,
    /// The upload to mark as used; on condition that it is there and unused.
    pub upload: Option<UploadId>,
    /// The idempotency entry to write; on condition that there is none, or an expired one.
    pub idempotency: Option<(IdempotencyKey, IdempotencyEntry)>,
    /// The same for every try of one acceptance whose outcome is unknown.
    pub request_token: String,
}

/// Why an acceptance had no effect.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The conditions that did not hold.
    #[error("acceptance was cancelled")]
    Cancelled(Cancellation),
    /// See [`PortError`]; the outcome is unknown.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The conditions of an acceptance that did not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one independent condition each, as the store tells them")]
pub struct Cancellation {
    /// There is a job of this id: this call's own, of an earlier try.
    pub job_exists: bool,
    /// The idempotency key is in use.
    pub idempotency_key_used: bool,
    /// The window has changed since it was read.
    pub window_changed: bool,
    /// The month's counter has no room.
    pub month_full: bool,
    /// The upload is gone, or used.
    pub upload_unusable: bool,
    /// Another transaction was at work on the same items.
    pub contention: bool,
}

/// Something due: work that nobody may be looking after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose work.
    pub partition: Partition,
    /// A job, or a segment of one.
    pub target: Target,
    /// Which queue it goes through.
    pub job_type: JobType,
    /// Since when it is due.
    pub due_at: Timestamp,
}

/// What an update of a job means for the month's counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing.
    None,
    /// The job's reservation is counted, within the limit if there is one.
    Reserve {
        /// What is counted.
        reservation: Reservation,
        /// The month's limit, if any refuses.
        limit: Option<u64>,
    },
    /// The job's reservation is given back.
    Refund(Reservation),
}

/// What is written together, or not at all. Each item is the next revision of the stored one, or new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// A job.
    pub job: Option<Job>,
    /// Segments of one job.
    pub segments: Vec<Segment>,
    /// What it means for the month's counter.
    pub settlement: Settlement,
}

impl From<Segment> for Change {
    fn from(segment: Segment) -> Self {
        Self { job: None, segments: vec![segment], settlement: Settlement::None }
    }
}

impl Change {
    /// A job, and nothing of the month.
    #[must_use]
    pub fn job(job: Job) -> Self {
        Self { job: Some(job), segments: Vec::new(), settlement: Settlement::None }
    }

    /// The same, with what it means for the month's counter.
    #[must_use]
    pub fn settle(self, settlement: Settlement) -> Self {
        Self { settlement, ..self }
    }
}

/// Keeps jobs and their segments.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Accepts a job, in one transaction with all that limits it.
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError>;

    /// The job as it is now (strongly consistent), unless there is none or it has expired by `now`.
    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError>;

    /// A segment as it is now (strongly consistent), unless there is none or it has expired by `now`.
    async fn segment(
        &self,
        partition: &Partition,
        id: &JobId,
        number: u8,
        now: Timestamp,
    ) -> Result<Option<Segment>, PortError>;

    /// The job with all its segments, in their order (strongly consistent), unless there is none or it has
    /// expired by `now`.
    async fn with_segments(
        &self,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<(Job, Vec<Segment>)>, PortError>;

    /// Writes a change, in one transaction.
    async fn update(&self, partition: &Partition, change: &Change) -> Result<(), UpdateError>;

    /// Up to `limit` jobs and segments that are due at `now`. The sweeper's: it looks across partitions.
    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError>;

    /// Moves what is due to `until`; false when it is no longer due as it was found.
    async fn postpone(&self, due: &Due, until: Timestamp) -> Result<bool, PortError>;
}

/// How a batch of writes ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "what was not written has to be tried again"]
pub struct BatchOutcome {
    /// The records that the store did not take this time.
    pub unwritten: Vec<RecordId>,
}

/// The most records of one batch (`BatchWriteItem`'s limit).
pub const MAX_BATCH: usize = 25;

/// In how many shards the records of one type and partition are spread. A partition of `DynamoDB`
/// takes 1,000 writes a second; so many times that is a type's limit.
pub const SHARDS: u8 = 16;

/// The shard of a record: fixed for ever, since records are found by it.
#[must_use]
pub fn shard_of(id: &RecordId) -> u8 {
    u8::try_from(crc32fast::hash(id.as_str().as_bytes()) % u32::from(SHARDS)).unwrap_or(0)
}

/// One shard of one type's records in a partition: what one series of pages reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The type.
    pub resource_type: ResourceType,
    /// The shard, below [`SHARDS`].
    pub shard: u8,
}

impl Slice {
    /// All slices of the types, in order.
    pub fn all(types: &[ResourceType]) -> impl Iterator<Item = Self> {
        types.iter().flat_map(|resource_type| (0..SHARDS).map(|shard| Self { resource_type: *resource_type, shard }))
    }
}

/// Which records of a slice are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRange {
    /// All of them, strongly consistent.
    All,
    /// Those last updated between the two moments, both included, from the index.
    Updated {
        /// The first moment.
        since: Timestamp,
        /// The last moment.
        until: Timestamp,
    },
}

/// The record behind which reading goes on: the end of a page, or any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageKey {
    /// The record's id: the order of [`ReadRange::All`].
    pub id: String,
    /// Its stamp, RFC 3339 with milliseconds: the order of [`ReadRange::Updated`], before the id.
    pub last_updated: String,
}

impl PageKey {
    /// The key of a stored line; `None` when it is no stored line.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        let (id, last_updated) = records::stored_key(line)?;
        Some(Self { id: id.to_owned(), last_updated: last_updated.to_owned() })
    }
}

/// Some records of a slice.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The stored lines.
    pub lines: Vec<String>,
    /// Where to read on; `None` at the end of the slice.
    pub next: Option<PageKey>,
}

/// Some records of a slice, counted.
#[derive(Debug, Clone, Default)]
pub struct CountPage {
    /// How many.
    pub count: u64,
    /// About how many bytes they have; 0 where the store does not tell.
    pub bytes: u64,
    /// Where to count on; `None` at the end of the slice.
    pub next: Option<PageKey>,
}

/// Keeps records.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Writes up to [`MAX_BATCH`] records of different ids, each new or in place of an older one, all
    /// stamped with `stamp`, once: what is not written is told, and left to the caller.
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError>;

    /// A page of a slice, from its beginning or on from where the last one ended.
    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError>;

    /// Counts part of a slice, eventually consistent.
    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError>;
}

/// Puts marks into the table of records and looks for them in its index. They belong to no partition, and no
/// export can see them.
#[async_trait]
pub trait IndexProbe: Send + Sync {
    /// Writes a mark to the table, in place of the one before.
    async fn mark(&self, at: Timestamp) -> Result<(), PortError>;

    /// The mark that the index shows.
    async fn latest_mark(&self) -> Result<Option<Timestamp>, PortError>;
}

/// The bytes of an object as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, PortError>>;

/// What came of reading an object.
pub enum Fetched {
    /// Its bytes.
    Content(ByteStream),
    /// There is no such object.
    Missing,
    /// There is one, of other content than was asked for.
    Changed,
}

/// An object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// How many bytes it has.
    pub size: u64,
    /// What the store calls its content.
    pub etag: String,
}

/// A multipart upload that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MultipartId(pub String);

/// Why an upload in parts does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload: it was completed or given up.
    #[error("upload has ended")]
    Ended,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPart {
    /// Its place in the file, from 1.
    pub number: u32,
    /// What the store calls its content.
    pub etag: String,
}

/// A URL that opens one object for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// The URL: as good as a key, so never logged.
    pub url: String,
    /// The latest moment at which it can work.
    pub expires_at: Timestamp,
}

/// Keeps files.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Writes a whole object.
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError>;

    /// Reads an object; with `etag` only that content of it.
    async fn get(&self, partition: &Partition, key: &ObjectKey, etag: Option<&str>) -> Result<Fetched, PortError>;

    /// An object's size and content; `None` when there is none.
    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError>;

    /// A URL that takes one object's content by PUT until then; it signs no header but the host.
    async fn sign_upload(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError>;

    /// Begins an upload in parts. Nothing is visible before it is completed.
    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError>;

    /// Uploads one part; all but the last have at least 5 MiB.
    async fn upload_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        content: Bytes,
    ) -> Result<UploadedPart, UploadError>;

    /// Makes the object of these parts, in order and `size` bytes in all, visible at once.
    async fn complete(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError>;

    /// Gives an upload up.
    async fn abort(&self, partition: &Partition, key: &ObjectKey, upload: &MultipartId) -> Result<(), PortError>;

    /// A URL that downloads the object under a file name, for an hour at most and not beyond `until`.
    async fn sign_download(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        file_name: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError>;
}

/// Carries messages to the processors. A message says "look at this" and nothing else. Tenants take
/// turns: one with many messages under way does not keep another's waiting.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends a message.
    async fn send(&self, partition: &Partition, target: &Target, job_type: JobType) -> Result<(), PortError>;
}

/// Keeps API keys, by their hash.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The key of that hash.
    async fn find(&self, hash: &ApiKeyHash) -> Result<Option<StoredKey>, PortError>;

    /// Adds a key, or replaces the one of the same hash.
    async fn save(&self, key: &StoredKey) -> Result<(), PortError>;

    /// All keys of a tenant, in no order.
    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, PortError>;
}

/// A month's requests in each pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonthUsage {
    /// Counted in [`Pool::Live`].
    pub live: u64,
    /// Counted in [`Pool::Test`].
    pub test: u64,
    /// Counted in [`Pool::Shared`].
    pub shared: u64,
}

impl MonthUsage {
    /// The requests of one pool.
    #[must_use]
    pub fn of(&self, pool: Pool) -> u64 {
        match pool {
            Pool::Live => self.live,
            Pool::Test => self.test,
            Pool::Shared => self.shared,
        }
    }
}

/// Keeps tenants' plans and counts what they use.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// The tenant's plan and limits.
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError>;

    /// Adds a tenant, or replaces it.
    async fn save_tenant(&self, tenant: &Tenant) -> Result<(), PortError>;

    /// Counts one call in the running minute and returns the minute's count.
    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError>;

    /// The month's requests.
    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError>;

    /// Counts one request in the month, whatever its limit, and returns the pool's count.
    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError>;

    /// The rolling hour of bulk operations (strongly consistent).
    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError>;

    /// Adds an upload, and counts it in the month; false when the month has no room.
    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
    ) -> Result<bool, PortError>;

    /// An upload (strongly consistent), unless it has expired by `now`.
    async fn upload(&self, partition: &Partition, id: &UploadId, now: Timestamp) -> Result<Option<Upload>, PortError>;

    /// The entry of an idempotency key (strongly consistent), unless it has expired by `now`.
    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError>;
}
