//! Where files are kept.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::{KeyPrefix, MultipartId, ObjectKey, Partition};

use crate::error::PortError;

/// The bytes of an object as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, PortError>>;

/// What came of reading an object.
pub enum Fetched {
    /// The bytes from the one that was asked for on: exactly they, or the call fails.
    Content {
        /// Of the content that they are of.
        etag: String,
        /// How many bytes the whole object has.
        size: u64,
        /// May break, and may end too early: whoever reads compares.
        body: ByteStream,
    },
    Missing,
    /// There is one, of other content than was asked for.
    Changed,
}

/// An object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// In bytes.
    pub size: u64,
    pub etag: String,
}

/// Why a multipart upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload: it was completed or aborted.
    #[error("multipart upload has ended")]
    Ended,
    /// What is to be copied does not exist.
    #[error("source of the copy does not exist")]
    SourceMissing,
    /// A part that was named is not there, or not in that content.
    #[error("part is not there")]
    InvalidPart,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedPart {
    /// Its place in the file, from 1.
    pub number: u32,
    pub etag: String,
}

/// A URL that opens one object for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// As good as a key, so never logged.
    pub url: String,
    /// The latest moment at which it can work.
    pub expires_at: Timestamp,
}

/// Keeps whole objects.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError>;

    /// Reads an object from byte `from` on; with `etag` only that content of it.
    async fn get(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        etag: Option<&str>,
        from: u64,
    ) -> Result<Fetched, PortError>;

    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError>;
}

/// Puts whole objects together inside the store. Nothing is visible before an upload is completed.
#[async_trait]
pub trait MultipartStore: Send + Sync {
    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError>;

    /// Copies a whole object, of at least 5 MiB unless it is the last, as one part.
    async fn copy_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        from: &ObjectKey,
    ) -> Result<(), UploadError>;

    /// All parts that have arrived, by number.
    async fn list_parts(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
    ) -> Result<Vec<UploadedPart>, UploadError>;

    /// Makes the object of these parts, in order and `size` bytes in all, visible at once. Whether it is there is only
    /// known by looking.
    async fn complete(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError>;
}

/// Deletes files.
#[async_trait]
pub trait FileRemover: Send + Sync {
    /// Deletes all objects whose keys begin so, but for those to keep, and aborts all multipart uploads to such keys.
    /// Returns how many there were; may be repeated.
    async fn remove(&self, partition: &Partition, prefix: &KeyPrefix, keep: &[ObjectKey]) -> Result<u64, PortError>;
}

/// Signs URLs: arithmetic, no call.
#[async_trait]
pub trait UrlSigner: Send + Sync {
    /// A URL that takes one object's content of just so many bytes by PUT until then.
    async fn sign_upload(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        bytes: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError>;

    /// A URL that downloads the object under a file name, as of this media type, until then.
    async fn sign_download(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        (file_name, media_type): (&str, &str),
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError>;
}
