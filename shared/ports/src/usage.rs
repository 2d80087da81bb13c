//! Where keys, tenants and what they have used are kept.

use async_trait::async_trait;
use jiff::Timestamp;
use model::{
    ApiKeyHash, IdempotencyEntry, IdempotencyKey, Month, OpenUploads, Partition, Pool, Reservation, StoredKey, Tenant,
    TenantId, Upload, UploadId, UploadSlot, Window,
};

use crate::error::PortError;

/// Keeps API keys, by their hash.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The key of that hash.
    async fn find(&self, hash: &ApiKeyHash) -> Result<Option<StoredKey>, PortError>;

    /// Adds a key, or changes it from what it was before. `false` when the stored one is another by now: nothing was done
    /// then.
    async fn save(&self, key: &StoredKey, before: Option<&StoredKey>) -> Result<bool, PortError>;

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

/// Why an upload was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddUploadError {
    /// The month has no room for it.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// Another one took the slot meanwhile.
    #[error("slot was taken meanwhile")]
    Conflict,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Keeps tenants' plans and counts what they use.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// The tenant's plan and limits.
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError>;

    /// Adds a tenant, or changes it from what it was before. `false` when the stored one is another by now: nothing was
    /// done then.
    async fn save_tenant(&self, tenant: &Tenant, before: Option<&Tenant>) -> Result<bool, PortError>;

    /// Counts one call in the running minute and returns the minute's count.
    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError>;

    /// The month's requests.
    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError>;

    /// Counts one request in the month, whatever its limit, and returns the pool's count.
    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError>;

    /// The rolling hour of bulk operations (strongly consistent).
    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError>;

    /// Adds an upload, gives it the slot and counts it in the month, in one transaction, on condition that the slot is
    /// held as it says.
    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
        slot: &UploadSlot,
    ) -> Result<(), AddUploadError>;

    /// The partition's uploads that are open at `now`.
    async fn open_uploads(&self, partition: &Partition, now: Timestamp) -> Result<OpenUploads, PortError>;

    /// An upload (strongly consistent), expired or not, for [`model::UPLOAD_MEMORY`].
    async fn upload(&self, partition: &Partition, id: &UploadId) -> Result<Option<Upload>, PortError>;

    /// The entry of an idempotency key (strongly consistent), unless it has expired by `now`.
    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError>;
}
