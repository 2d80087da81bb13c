//! Plans and counters in memory.

use async_trait::async_trait;
use jiff::Timestamp;
use model::{
    IdempotencyEntry, IdempotencyKey, Month, OpenUploads, Partition, Pool, Reservation, Tenant, TenantId, Upload,
    UploadId, UploadSlot, Window,
};
use ports::{AddUploadError, MonthUsage, PortError, UsageStore};

use super::Memory;

#[async_trait]
impl UsageStore for Memory {
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError> {
        Ok(self.lock().tenants.get(tenant).cloned())
    }

    async fn save_tenant(&self, tenant: &Tenant, before: Option<&Tenant>) -> Result<bool, PortError> {
        let mut state = self.lock();
        let is_as_before = state.tenants.get(&tenant.id) == before;
        if is_as_before {
            state.tenants.insert(tenant.id.clone(), tenant.clone());
        }
        Ok(is_as_before)
    }

    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError> {
        let mut state = self.lock();
        let count = state.minutes.entry((tenant.clone(), now.as_second().div_euclid(60))).or_default();
        *count += 1;
        Ok(*count)
    }

    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError> {
        let state = self.lock();
        let of = |pool| state.months.get(&(tenant.clone(), pool, month.clone())).copied().unwrap_or(0);
        Ok(MonthUsage { live: of(Pool::Live), test: of(Pool::Test), shared: of(Pool::Shared) })
    }

    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError> {
        let mut state = self.lock();
        let count = state.months.entry((tenant.clone(), pool, month.clone())).or_default();
        *count += 1;
        Ok(*count)
    }

    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError> {
        Ok(self.lock().windows.get(tenant).cloned().unwrap_or_default())
    }

    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
        slot: &UploadSlot,
    ) -> Result<(), AddUploadError> {
        let mut state = self.lock();
        let place = (partition.clone(), slot.number);
        if state.upload_slots.get(&place) != slot.holder.as_ref() {
            return Err(AddUploadError::Conflict);
        }
        let month = (partition.tenant.clone(), reservation.pool, reservation.month.clone());
        let used = state.months.entry(month).or_default();
        if month_limit.is_some_and(|limit| *used + reservation.requests > limit) {
            return Err(AddUploadError::MonthFull);
        }
        *used += reservation.requests;
        state.upload_slots.insert(place, upload.id.clone());
        state.uploads.insert((partition.clone(), upload.id.clone()), upload.clone());
        Ok(())
    }

    async fn open_uploads(&self, partition: &Partition, now: Timestamp) -> Result<OpenUploads, PortError> {
        let state = self.lock();
        let of_partition = state.uploads.iter().filter(|((of, _), _)| of == partition).map(|(_, upload)| upload);
        let oldest = Upload::oldest_open(now);
        let recent = of_partition.filter(|upload| upload.id >= oldest).cloned().collect();
        let holder = |number| state.upload_slots.get(&(partition.clone(), number)).cloned();
        Ok(OpenUploads { recent, holders: std::array::from_fn(holder) })
    }

    async fn upload(&self, partition: &Partition, id: &UploadId) -> Result<Option<Upload>, PortError> {
        Ok(self.lock().uploads.get(&(partition.clone(), id.clone())).cloned())
    }

    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError> {
        let state = self.lock();
        let entry = state.idempotency.get(&(partition.clone(), key.as_str().to_owned()));
        Ok(entry.filter(|entry| entry.expires_at > now).cloned())
    }
}
