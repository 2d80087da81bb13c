//! Writing a file in parts: a bounded number of uploads in flight, complete only when all parts are there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::ObjectKey;
use crate::identity::{Partition, sha256_hex};
use crate::ports::{MultipartId, MultipartStore, ObjectStore, PortError, UploadError, UploadedPart};

/// Looks at the object of an upload that has ended, before it counts as lost: a Complete whose answer was lost may
/// take minutes.
const LOOKS: u32 = 5;

/// The wait between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of a file, as a checkpoint keeps them: which numbers are valid, and a running hash over numbers and
/// ETags. The ETags themselves are with S3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    /// First and last number of each unbroken run.
    runs: Vec<(u32, u32)>,
    digest: String,
}

impl Parts {
    pub(crate) fn push(&mut self, part: &UploadedPart) {
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == part.number => *last = part.number,
            _ => self.runs.push((part.number, part.number)),
        }
        self.digest = sha256_hex(&[self.digest.as_bytes(), &part.number.to_be_bytes(), part.etag.as_bytes()]);
    }

    /// The parts among those listed; `None` when any is missing or of other content.
    fn select(&self, listed: Vec<UploadedPart>) -> Option<Vec<UploadedPart>> {
        let is_ours = |number: u32| self.runs.iter().any(|(first, last)| (*first..=*last).contains(&number));
        let parts: Vec<_> = listed.into_iter().filter(|part| is_ours(part.number)).collect();
        let mut found = Self::default();
        for part in &parts {
            found.push(part);
        }
        (found == *self).then_some(parts)
    }
}

/// Why a file could not be made whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompleteError {
    /// The upload has ended without the file, or its parts are not those that were written.
    #[error("parts of the file are gone")]
    Lost,
    #[error(transparent)]
    Port(#[from] PortError),
}

struct Sent<M> {
    part: UploadedPart,
    content: Bytes,
    mark: M,
}

/// A file that is written in parts. Nothing is visible before it is complete. The upload is begun by its first part;
/// each part comes back with the caller's mark, in order, once it and all parts before it have arrived.
pub(crate) struct MultipartWriter<M> {
    store: Arc<dyn MultipartStore>,
    partition: Partition,
    key: ObjectKey,
    upload: Arc<OnceCell<MultipartId>>,
    next_number: u32,
    max_in_flight: usize,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Sent<M>, UploadError>>>,
    parts: Parts,
}

impl<M: Send + 'static> MultipartWriter<M> {
    pub(crate) fn new(
        store: Arc<dyn MultipartStore>,
        partition: &Partition,
        key: ObjectKey,
        max_in_flight: usize,
    ) -> Self {
        Self {
            store,
            partition: partition.clone(),
            key,
            upload: Arc::default(),
            next_number: 1,
            max_in_flight,
            in_flight: FuturesOrdered::new(),
            parts: Parts::default(),
        }
    }

    /// Goes on with an upload behind the parts that have arrived.
    pub(crate) fn resume(mut self, upload: MultipartId, parts: Parts, next_number: u32) -> Self {
        self.upload = Arc::new(OnceCell::new_with(Some(upload)));
        (self.parts, self.next_number) = (parts, next_number);
        self
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The upload, once it is begun.
    pub(crate) fn upload(&self) -> Option<&MultipartId> {
        self.upload.get()
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.next_number
    }

    /// Whether any part has been cut, so that the file cannot be written whole any more.
    pub(crate) fn has_begun(&self) -> bool {
        self.next_number > 1
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.max_in_flight
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Begins to upload the next part.
    pub(crate) fn cut(&mut self, content: Bytes, mark: M) {
        let number = self.next_number;
        self.next_number += 1;
        let (store, partition, key) = (self.store.clone(), self.partition.clone(), self.key.clone());
        let upload = self.upload.clone();
        self.in_flight.push_back(Box::pin(async move {
            let upload = upload.get_or_try_init(|| store.begin(&partition, &key)).await?;
            let part = store.upload_part(&partition, &key, upload, number, content.clone()).await?;
            Ok(Sent { part, content, mark })
        }));
    }

    /// The next part that has arrived with all parts before it, or `None` when none is in flight.
    pub(crate) async fn arrived(&mut self) -> Option<Result<(Bytes, M), UploadError>> {
        let sent = self.in_flight.next().await?;
        Some(sent.map(|Sent { part, content, mark }| {
            self.parts.push(&part);
            (content, mark)
        }))
    }

    /// Makes the file of `size` bytes visible, whole. May be repeated.
    pub(crate) async fn complete(&mut self, objects: &dyn ObjectStore, size: u64) -> Result<(), CompleteError> {
        let Some(upload) = self.upload() else { return Err(CompleteError::Lost) };
        let completed = match self.store.list_parts(&self.partition, &self.key, upload).await {
            Ok(listed) => {
                let parts = self.parts.select(listed).ok_or(CompleteError::Lost)?;
                self.store.complete(&self.partition, &self.key, upload, &parts, size).await
            }
            Err(error) => Err(error),
        };
        match completed {
            Ok(()) => Ok(()),
            Err(UploadError::Port(error)) => Err(error.into()),
            // Completed by an earlier try, if the file is there in its full length.
            Err(UploadError::Ended) => {
                for look in 0..LOOKS {
                    if look > 0 {
                        tokio::time::sleep(LOOK_INTERVAL).await;
                    }
                    if objects.head(&self.partition, &self.key).await?.is_some_and(|head| head.size == size) {
                        return Ok(());
                    }
                }
                Err(CompleteError::Lost)
            }
        }
    }

    /// Aborts the upload, if it was begun. What cannot be cleared away goes with the bucket's lifecycle.
    pub(crate) async fn abort(mut self) {
        self.in_flight.clear();
        let Some(upload) = self.upload.get() else { return };
        if let Err(error) = self.store.abort(&self.partition, &self.key, upload).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "abort multipart upload");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, etag: &str) -> UploadedPart {
        UploadedPart { number, etag: etag.to_owned() }
    }

    #[test]
    fn parts_are_found_again_and_only_they() {
        let mut parts = Parts::default();
        for number in [1, 2, 19, 20] {
            parts.push(&part(number, "x"));
        }
        assert_eq!(parts.runs, [(1, 2), (19, 20)]);
        let listed = |number: u32, etag| [1, 2, 3, 19].map(|n| part(n, "x")).into_iter().chain([part(number, etag)]);
        let selected = parts.select(listed(20, "x").collect()).unwrap();
        assert_eq!(selected.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 19, 20]);
        assert_eq!(parts.select(listed(20, "y").collect()), None, "of other content");
        assert_eq!(parts.select(listed(21, "x").collect()), None, "missing");
    }
}
