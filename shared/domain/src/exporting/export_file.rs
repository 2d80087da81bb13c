//! One file of an export in the making: lines are appended, parts are cut behind a record and uploaded.

use std::sync::Arc;

use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use records::{MAX_STORED_LINE, PackedLine, Unpacker};
use std::io::Write;

use super::checkpoint::{MAX_PARTS_AHEAD, OpenFile, Position, SavedDigest};
use crate::files::{CompleteError, FileDigest, MultipartWriter, ObjectKey};
use crate::identity::Partition;
use crate::jobs::{Compression, FailureReason, WorkError};
use crate::ports::{MultipartStore, ObjectStore, PortError, UploadError};

/// Parts that are uploaded at once; each holds its bytes in memory.
const MAX_CONCURRENCY: usize = 3;

/// The highest part number that S3 takes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MAX_PART_NUMBER: u32 = 10_000;

/// 249 MB/s a core; higher levels take twice the time for a tenth less.
const GZIP_LEVEL: u32 = 3;

/// The sizes that exports work with, in bytes. Tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSizes {
    /// The size of a part, unless the file is so large that its parts must be larger.
    pub part: u64,
    /// The least size of every part but the last
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub least_part: u64,
}

impl Default for ExportSizes {
    fn default() -> Self {
        Self { part: 8 << 20, least_part: 5 << 20 }
    }
}

/// The bytes of the next part.
enum Encoder {
    Plain(BytesMut),
    Gzip(Box<GzEncoder<Writer<BytesMut>>>),
}

impl Encoder {
    fn new(compression: Compression, buffer: BytesMut) -> Self {
        match compression {
            Compression::None => Self::Plain(buffer),
            Compression::Gzip => {
                Self::Gzip(Box::new(GzEncoder::new(buffer.writer(), flate2::Compression::new(GZIP_LEVEL))))
            }
        }
    }

    fn push(&mut self, line: &[u8]) {
        match self {
            Self::Plain(buffer) => {
                buffer.extend_from_slice(line);
                buffer.extend_from_slice(b"\n");
            }
            Self::Gzip(encoder) => {
                // Writing to memory cannot fail.
                let _ = encoder.write_all(line).and_then(|()| encoder.write_all(b"\n"));
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Plain(buffer) => buffer.len() as u64,
            Self::Gzip(encoder) => encoder.get_ref().get_ref().len() as u64,
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Plain(buffer) => buffer.freeze(),
            Self::Gzip(encoder) => encoder.finish().map(|writer| writer.into_inner().freeze()).unwrap_or_default(),
        }
    }
}

/// What a part stands for, with all parts before it.
pub(super) struct Mark {
    position: Position,
    digest: FileDigest,
    records: u64,
    bytes: u64,
    next_number: u32,
}

pub(super) struct ExportFile {
    writer: MultipartWriter<Mark>,
    sizes: ExportSizes,
    compression: Compression,
    encoder: Encoder,
    unpacker: Unpacker,
    /// Buffers of parts that have arrived, to be filled again: giving 8 MiB back and asking for them anew, part
    /// after part, would fragment the memory.
    spare: Vec<BytesMut>,
    /// Lines of the next part.
    lines: u64,
    /// Of all parts that were cut.
    digest: FileDigest,
    records: u64,
    bytes: u64,
    /// What the parts that have arrived stand for.
    covered: Option<OpenFile>,
    /// The next number of the checkpoint that is stored.
    stored_number: u32,
}

impl ExportFile {
    pub(super) fn new(
        store: Arc<dyn MultipartStore>,
        partition: &Partition,
        key: ObjectKey,
        sizes: ExportSizes,
        compression: Compression,
    ) -> Self {
        Self {
            writer: MultipartWriter::new(store, partition, key, MAX_CONCURRENCY),
            sizes,
            compression,
            encoder: Encoder::new(compression, BytesMut::new()),
            unpacker: Unpacker::default(),
            spare: Vec::new(),
            lines: 0,
            digest: FileDigest::default(),
            records: 0,
            bytes: 0,
            covered: None,
            stored_number: 1,
        }
    }

    /// Goes on behind the parts that have arrived; `None` when the digest cannot be restored.
    pub(super) fn resume(mut self, open: OpenFile) -> Option<Self> {
        self.digest = FileDigest::restore(&open.digest.0)?;
        (self.records, self.bytes) = (open.records, open.bytes);
        self.stored_number = open.next_number;
        self.writer = self.writer.resume(open.upload.clone(), open.parts.clone(), open.next_number);
        self.covered = Some(open);
        Some(self)
    }

    /// What the parts that have arrived stand for.
    pub(super) fn covered(&self) -> Option<&OpenFile> {
        self.covered.as_ref()
    }

