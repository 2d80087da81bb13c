//! In-memory ports: small, real implementations for tests and local play. They keep every promise of
//! the traits, and run the same [`contract`](crate::contract) suite as the AWS adapters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::records::{PackedLine, RecordId, ResourceType};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use model::{
    ApiKeyHash, IdempotencyEntry, Job, JobId, Month, ObjectKey, Partition, Pool, Stamp, StoredKey, Tenant, TenantId,
    Upload, UploadId, Window, after,
};
use ports::{Clock, IdSource, JobQueue, KeyStore, PortError};
use tokio::time::Instant;

mod jobs;
mod objects;
mod records;
mod usage;

/// All stores and the queue in one: cloning gives another handle to the same content.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<(Partition, JobId), Job>,
    records: BTreeMap<records::RecordKey, (Stamp, PackedLine)>,
    changes: BTreeMap<records::ChangeKey, Vec<RecordId>>,
    deletions: BTreeMap<records::DeletionKey, Stamp>,
    finds: u64,
    broken_promises: u64,
    objects: HashMap<ObjectKey, Bytes>,
    multiparts: HashMap<String, objects::Multipart>,
    multiparts_begun: u64,
    copies: u64,
    least_part: u64,
    messages: Vec<(Partition, JobId)>,
    keys: HashMap<ApiKeyHash, StoredKey>,
    tenants: HashMap<TenantId, Tenant>,
    windows: HashMap<TenantId, Window>,
    minutes: HashMap<(TenantId, i64), u64>,
    months: HashMap<(TenantId, Pool, Month), u64>,
    idempotency: HashMap<(Partition, String), IdempotencyEntry>,
    uploads: HashMap<(Partition, UploadId), Upload>,
    upload_slots: HashMap<(Partition, usize), UploadId>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Empty stores.
    #[must_use]
    pub fn new() -> Self {
        Self::with_least_part(5 << 20)
    }

    /// Empty stores whose uploads have at least so many bytes in every part but the last.
    #[must_use]
    pub fn with_least_part(least_part: u64) -> Self {
        let state = State { least_part, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all messages out of the queue, oldest first.
    #[must_use]
    pub fn take_messages(&self) -> Vec<(Partition, JobId)> {
        std::mem::take(&mut self.lock().messages)
    }

    /// How many records of a type a partition has.
    #[must_use]
    pub fn count_records(&self, partition: &Partition, resource_type: ResourceType) -> usize {
        let is_one = |(owner, of, _): &&records::RecordKey| owner == partition && of.resource_type == resource_type;
        self.lock().records.keys().filter(is_one).count()
    }

    /// The content of an object.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<Bytes> {
        self.lock().objects.get(key).cloned()
    }

    /// The keys of all objects, sorted.
    #[must_use]
    pub fn object_keys(&self) -> Vec<ObjectKey> {
        let mut keys: Vec<_> = self.lock().objects.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// Writes an object, as a client does with a signed URL.
    pub fn put_object(&self, key: &ObjectKey, content: impl Into<Bytes>) {
        self.lock().objects.insert(key.clone(), content.into());
    }

    /// Removes an object.
    pub fn remove_object(&self, key: &ObjectKey) {
        self.lock().objects.remove(key);
    }

    /// How many multipart uploads are neither completed nor aborted.
    #[must_use]
    pub fn open_multiparts(&self) -> usize {
        self.lock().multiparts.len()
    }
}

/// A checksum of some bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn defect(operation: &'static str, cause: &'static str) -> PortError {
    PortError::defect(operation, cause)
}

#[async_trait]
impl JobQueue for Memory {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        self.lock().messages.push((partition.clone(), id.clone()));
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn find(&self, hash: &ApiKeyHash) -> Result<Option<StoredKey>, PortError> {
        Ok(self.lock().keys.get(hash).cloned())
    }

    async fn save(&self, key: &StoredKey, before: Option<&StoredKey>) -> Result<bool, PortError> {
        let mut state = self.lock();
        let is_as_before = state.keys.get(&key.hash) == before;
        if is_as_before {
            state.keys.insert(key.hash.clone(), key.clone());
        }
        Ok(is_as_before)
    }

    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, PortError> {
        Ok(self.lock().keys.values().filter(|key| key.partition.tenant == *tenant).cloned().collect())
    }
}

/// A clock that runs with tokio's, so that a test that pauses time moves it too.
pub struct MemoryClock {
    start: Timestamp,
    started: Instant,
}

impl MemoryClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, started: Instant::now() }
    }
}

impl Clock for MemoryClock {
    fn now(&self) -> Timestamp {
        after(self.start, self.started.elapsed())
    }
}

/// Random numbers that are the same for the same seed.
pub struct SeededIds(Mutex<u64>);

impl SeededIds {
    /// The numbers of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl IdSource for SeededIds {
    fn random(&self) -> u128 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SplitMix64 (Steele, Lea, Flood 2014): every state is visited once.
        let mut next = || {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        u128::from(next()) << 64 | u128::from(next())
    }
}
