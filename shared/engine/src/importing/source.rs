//! Where an import's bytes come from: plain, or inflated on the way.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use model::{FailureReason, ImportSource, MAX_UPLOAD_BYTES, Partition};
use ndjson::Inflater;
use ports::{IdSource, ObjectStore};

use crate::driver::WorkError;
use crate::files::{ObjectReader, ReadError};

/// How gzip begins (RFC 1952). No line of NDJSON begins so.
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// So much gzip is inflated at a time: it becomes a thousand times as much at worst.
const INFLATE_BYTES: usize = 1_024;

/// The bytes of an import, in pieces of bounded size. Ends only after the last byte of the source.
pub(super) type Source = BoxStream<'static, Result<Bytes, WorkError>>;

/// What reading goes on with.
struct State {
    raw: ObjectReader,
    inflater: Option<Inflater>,
    /// What has arrived and is not handed out yet.
    arrived: Bytes,
    at_start: bool,
    /// The bytes handed out so far.
    size: u64,
}

impl From<ReadError> for WorkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing => Self::Impossible(FailureReason::SourceMissing),
            ReadError::Changed => Self::Impossible(FailureReason::UploadChanged),
            ReadError::Port(error) => error.into(),
        }
    }
}

/// The bytes of a source from its beginning on, in the content that was accepted.
pub(super) async fn open_source(
    objects: &Arc<dyn ObjectStore>,
    ids: &Arc<dyn IdSource>,
    partition: &Partition,
    source: &ImportSource,
) -> Result<Source, WorkError> {
    let pinned = match source {
        ImportSource::Inline { .. } => None,
        ImportSource::Upload { etag, .. } => Some(etag.as_str()),
    };
    let raw = ObjectReader::open(objects, ids, partition, source.key(), pinned).await?;
    let state = State { raw, inflater: None, arrived: Bytes::new(), at_start: true, size: 0 };
    Ok(stream::try_unfold(state, State::next).boxed())
}

impl State {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, WorkError> {
        // A small upload that inflates to a large one is all there at once: reading it must not keep the lease from
        // being renewed.
        tokio::task::yield_now().await;
        let Some(piece) = self.next_piece().await? else { return Ok(None) };
        self.size += piece.len() as u64;
        if self.size > MAX_UPLOAD_BYTES {
            return Err(WorkError::Impossible(FailureReason::UploadTooLarge));
        }
        Ok(Some((piece, self)))
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, WorkError> {
        let unreadable = |_| WorkError::Impossible(FailureReason::UploadUnreadable);
        // Two bytes tell gzip, and may arrive one by one.
        while self.arrived.is_empty() || (self.at_start && self.arrived.len() < GZIP_MAGIC.len()) {
            let Some(chunk) = self.raw.next().await.transpose()? else { break };
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