    /// All lines appended so far.
    pub(super) fn appended(&self) -> u64 {
        self.records + self.lines
    }

    pub(super) fn append(&mut self, line: &PackedLine, records_left: u64) -> Result<(), WorkError> {
        if self.lines == 0 {
            self.refill(records_left);
        }
        let text = self.unpacker.unpack(line);
        let text = text.map_err(|error| PortError::defect("read records", error))?;
        self.encoder.push(text);
        self.lines += 1;
        Ok(())
    }

    /// A buffer for a part and the line that fills it.
    fn refill(&mut self, records_left: u64) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        let slack = match self.compression {
            Compression::None => MAX_STORED_LINE + 1,
            Compression::Gzip => 64 << 10,
        };
        buffer.reserve(usize::try_from(self.part_size(records_left)).unwrap_or(0).saturating_add(slack));
        self.encoder = Encoder::new(self.compression, buffer);
    }

    /// So large that twice the records that are left fit the numbers that are left.
    fn part_size(&self, records_left: u64) -> u64 {
        let numbers_left = u64::from(MAX_PART_NUMBER.saturating_sub(self.writer.next_number())).max(1);
        let bytes_a_line = self.bytes.checked_div(self.records).unwrap_or(0);
        self.sizes.part.max((2 * records_left).saturating_mul(bytes_a_line) / numbers_left)
    }

    pub(super) fn is_full(&self, records_left: u64) -> bool {
        self.encoder.len() >= self.part_size(records_left)
    }

    /// Whether S3 takes what is appended as a part that is not the last.
    pub(super) fn is_enough(&self) -> bool {
        self.encoder.len() >= self.sizes.least_part
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Whether another part may be cut now: there is room, and a number that no zombie can use.
    pub(super) fn can_cut(&self) -> bool {
        self.writer.has_room() && self.writer.next_number() - self.stored_number < MAX_PARTS_AHEAD
    }

    /// Begins to upload what has been appended; reading goes on at `position`.
    pub(super) fn cut(&mut self, position: Position) -> Result<(), WorkError> {
        if self.writer.next_number() > MAX_PART_NUMBER {
            return Err(WorkError::Impossible(FailureReason::ExportTooLarge));
        }
        let content = self.take();
        let mark = Mark {
            position,
            digest: self.digest.clone(),
            records: self.records,
            bytes: self.bytes,
            next_number: self.writer.next_number() + 1,
        };
        self.writer.cut(content, mark);
        Ok(())
    }

    /// What has been appended since the last cut.
    pub(super) fn take(&mut self) -> Bytes {
        let next = Encoder::new(self.compression, BytesMut::new());
        let content = std::mem::replace(&mut self.encoder, next).finish();
        self.digest.update(&content);
        self.records += std::mem::take(&mut self.lines);
        self.bytes += content.len() as u64;
        content
    }

    /// Waits for the next part to arrive; false when none is in flight.
    pub(super) async fn arrived(&mut self) -> Result<bool, UploadError> {
        let Some(arrived) = self.writer.arrived().await else { return Ok(false) };
        let (content, mark) = arrived?;
        // Nobody else holds the memory of a part that has arrived.
        if let Ok(mut buffer) = content.try_into_mut() {
            buffer.clear();
            self.spare.push(buffer);
        }
        self.covered = self.writer.upload().map(|upload| OpenFile {
            key: self.writer.key().clone(),
            upload: upload.clone(),
            next_number: mark.next_number,
            parts: self.writer.parts().clone(),
            position: mark.position,
            digest: SavedDigest(mark.digest.save()),
            records: mark.records,
            bytes: mark.bytes,
            is_whole: false,
        });
        Ok(true)
    }

    /// The checkpoint is stored.
    pub(super) fn stored(&mut self) {
        self.stored_number = self.covered.as_ref().map_or(1, |covered| covered.next_number);
    }

    /// Whether parts have arrived that the stored checkpoint does not cover.
    pub(super) fn is_unstored(&self) -> bool {
        self.covered.as_ref().is_some_and(|covered| covered.next_number > self.stored_number)
    }

    /// The file is read to its end, and all its parts have arrived.
    pub(super) fn whole(&mut self) {
        if let Some(covered) = &mut self.covered {
            covered.is_whole = true;
        }
    }

    pub(super) fn writer(&self) -> &MultipartWriter<Mark> {
        &self.writer
    }

    /// Makes the file of parts visible, whole. May be repeated.
    pub(super) async fn complete(&mut self, objects: &dyn ObjectStore, size: u64) -> Result<(), CompleteError> {
        self.writer.complete(objects, size).await
    }

    /// Lines, bytes and SHA-256 of the whole file.
    pub(super) fn figures(self) -> (u64, u64, String) {
        (self.records, self.bytes, self.digest.finish())
    }
}
