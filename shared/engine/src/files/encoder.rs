//! The bytes of the next chunk, plain or gzip.

use std::io::Write;

use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use model::Compression;

/// 249 MB/s a core; higher levels take twice the time for a tenth less.
const GZIP_LEVEL: u32 = 3;

/// Appends lines to a buffer. With gzip what was appended is one member after what the buffer held before.
pub(super) enum Encoder {
    Plain(BytesMut),
    Gzip(Box<GzEncoder<Writer<BytesMut>>>),
}

impl Encoder {
    pub(super) fn new(compression: Compression, buffer: BytesMut) -> Self {
        match compression {
            Compression::None => Self::Plain(buffer),
            Compression::Gzip => {
                Self::Gzip(Box::new(GzEncoder::new(buffer.writer(), flate2::Compression::new(GZIP_LEVEL))))
            }
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(buffer) => buffer.extend_from_slice(bytes),
            Self::Gzip(encoder) => {
                // Writing to memory cannot fail.
                let _written = encoder.write_all(bytes);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Plain(buffer) => buffer.len() as u64,
            Self::Gzip(encoder) => encoder.get_ref().get_ref().len() as u64,
        }
    }

    /// Makes room for so many bytes in all.
    pub(super) fn make_room_for(&mut self, bytes: u64) {
        let buffer = match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(encoder) => encoder.get_mut().get_mut(),
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if buffer.capacity() < bytes {
            buffer.reserve(bytes - buffer.len());
        }
    }

    pub(super) fn finish(self) -> Bytes {
        match self {
            Self::Plain(buffer) => buffer.freeze(),
            Self::Gzip(encoder) => encoder.finish().map(|writer| writer.into_inner().freeze()).unwrap_or_default(),
        }
    }
}
