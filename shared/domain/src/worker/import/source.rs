//! Where an import's bytes come from: plain, or inflated on the way.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use futures::stream::Fuse;

use crate::ids::Partition;
use crate::job::{FailureReason, ImportSource};
use crate::ports::{ByteStream, Fetched};
use crate::upload::MAX_UPLOAD;
use crate::worker::{WorkError, Worker};

/// How gzip begins (RFC 1952). No line of NDJSON begins so.
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// So much gzip is inflated at a time: it becomes a thousand times as much at worst.
const INFLATED_AT_ONCE: usize = 1_024;

/// The bytes of an import, in pieces of bounded size.
pub(super) struct Source {
    /// Fused: the inflater may have something left when the stream has ended.
    stream: Fuse<ByteStream>,
    inflater: Option<MultiGzDecoder<Vec<u8>>>,
    /// What has arrived and is not handed out yet.
    arrived: Bytes,
    at_start: bool,
    /// The bytes handed out so far.
    size: u64,
}

impl Worker {
    /// Opens the source of an import.
    pub(super) async fn open(&self, partition: &Partition, source: &ImportSource) -> Result<Source, WorkError> {
        let etag = match source {
            ImportSource::Inline { .. } => None,
            ImportSource::Upload { etag, .. } => Some(etag.as_str()),
        };
        match self.objects.get(partition, source.key(), etag).await? {
            Fetched::Content(stream) => {
                let stream = stream.fuse();
                Ok(Source { stream, inflater: None, arrived: Bytes::new(), at_start: true, size: 0 })
            }
            Fetched::Missing => Err(WorkError::Impossible(FailureReason::SourceMissing)),
            Fetched::Changed => Err(WorkError::Impossible(FailureReason::UploadChanged)),
        }
    }
}

impl Source {
    /// The bytes handed out so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WorkError> {
        let Some(piece) = self.next_piece().await? else { return Ok(None) };
        self.size += piece.len() as u64;
        if self.size > MAX_UPLOAD {
            return Err(WorkError::Impossible(FailureReason::UploadTooLarge));
        }
        Ok(Some(piece))
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, WorkError> {
        let unreadable = |_| WorkError::Impossible(FailureReason::UploadUnreadable);
        // Two bytes tell gzip, and may arrive one by one.
        while self.arrived.is_empty() || (self.at_start && self.arrived.len() < GZIP_MAGIC.len()) {
            let Some(chunk) = self.stream.next().await else { break };
            let chunk = chunk?;
            self.arrived =
                if self.arrived.is_empty() { chunk } else { [self.arrived.as_ref(), &chunk].concat().into() };
        }
        if std::mem::replace(&mut self.at_start, false) && self.arrived.starts_with(&GZIP_MAGIC) {
            self.inflater = Some(MultiGzDecoder::new(Vec::new()));
        }
        let Some(inflater) = &mut self.inflater else {
            let arrived = std::mem::take(&mut self.arrived);
            return Ok((!arrived.is_empty()).then_some(arrived));
        };
        if self.arrived.is_empty() {
            // The checks of the last member happen here.
            let rest = self.inflater.take().map(MultiGzDecoder::finish).transpose().map_err(unreadable)?;
            return Ok(rest.filter(|rest| !rest.is_empty()).map(Bytes::from));
        }
        let piece = self.arrived.split_to(INFLATED_AT_ONCE.min(self.arrived.len()));
        inflater.write_all(&piece).map_err(unreadable)?;
        Ok(Some(std::mem::take(inflater.get_mut()).into()))
    }
}
