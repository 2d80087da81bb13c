//! Uploads: the way for batches that are too large for a call.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, UploadId};

/// The most bytes of an upload, as it is uploaded and once inflated (openapi.yaml).
pub const MAX_UPLOAD_BYTES: u64 = 104_857_600;

/// For how long an upload's URL takes it.
pub const URL_LIFETIME: Duration = Duration::from_hours(1);

/// For how long an upload can be imported: whoever uploads in the last minute has time to say so.
pub const UPLOAD_LIFETIME: Duration = Duration::from_hours(24);

/// For how long it is known what became of an upload: longer than jobs are kept by default, so that whoever lost the answer to a
/// start learns whether it was accepted.
pub const UPLOAD_MEMORY: Duration = Duration::from_hours(8 * 24);

/// Uploads of a partition whose URLs still work and that no import has used: a key that has leaked must not fill the
/// bucket.
pub const MAX_OPEN_UPLOADS: usize = 20;

/// A place that a client may upload one batch to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Until when it can be imported.
    pub expires_at: Timestamp,
    /// The import that has taken it.
    #[serde(skip)]
    pub used_by: Option<JobId>,
}

impl Upload {
    /// When its URL ends.
    #[must_use]
    pub fn closes_at(&self) -> Timestamp {
        self.expires_at - UPLOAD_LIFETIME.saturating_sub(URL_LIFETIME)
    }

    /// All uploads that are open at `now` have this id or a later one: ids sort by time.
    #[must_use]
    pub fn oldest_open(now: Timestamp) -> UploadId {
        UploadId::new(now - URL_LIFETIME, 0)
    }

    /// Whether something may still be uploaded, or imported for the first time within the URL's time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.used_by.is_none() && self.closes_at() > now
    }
}

/// The uploads that may be open, used ones among them, and who holds the slots for open ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenUploads {
    /// All that were created within a URL's time.
    pub recent: Vec<Upload>,
    /// By slot: the upload that took it last.
    pub holders: [Option<UploadId>; MAX_OPEN_UPLOADS],
}

/// A slot that an open upload may take. Whoever takes it says who held it, so that of two at once one gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSlot {
    pub number: usize,
    pub holder: Option<UploadId>,
}

impl OpenUploads {
    /// Those that are open.
    pub fn open(&self, now: Timestamp) -> impl Iterator<Item = &Upload> {
        self.recent.iter().filter(move |upload| upload.is_open(now))
    }

    /// The slots that are certainly free: nobody has held them within a URL's time, or the upload that holds one is used. A
    /// holder whose upload is not among the recent ones was added a moment ago, and is not visible yet.
    #[must_use]
    pub fn free_slots(&self, now: Timestamp) -> Vec<UploadSlot> {
        let oldest = Upload::oldest_open(now);
        let is_closed =
            |id: &UploadId| *id < oldest || self.recent.iter().any(|upload| upload.id == *id && !upload.is_open(now));
        let slots = self.holders.iter().cloned().enumerate().map(|(number, holder)| UploadSlot { number, holder });
        slots.filter(|slot| slot.holder.as_ref().is_none_or(is_closed)).collect()
    }
}
