//! Writing a file of any size in bounded memory: small ones whole, large ones in parts.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use ndjson::PartRoller;

use crate::ids::Partition;
use crate::object_key::ObjectKey;
use crate::ports::{MultipartId, ObjectStore, PortError, UploadError, UploadedPart};

/// Parts that are uploaded at a time; each holds its bytes in memory.
const PARTS_IN_FLIGHT: usize = 2;

/// A file in the making. Nothing is visible before [`finish`](Self::finish).
pub(crate) struct FileWriter<'a> {
    objects: &'a dyn ObjectStore,
    partition: &'a Partition,
    key: &'a ObjectKey,
    roller: PartRoller,
    upload: Option<MultipartId>,
    next_number: u32,
    size: u64,
    uploading: FuturesUnordered<BoxFuture<'a, Result<UploadedPart, UploadError>>>,
    uploaded: Vec<UploadedPart>,
}

impl<'a> FileWriter<'a> {
    /// A file in parts of `part_size`.
    pub(crate) fn new(
        objects: &'a dyn ObjectStore,
        partition: &'a Partition,
        key: &'a ObjectKey,
        part_size: usize,
    ) -> Self {
        Self {
            objects,
            partition,
            key,
            roller: PartRoller::new(part_size),
            upload: None,
            next_number: 1,
            size: 0,
            uploading: FuturesUnordered::new(),
            uploaded: Vec::new(),
        }
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.roller.push(bytes);
    }

    /// Whether another part could be uploaded at once; when not, wait for
    /// [`next_part_done`](Self::next_part_done) before pushing more.
    pub(crate) fn has_room(&self) -> bool {
        self.uploading.len() < PARTS_IN_FLIGHT
    }

    /// Whether any part is being uploaded.
    pub(crate) fn is_uploading(&self) -> bool {
        !self.uploading.is_empty()
    }

    /// Begins to upload the parts that are full.
    pub(crate) async fn upload_full_parts(&mut self) -> Result<(), PortError> {
        while let Some(part) = self.roller.next_part() {
            while !self.has_room() {
                self.next_part_done().await?;
            }
            self.begin_part(part).await?;
        }
        Ok(())
    }

    async fn begin_part(&mut self, content: Bytes) -> Result<(), PortError> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => self.upload.insert(self.objects.begin(self.partition, self.key).await?).clone(),
        };
        let (objects, partition, key) = (self.objects, self.partition, self.key);
        let number = self.next_number;
        self.next_number += 1;
        self.size += content.len() as u64;
        self.uploading
            .push(Box::pin(async move { objects.upload_part(partition, key, &upload, number, content).await }));
        Ok(())
    }

    /// Waits for one part to arrive.
    pub(crate) async fn next_part_done(&mut self) -> Result<(), PortError> {
        if let Some(part) = self.uploading.next().await {
            self.uploaded.push(part.map_err(unexpected)?);
        }
        Ok(())
    }

    /// Makes the file visible, whole.
    pub(crate) async fn finish(mut self) -> Result<(), PortError> {
        let written = self.finish_upload().await;
        if written.is_err() {
            self.abort().await;
        }
        written
    }

    async fn finish_upload(&mut self) -> Result<(), PortError> {
        let roller = std::mem::replace(&mut self.roller, PartRoller::new(1));
        let tail = roller.into_tail();
        if self.upload.is_none() {
            return self.objects.put(self.partition, self.key, tail).await;
        }
        if !tail.is_empty() {
            self.begin_part(tail).await?;
        }
        while self.is_uploading() {
            self.next_part_done().await?;
        }
        self.uploaded.sort_unstable_by_key(|part| part.number);
        let Some(upload) = &self.upload else { return Ok(()) };
        let completed = self.objects.complete(self.partition, self.key, upload, &self.uploaded, self.size).await;
        match completed {
            // An earlier try whose answer was lost: the key has the worker's token, nobody else writes it.
            Err(UploadError::Ended) => match self.objects.head(self.partition, self.key).await? {
                Some(head) if head.size == self.size => Ok(()),
                Some(_) | None => Err(unexpected(UploadError::Ended)),
            },
            completed => completed.map_err(unexpected),
        }
    }

    /// Gives the file up. What cannot be cleared away goes with the bucket's lifecycle.
    pub(crate) async fn abort(mut self) {
        self.uploading.clear();
        let Some(upload) = &self.upload else { return };
        if let Err(error) = self.objects.abort(self.partition, self.key, upload).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "abort upload");
        }
    }
}

/// The upload is this worker's own: nobody else ends it.
fn unexpected(error: UploadError) -> PortError {
    match error {
        UploadError::Ended => {
            PortError::Unavailable { operation: "write file in parts", cause: "upload has ended".into() }
        }
        UploadError::Port(error) => error,
    }
}
