//! Writing a file of any size: lines are appended to a buffer, a full buffer becomes a chunk, and the chunks are put
//! together inside the store. The one way in which workers write files.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::{ChunkSize, Chunks, Compression, FileDigest, FileName, MAX_CHUNKS, ObjectKey, Tail};
use ports::{ObjectStore, PortError};
use records::MAX_STORED_LINE;

use super::encoder::Encoder;
use crate::driver::LeaseGuard;

/// A buffer with more bytes is made as large as a chunk at once; a file that stays small takes no more than it needs.
const SMALL_FILE: u64 = 256 << 10;

/// What a file is as of a chunk's end; by default, before its first one.
#[derive(Clone, Default)]
pub(crate) struct Cut<P> {
    /// The chunks up to there.
    pub(crate) chunks: Chunks,
    /// Of their bytes.
    pub(crate) digest: FileDigest,
    /// Lines in them.
    pub(crate) records: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// What the caller says of it: where reading goes on.
    pub(crate) position: P,
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssembledFile {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// In lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// A chunk that has arrived.
pub(crate) struct SentChunk {
    number: u32,
    content: Bytes,
}

/// A file in the making. Nothing names it, or its chunks, before one conditional write of the job does.
pub(crate) struct FileWriter<P> {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) guard: LeaseGuard,
    pub(super) name: FileName,
    size: ChunkSize,
    compression: Compression,
    max_in_flight: usize,
    /// The next chunk, once a line of it is there.
    encoder: Option<Encoder>,
    /// What the next chunk holds before its first line: the tail that another worker has left.
    carried: BytesMut,
    /// Lines of the next chunk, the carried ones included.
    lines: u64,
    /// Chunks that were cut and are not part of the unbroken run yet: whether they have arrived, and what they stand for.
    under_way: VecDeque<(bool, Cut<P>)>,
    /// Up to where all chunks have arrived.
    pub(super) arrived: Cut<P>,
    /// Buffers of chunks that have arrived, to be filled again: giving 8 MiB back and asking for them anew, chunk after
    /// chunk, would fragment the memory.
    spare: Vec<BytesMut>,
}

impl<P: Clone + Default> FileWriter<P> {
    pub(crate) fn new(
        objects: &Arc<dyn ObjectStore>,
        guard: &LeaseGuard,
        file: String,
        size: ChunkSize,
        compression: Compression,
        max_in_flight: usize,
    ) -> Self {
        let (partition, job) = (guard.job().partition().clone(), guard.job().id().clone());
        Self {
            objects: objects.clone(),
            guard: guard.clone(),
            name: FileName { partition, job, file },
            size,
            compression,
            max_in_flight,
            encoder: None,
            carried: BytesMut::new(),
            lines: 0,
            under_way: VecDeque::new(),
            arrived: Cut::default(),
            spare: Vec::new(),
        }
    }

    /// Goes on after the chunks that have arrived, and the tail of so many lines that another worker has left.
    pub(crate) fn resume(self, arrived: Cut<P>, tail: BytesMut, tail_lines: u64) -> Self {
        Self { arrived, carried: tail, lines: tail_lines, ..self }
    }

