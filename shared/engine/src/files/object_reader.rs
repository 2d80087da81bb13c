//! Reading an object to its end, whatever breaks on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use model::{ObjectKey, Partition};
use ports::{Backoff, ByteStream, Fetched, IdSource, ObjectStore, PortError, RetryPolicy};

/// A body that breaks is read on from there, so often without a byte in between.
const BROKEN: RetryPolicy = RetryPolicy::new(8, 100, 5_000);

/// A body that brings nothing for so long counts as broken.
const STALLED: Duration = Duration::from_secs(20);

/// Why an object could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("object does not exist")]
    Missing,
    /// Its content is not that which reading began with, or which was pinned.
    #[error("object has changed")]
    Changed,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The bytes of an object, each once and in order. It ends when as many bytes were read as the object has, and not
/// before: a body that breaks or ends early is read on by range, under the ETag that reading began with.
///
/// All state lives in the stream: whoever waits for the next piece may stop waiting, and nothing is forgotten.
pub(crate) struct ObjectReader {
    size: u64,
    pieces: BoxStream<'static, Result<Bytes, ReadError>>,
}

/// What reading goes on with.
struct Reading {
    objects: Arc<dyn ObjectStore>,
    ids: Arc<dyn IdSource>,
    partition: Partition,
    key: ObjectKey,
    etag: String,
    size: u64,
    read: u64,
    /// Behind the bytes that were read; `None` when it has broken.
    body: Option<ByteStream>,
}

impl ObjectReader {
    /// Begins to read an object; with `etag` only that content of it.
    pub(crate) async fn open(
        objects: &Arc<dyn ObjectStore>,
        ids: &Arc<dyn IdSource>,
        partition: &Partition,
        key: &ObjectKey,
        etag: Option<&str>,
    ) -> Result<Self, ReadError> {
        let (etag, size, body) = match objects.get(partition, key, etag, 0).await? {
            Fetched::Content { etag, size, body } => (etag, size, body),
            Fetched::Missing => return Err(ReadError::Missing),
            Fetched::Changed => return Err(ReadError::Changed),
        };
        let reading = Reading {
            objects: objects.clone(),
            ids: ids.clone(),
            partition: partition.clone(),
            key: key.clone(),
            etag,
            size,
            read: 0,
            body: Some(body),
        };
        Ok(Self { size, pieces: stream::try_unfold(reading, Reading::next).boxed() })
    }

