//! Putting a file together inside the store, out of its chunks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{MultipartId, ObjectKey, Partition};
use ports::{Backoff, IdSource, MultipartStore, PortError, RetryPolicy, UploadError, UploadedPart, retry};
use tokio::time::Instant;

use super::file_writer::{AssembledFile, Cut, FileWriter};
use crate::driver::{Deadlines, Tasks};

/// Chunks that are copied at once, at first and after the store was throttling.
const MIN_CONCURRENCY: usize = 16;

/// Chunks that are copied at once, while the store takes all.
const MAX_CONCURRENCY: usize = 64;

/// A copy that fails, without one that succeeds in between.
const COPIES: RetryPolicy = RetryPolicy::new(6, 100, 5_000);

/// Rounds of listing, copying what is missing, and completing.
const ROUNDS: u32 = 4;

/// How often a file is begun to be put together at most, its upload being gone each time.
pub(crate) const MAX_ASSEMBLIES: u32 = 3;

/// Looks at an object that may have become visible. A Complete whose answer was lost may take minutes.
const LOOKS: RetryPolicy = RetryPolicy::new(6, 500, 5_000);

/// Why a file was not put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssemblyError {
    /// The upload has ended, and the object does not exist: it has to be begun anew.
    #[error("multipart upload is gone")]
    UploadGone,
    /// A chunk does not exist.
    #[error("chunk is gone")]
    ChunkMissing,
    #[error("time is over")]
    TimeOver,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What a file is put together with.
pub(crate) struct Assembly<'a, P> {
    /// All of its chunks have arrived.
    pub(crate) file: &'a FileWriter<P>,
    pub(crate) store: &'a Arc<dyn MultipartStore>,
    pub(crate) ids: &'a Arc<dyn IdSource>,
    pub(crate) key: &'a ObjectKey,
    pub(crate) upload: &'a MultipartId,
    /// Copies begin until the slice ends; the step that makes the file visible only when it can take its whole time.
    pub(crate) deadlines: Deadlines,
}

impl<P: 'static> Assembly<'_, P> {
    /// Copies what is missing and makes the file visible. May be repeated by whoever holds the lease; tells how many
    /// chunks are copied.
    pub(crate) async fn run(&self, mut copied: impl FnMut(u32)) -> Result<AssembledFile, AssemblyError> {
        for _ in 0..ROUNDS {
            let Some(listed) = self.listed().await? else { return self.look().await };
            let there: BTreeSet<u32> = listed.iter().map(|part| part.number).collect();
            self.copy_missing(there, &mut copied).await?;
            // ETags are never assumed: what is there is listed directly before.
            let Some(parts) = self.listed().await? else { return self.look().await };
            let is_whole = parts.iter().map(|part| part.number).eq(1..=self.file.arrived.chunks.count());
            if !is_whole {
                continue;
            }
            if Instant::now() >= self.deadlines.complete_by {
                return Err(AssemblyError::TimeOver);
            }
            self.file.guard.renew().await;
            let bytes = self.file.arrived.bytes;
            match self.store.complete(self.partition(), self.key, self.upload, &parts, bytes).await {
                Ok(()) | Err(UploadError::Ended) => return self.look().await,
                Err(UploadError::InvalidPart | UploadError::SourceMissing) => {}
                Err(UploadError::Port(error)) if !error.is_transient() => return Err(error.into()),
                // It may have become visible all the same.
                Err(UploadError::Port(error)) => match self.look().await {
                    Err(AssemblyError::UploadGone) => return Err(error.into()),
                    looked => return looked,
                },
            }
        }
        Err(PortError::unavailable("complete upload", "parts do not stay").into())
    }

    /// The parts that are there; `None` when the upload has ended.
    async fn listed(&self) -> Result<Option<Vec<UploadedPart>>, AssemblyError> {
        self.file.guard.may_call().await;
        match self.store.list_parts(self.partition(), self.key, self.upload).await {
            Ok(parts) => Ok(Some(parts)),
            Err(UploadError::Port(error)) => Err(error.into()),
            Err(UploadError::Ended | UploadError::InvalidPart | UploadError::SourceMissing) => Ok(None),
        }
    }

