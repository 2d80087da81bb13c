//! Where files are kept.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PortError;
use crate::ids::Partition;
use crate::object_key::ObjectKey;

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