    /// How many bytes the object has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Stream for ObjectReader {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(context)
    }
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ReadError> {
        let ids = self.ids.clone();
        let mut backoff = Backoff::new(BROKEN, ids.as_ref());
        loop {
            if self.read == self.size {
                return Ok(None);
            }
            let error = match self.piece().await {
                Ok(piece) => return Ok(Some((piece, self))),
                Err(ReadError::Port(error)) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            self.body = None;
            tracing::info!(read = self.read, error = &error as &dyn std::error::Error, "read object on by range");
            if !backoff.wait().await {
                return Err(error.into());
            }
        }
    }

    async fn piece(&mut self) -> Result<Bytes, ReadError> {
        const OPERATION: &str = "read object";
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let fetched = self.objects.get(&self.partition, &self.key, Some(&self.etag), self.read).await?;
                match fetched {
                    Fetched::Content { size, .. } if size != self.size => return Err(ReadError::Changed),
                    Fetched::Content { body, .. } => self.body.insert(body),
                    Fetched::Missing => return Err(ReadError::Missing),
                    Fetched::Changed => return Err(ReadError::Changed),
                }
            }
        };
        let piece = match tokio::time::timeout(STALLED, body.next()).await {
            Ok(Some(piece)) => piece?,
            Ok(None) => return Err(PortError::unavailable(OPERATION, "body ended too early").into()),
            Err(_elapsed) => return Err(PortError::unavailable(OPERATION, "body stands still").into()),
        };
        self.read += piece.len() as u64;
        if self.read > self.size {
            return Err(PortError::defect(OPERATION, "body is too long").into());
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use proptest::prelude::*;

    use super::*;
    use ports::ObjectHead;
    use testing::SeededIds;

    /// How one body goes on.
    #[derive(Debug, Clone, Copy)]
    enum Trouble {
        /// After so many bytes comes an error.
        Cut(usize),
        /// After so many bytes it ends, as if it were whole.
        Early(usize),
        /// After so many bytes nothing comes any more.
        Silent(usize),
        /// The call fails.
        Refused,
    }

    /// An object whose bodies follow a script, and are good from its end on.
    struct Troubled {
        content: Bytes,
        script: Mutex<VecDeque<Trouble>>,
    }

    #[async_trait]
    impl ObjectStore for Troubled {
        async fn put(&self, _: &Partition, _: &ObjectKey, _: Bytes) -> Result<(), PortError> {
            unreachable!("nothing is written")
        }

        async fn get(&self, _: &Partition, _: &ObjectKey, _: Option<&str>, from: u64) -> Result<Fetched, PortError> {
            let rest = self.content.slice(usize::try_from(from).unwrap()..);
            let trouble = self.script.lock().unwrap().pop_front();
            let broken = || PortError::unavailable("read object", "connection broke");
            let (bytes, end) = match trouble {
                None => (rest.len(), stream::empty().boxed()),
                Some(Trouble::Early(bytes)) => (bytes, stream::empty().boxed()),
                Some(Trouble::Silent(bytes)) => (bytes, stream::pending().boxed()),
                Some(Trouble::Cut(bytes)) => (bytes, stream::once(async move { Err(broken()) }).boxed()),
                Some(Trouble::Refused) => return Err(broken()),
            };
            let pieces: Vec<_> = rest.slice(..bytes.min(rest.len())).chunks(7).map(Bytes::copy_from_slice).collect();
            let body = stream::iter(pieces.into_iter().map(Ok)).chain(end).boxed();
            Ok(Fetched::Content { etag: "etag".to_owned(), size: self.content.len() as u64, body })
        }

        async fn head(&self, _: &Partition, _: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
            unreachable!("nobody looks")
        }
    }

    /// Reads to the end, and stops waiting for each piece many times before it comes.
    async fn read(content: Bytes, script: Vec<Trouble>) -> Result<Vec<u8>, ReadError> {
        let objects: Arc<dyn ObjectStore> = Arc::new(Troubled { content, script: Mutex::new(script.into()) });
        let ids: Arc<dyn IdSource> = Arc::new(SeededIds::new(1));
        let partition: Partition = "clinic#test".parse().unwrap();
        let key = ObjectKey::import(&partition, &model::JobId::new(jiff::Timestamp::UNIX_EPOCH, 0));
        let mut reader = ObjectReader::open(&objects, &ids, &partition, &key, None).await?;
        let mut bytes = Vec::new();
        loop {
            // A future that waits for the next piece is dropped again and again, as a select does.
            match tokio::time::timeout(Duration::from_millis(30), reader.next()).await {
                Ok(Some(piece)) => bytes.extend(piece?),
                Ok(None) => return Ok(bytes),
                Err(_elapsed) => {}
            }
        }
    }

    fn trouble() -> impl Strategy<Value = Trouble> {
        prop_oneof![
            (0..300_usize).prop_map(Trouble::Cut),
            (0..300_usize).prop_map(Trouble::Early),
            (0..300_usize).prop_map(Trouble::Silent),
            Just(Trouble::Refused),
        ]
    }

    proptest! {
        #[test]
        fn whatever_breaks_every_byte_comes_once(
            content in prop::collection::vec(any::<u8>(), 0..500),
            first in (0..300_usize).prop_map(Trouble::Cut),
            script in prop::collection::vec(trouble(), 0..6),
        ) {
            let script = [vec![first], script].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let read = runtime.block_on(read(content.clone().into(), script));
            prop_assert_eq!(read.unwrap(), content);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_for_ever_is_an_error_and_no_end() {
        let script = std::iter::once(Trouble::Cut(5)).chain((0..100).map(|_| Trouble::Early(0))).collect();
        let read = read(vec![b'x'; 100].into(), script).await;
        assert!(matches!(read, Err(ReadError::Port(PortError::Unavailable { .. }))), "{read:?}");
    }
}