    async fn copy_missing(&self, mut there: BTreeSet<u32>, copied: &mut impl FnMut(u32)) -> Result<(), AssemblyError> {
        let all = 1..=self.file.arrived.chunks.count();
        let mut missing: Vec<u32> = all.rev().filter(|number| !there.contains(number)).collect();
        let mut copies = Tasks::default();
        let mut concurrency = MIN_CONCURRENCY;
        let mut backoff = Backoff::new(COPIES, self.ids.as_ref());
        // The last copy's error, if it has failed: a slice that ends so is a deferral.
        let mut failed = None;
        copied(count(&there));
        loop {
            let makes_room = Instant::now() >= self.deadlines.slice_ends;
            while !makes_room
                && copies.len() < concurrency
                && let Some(number) = missing.pop()
            {
                copies.begin(self.copy(number)?);
            }
            if copies.is_empty() {
                return match failed {
                    _ if missing.is_empty() => Ok(()),
                    Some(error) => Err(AssemblyError::Port(error)),
                    None => Err(AssemblyError::TimeOver),
                };
            }
            let Some((number, ended)) = copies.next(far_away()).await else { continue };
            match ended {
                Ok(()) => {
                    there.insert(number);
                    copied(count(&there));
                    backoff.reset();
                    failed = None;
                    concurrency = (concurrency + 1).min(MAX_CONCURRENCY);
                }
                Err(UploadError::SourceMissing) => return Err(AssemblyError::ChunkMissing),
                // Whoever has ended the upload: the file is there or not.
                Err(UploadError::Ended | UploadError::InvalidPart) => return self.look().await.map(drop),
                Err(UploadError::Port(error)) => {
                    missing.push(number);
                    concurrency = MIN_CONCURRENCY;
                    if !error.is_transient() || !backoff.wait().await {
                        return Err(error.into());
                    }
                    failed = Some(error);
                }
            }
        }
    }

    /// The step that copies a chunk.
    fn copy(&self, number: u32) -> Result<impl Future<Output = (u32, Result<(), UploadError>)> + use<P>, PortError> {
        let from = self.file.arrived.chunks.key(&self.file.name, number);
        let from = from.ok_or_else(|| PortError::defect("copy chunk", "chunk is not in the list"))?;
        let (store, guard, partition) = (self.store.clone(), self.file.guard.clone(), self.partition().clone());
        let (key, upload) = (self.key.clone(), self.upload.clone());
        Ok(async move {
            guard.may_call().await;
            (number, store.copy_part(&partition, &key, &upload, number, &from).await)
        })
    }

    /// The file, if it is there in its full length: only looking tells.
    async fn look(&self) -> Result<AssembledFile, AssemblyError> {
        let may_come = |error: &AssemblyError| match error {
            AssemblyError::UploadGone => true,
            AssemblyError::Port(error) => error.is_transient(),
            AssemblyError::ChunkMissing | AssemblyError::TimeOver => false,
        };
        retry(LOOKS, self.ids.as_ref(), may_come, || self.look_once()).await
    }

    async fn look_once(&self) -> Result<AssembledFile, AssemblyError> {
        let Cut { digest, records, bytes, .. } = &self.file.arrived;
        match self.file.objects.head(self.partition(), self.key).await? {
            Some(head) if head.size == *bytes => {
                Ok(AssembledFile { records: *records, bytes: *bytes, sha256: digest.clone().finish() })
            }
            Some(_) => Err(PortError::defect("look at file", "it has another length").into()),
            None => Err(AssemblyError::UploadGone),
        }
    }

    fn partition(&self) -> &Partition {
        &self.file.name.partition
    }
}

fn count(there: &BTreeSet<u32>) -> u32 {
    u32::try_from(there.len()).unwrap_or(u32::MAX)
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(24)
}
