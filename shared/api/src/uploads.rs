//! Uploads: the way for batches that are too large for a call.

use std::sync::Arc;

use jiff::Timestamp;
use model::{
    Month, ObjectKey, Principal, Reservation, UPLOAD_LIFETIME, URL_LIFETIME, Upload, UploadId, UploadSlot, after,
};
use ports::{AddUploadError, Backoff, Clock, IdSource, PortError, RetryPolicy, SignedUrl, UrlSigner, UsageStore};

/// Uploads that are created at once draw the same slot now and then.
const RACES: RetryPolicy = RetryPolicy::new(40, 20, 800);

/// Why no upload was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateUploadError {
    /// The month's pool is used up.
    #[error("monthly quota exceeded")]
    MonthFull,
    /// The partition has too many open uploads; one closes then.
    #[error("too many open uploads")]
    TooManyOpen { until: Timestamp },
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Creates uploads.
pub struct Uploader {
    pub usage: Arc<dyn UsageStore>,
    pub signer: Arc<dyn UrlSigner>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

impl Uploader {
    /// A new upload of the caller's, of just so many bytes, and the URL to put it to.
    pub async fn create(&self, who: &Principal, bytes: u64) -> Result<(UploadId, SignedUrl), CreateUploadError> {
        let now = self.clock.now();
        let id = UploadId::new(now, self.ids.random());
        let upload = Upload { id: id.clone(), expires_at: after(now, UPLOAD_LIFETIME), used_by: None };
        let pool = who.tenant.plan.pool(who.partition.environment);
        let reservation = Reservation { pool, month: Month::of(now), requests: 1 };
        let limit = who.tenant.refusing_limit(who.partition.environment);
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        loop {
            let open = self.usage.open_uploads(&who.partition, now).await?;
            let Some(slot) = self.draw(open.free_slots(now)) else {
                // The oldest ones close first.
                let closes_at = open.open(now).map(Upload::closes_at).min().unwrap_or(now);
                return Err(CreateUploadError::TooManyOpen { until: closes_at });
            };
            match self.usage.create_upload(&who.partition, &upload, &reservation, limit, &slot).await {
                Ok(()) => break,
                Err(AddUploadError::MonthFull) => return Err(CreateUploadError::MonthFull),
                Err(AddUploadError::Port(error)) => return Err(error.into()),
                Err(AddUploadError::Conflict) => {}
            }
            // The try whose answer was lost may have been this call's own.
            if self.usage.upload(&who.partition, &id).await?.is_some() {
                break;
            }
            if !races.wait().await {
                return Err(PortError::unavailable("create upload", "lost every race").into());
            }
        }
        let key = ObjectKey::upload(&who.partition, &id);
        let url = self.signer.sign_upload(&who.partition, &key, bytes, now, after(now, URL_LIFETIME)).await?;
        Ok((id, url))
    }

    /// Any of the slots: who comes at once should not meet at the first.
    fn draw(&self, mut free: Vec<UploadSlot>) -> Option<UploadSlot> {
        let count = free.len() as u128;
        let drawn = self.ids.random().checked_rem(count)?;
        Some(free.swap_remove(usize::try_from(drawn).ok()?))
    }
}
