//! Where an import's bytes come from: plain, or inflated on the way.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::Fuse;

use super::ImportWorker;
use crate::accepting::MAX_UPLOAD_BYTES;
use crate::files::{Inflater, ObjectKey};
use crate::identity::Partition;
use crate::jobs::{FailureReason, ImportSource, WorkError};
use crate::ports::{ByteStream, Fetched, PortError};
use crate::retry::{Backoff, RetryPolicy};

/// How gzip begins (RFC 1952). No line of NDJSON begins so.
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// So much gzip is inflated at a time: it becomes a thousand times as much at worst.
const INFLATE_BYTES: usize = 1_024;

/// A source that is cut off is read on, so often without a byte in between.
const CUT_OFF: RetryPolicy = RetryPolicy::new(5, 100, 2_000);

/// The bytes of an import, in pieces of bounded size.
pub(super) struct Source<'a> {
    raw: RawSource<'a>,
    inflater: Option<Inflater>,
    /// What has arrived and is not handed out yet.
    arrived: Bytes,
    at_start: bool,
    /// The bytes handed out so far.
    size: u64,
}

/// The bytes as they are kept. A slow reader's connection may be cut: it is read on by range.
struct RawSource<'a> {
    worker: &'a ImportWorker,
    partition: &'a Partition,
    key: &'a ObjectKey,
    etag: String,
    /// Fused: a body must not be asked again after its end.
    body: Fuse<ByteStream>,
    read: u64,
}

impl ImportWorker {
    pub(super) async fn open<'a>(
        &'a self,
        partition: &'a Partition,
        source: &'a ImportSource,
    ) -> Result<Source<'a>, WorkError> {
        let pinned = match source {
            ImportSource::Inline { .. } => None,
            ImportSource::Upload { etag, .. } => Some(etag.as_str()),
        };
        let key = source.key();
        let (etag, body) = content(self.objects.get(partition, key, pinned, 0).await?)?;
        let raw = RawSource { worker: self, partition, key, etag, body: body.fuse(), read: 0 };
        Ok(Source { raw, inflater: None, arrived: Bytes::new(), at_start: true, size: 0 })
    }
}

fn content(fetched: Fetched) -> Result<(String, ByteStream), WorkError> {
    match fetched {
        Fetched::Content { etag, body } => Ok((etag, body)),
        Fetched::Missing => Err(WorkError::Impossible(FailureReason::SourceMissing)),
        Fetched::Changed => Err(WorkError::Impossible(FailureReason::UploadChanged)),
    }
}

impl RawSource<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, WorkError> {
        let mut backoff = Backoff::new(CUT_OFF, self.worker.driver.ids.as_ref());
        loop {
            let error: PortError = match self.body.next().await {
                None => return Ok(None),
                Some(Ok(piece)) => {
                    self.read += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Some(Err(error)) => error,
            };
            if !backoff.wait().await {
                return Err(error.into());
            }
            match self.worker.objects.get(self.partition, self.key, Some(&self.etag), self.read).await {
                Ok(fetched) => self.body = content(fetched)?.1.fuse(),
                // The old body has ended: it is asked for again after the next wait.
                Err(error) => self.body = futures::stream::iter([Err(error)]).boxed().fuse(),
            }
        }
    }
}

impl Source<'_> {
    /// The bytes handed out so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WorkError> {
        // A small upload that inflates to a large one is all there at once: reading it must not keep the lease from
        // being renewed.
        tokio::task::yield_now().await;
        let Some(piece) = self.next_piece().await? else { return Ok(None) };
        self.size += piece.len() as u64;
        if self.size > MAX_UPLOAD_BYTES {
            return Err(WorkError::Impossible(FailureReason::UploadTooLarge));
        }
        Ok(Some(piece))
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, WorkError> {
        let unreadable = |_| WorkError::Impossible(FailureReason::UploadUnreadable);
        // Two bytes tell gzip, and may arrive one by one.
        while self.arrived.is_empty() || (self.at_start && self.arrived.len() < GZIP_MAGIC.len()) {
            let Some(chunk) = self.raw.next().await? else { break };
            self.arrived =
                if self.arrived.is_empty() { chunk } else { [self.arrived.as_ref(), &chunk].concat().into() };
        }
        if std::mem::replace(&mut self.at_start, false) && self.arrived.starts_with(&GZIP_MAGIC) {
            self.inflater = Some(Inflater::default());
        }
        let Some(inflater) = &mut self.inflater else {
            let arrived = std::mem::take(&mut self.arrived);
            return Ok((!arrived.is_empty()).then_some(arrived));
        };
        if self.arrived.is_empty() {
            // The checks of the last member happen here.
            let rest = self.inflater.take().map(Inflater::finish).transpose().map_err(unreadable)?;
            return Ok(rest.filter(|rest| !rest.is_empty()).map(Bytes::from));
        }
        let piece = self.arrived.split_to(INFLATE_BYTES.min(self.arrived.len()));
        Ok(Some(inflater.push(&piece).map_err(unreadable)?.into()))
    }
}