    /// Appends bytes of a line.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.encoder {
            Some(encoder) => encoder.push(bytes),
            None => self.begin_chunk().push(bytes),
        }
    }

    /// Ends a line.
    pub(crate) fn end_line(&mut self) {
        self.push(b"\n");
        self.lines += 1;
        let room = self.size.of(self.next_number()).saturating_add(MAX_STORED_LINE as u64 + 1);
        if let Some(encoder) = self.encoder.as_mut().filter(|encoder| encoder.len() > SMALL_FILE) {
            encoder.make_room_for(room);
        }
    }

    /// A buffer for the next chunk, after what is carried over.
    fn begin_chunk(&mut self) -> &mut Encoder {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(&std::mem::take(&mut self.carried));
        self.encoder.insert(Encoder::new(self.compression, buffer))
    }

    /// What the file is as of the last chunk that was cut.
    fn last(&self) -> &Cut<P> {
        self.under_way.back().map_or(&self.arrived, |(_, cut)| cut)
    }

    fn next_number(&self) -> u32 {
        self.last().chunks.count() + 1
    }

    /// All lines appended so far.
    pub(crate) fn appended(&self) -> u64 {
        self.last().records + self.lines
    }

    /// Whether any line of the next chunk is there.
    pub(crate) fn has_lines(&self) -> bool {
        self.lines > 0
    }

    /// Whether what is appended fills a chunk.
    pub(crate) fn is_full(&self) -> bool {
        let bytes = self.encoder.as_ref().map_or(self.carried.len() as u64, Encoder::len);
        bytes >= self.size.of(self.next_number())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.max_in_flight
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.under_way.iter().filter(|(has_arrived, _)| !has_arrived).count()
    }

    /// Whether a chunk was ever cut, so that the file has to be put together.
    pub(crate) fn is_chunked(&self) -> bool {
        self.next_number() > 1
    }

    /// Up to where all chunks have arrived.
    pub(crate) fn arrived(&self) -> &Cut<P> {
        &self.arrived
    }

    /// Ends the chunk: the step that sends it, or `None` when a file can have no further one.
    pub(crate) fn cut(&mut self, position: P) -> Option<impl Future<Output = Result<SentChunk, PortError>> + use<P>> {
        let number = self.next_number();
        if number > MAX_CHUNKS {
            return None;
        }
        let content = self.content();
        let mut cut = Cut { position, ..self.last().clone() };
        cut.chunks.push(self.guard.token());
        cut.digest.update(&content);
        cut.records += std::mem::take(&mut self.lines);
        cut.bytes += content.len() as u64;
        self.under_way.push_back((false, cut));
        let (objects, guard, partition) = (self.objects.clone(), self.guard.clone(), self.name.partition.clone());
        let key = ObjectKey::chunk(&self.name, guard.token(), Some(number));
        Some(async move {
            guard.may_call().await;
            objects.put(&partition, &key, content.clone()).await?;
            Ok(SentChunk { number, content })
        })
    }

    /// A chunk has arrived. True when the unbroken run is longer by it.
    pub(crate) fn sent(&mut self, SentChunk { number, content }: SentChunk) -> bool {
        // Nobody else holds the memory of a chunk that has arrived.
        if let Ok(mut buffer) = content.try_into_mut() {
            buffer.clear();
            self.spare.push(buffer);
        }
        let before = self.arrived.chunks.count();
        let index = (number - before - 1) as usize;
        if let Some((has_arrived, _)) = self.under_way.get_mut(index) {
            *has_arrived = true;
        }
        while let Some((_, cut)) = self.under_way.pop_front_if(|(has_arrived, _)| *has_arrived) {
            self.arrived = cut;
        }
        self.arrived.chunks.count() > before
    }

    /// Ends what is appended as the tail, which another worker reads back. `None` when nothing is appended. To be called
    /// when no chunk is in flight.
    pub(crate) fn tail(&mut self) -> Option<(Tail, Bytes)> {
        if self.lines == 0 {
            return None;
        }
        let (key, content) = (ObjectKey::chunk(&self.name, self.guard.token(), None), self.content());
        let tail = Tail { key, bytes: content.len() as u64, records: std::mem::take(&mut self.lines) };
        Some((tail, content))
    }

    /// Writes a file that never filled a chunk, under this key.
    pub(crate) async fn put_whole(&mut self, key: &ObjectKey) -> Result<AssembledFile, PortError> {
        let content = self.content();
        self.guard.may_call().await;
        if let Err(error) = self.objects.put(&self.name.partition, key, content.clone()).await {
            // It can still be kept as the tail.
            self.carried = BytesMut::from(content);
            return Err(error);
        }
        let mut digest = FileDigest::default();
        digest.update(&content);
        Ok(AssembledFile { records: self.lines, bytes: content.len() as u64, sha256: digest.finish() })
    }

    fn content(&mut self) -> Bytes {
        match self.encoder.take() {
            Some(encoder) => encoder.finish(),
            None if self.carried.is_empty() => Encoder::new(self.compression, BytesMut::new()).finish(),
            None => std::mem::take(&mut self.carried).freeze(),
        }
    }
}
