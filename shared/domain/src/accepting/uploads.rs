//! Uploads: the way for batches that are too large for a call.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::ObjectKey;
use crate::identity::{Principal, UploadId};
use crate::jobs::Reservation;
use crate::limits::Month;
use crate::ports::{AddUploadError, Clock, IdSource, PortError, SignedUrl, UploadSlot, UrlSigner, UsageStore};
use crate::retry::{Backoff, RetryPolicy};
use crate::timings::after;

/// The most bytes of an upload, as it is uploaded and once inflated (openapi.yaml).
pub const MAX_UPLOAD_BYTES: u64 = 104_857_600;

/// For how long an upload's URL takes it.
const URL_LIFETIME: Duration = Duration::from_hours(1);

/// For how long an upload can be imported: whoever uploads in the last minute has time to say so.
const UPLOAD_LIFETIME: Duration = Duration::from_hours(24);

/// Uploads of a partition whose URLs still work and that no import has used: a key that has leaked must not fill the
/// bucket.
pub const MAX_OPEN_UPLOADS: usize = 20;

/// Uploads that are created at once draw the same slot now and then.
const RACES: RetryPolicy = RetryPolicy::new(40, 20, 800);

/// A place that a client may upload one batch to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Until when it can be imported.
    pub expires_at: Timestamp,
    /// Whether an import has taken it.
    #[serde(skip)]
    pub used: bool,
}

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

/// When an upload's URL ends.
fn closes_at(upload: &Upload) -> Timestamp {
    let left = UPLOAD_LIFETIME.saturating_sub(URL_LIFETIME);
    upload.expires_at - SignedDuration::try_from(left).unwrap_or_default()
}

impl Upload {
    /// All uploads that are open at `now` have this id or a later one: ids sort by time.
    #[must_use]
    pub fn oldest_open(now: Timestamp) -> UploadId {
        UploadId::new(now - SignedDuration::try_from(URL_LIFETIME).unwrap_or_default(), 0)
    }

    /// Whether something may still be uploaded, or imported for the first time within the URL's time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        !self.used && closes_at(self) > now
    }
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
        let upload = Upload { id: id.clone(), expires_at: after(now, UPLOAD_LIFETIME), used: false };
        let pool = who.tenant.plan.pool(who.partition.environment);
        let reservation = Reservation { pool, month: Month::of(now), requests: 1 };
        let limit = who.tenant.refusing_limit(who.partition.environment);
        let mut races = Backoff::new(RACES, self.ids.as_ref());
        loop {
            let open = self.usage.open_uploads(&who.partition, now).await?;
            let Some(slot) = self.draw(open.free_slots()) else {
                // The oldest ones close first.
                let closes_at = open.uploads.iter().map(closes_at).min().unwrap_or(now);
                return Err(CreateUploadError::TooManyOpen { until: closes_at });
            };
            match self.usage.create_upload(&who.partition, &upload, &reservation, limit, &slot).await {
                Ok(()) => break,
                Err(AddUploadError::MonthFull) => return Err(CreateUploadError::MonthFull),
                Err(AddUploadError::Port(error)) => return Err(error.into()),
                Err(AddUploadError::Conflict) => {}
            }
            // The try whose answer was lost may have been this call's own.
            if self.usage.upload(&who.partition, &id, now).await?.is_some() {
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
