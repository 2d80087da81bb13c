//! Opening a source: plain or gzip, in any encoding, hashed on the way.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use encoding_rs::{Decoder, DecoderResult, Encoding};
use ndjson::InflatingReader;
use sha2::{Digest, Sha256};

use crate::unusable::unusable;

const CHUNK: usize = 1 << 17;
/// How gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An open source: what it says, and what has been read of the file itself.
pub struct Source {
    pub reader: Box<dyn Read>,
    tally: Rc<RefCell<Tally>>,
}

#[derive(Default)]
struct Tally {
    /// `None` where nobody asks for it.
    hash: Option<Sha256>,
    bytes: u64,
}

impl Source {
    /// Opens a file, or stdin for `-`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, None)
    }

    /// Opens it, and hashes what is read.
    pub fn open_hashed(path: &Path) -> Result<Self> {
        Self::open_with(path, Some(Sha256::new()))
    }

    fn open_with(path: &Path, hash: Option<Sha256>) -> Result<Self> {
        let raw: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let opened = File::open(path).and_then(|file| {
                // Opening a folder succeeds, and reading it gives an error that nobody understands.
                if file.metadata()?.is_dir() { Err(io::Error::from(io::ErrorKind::IsADirectory)) } else { Ok(file) }
            });
            Box::new(opened.map_err(|error| unusable(format!("cannot be opened: {error}")))?)
        };
        let tally = Rc::new(RefCell::new(Tally { hash, bytes: 0 }));
        let mut counted = BufReader::with_capacity(CHUNK, Counted { inner: raw, tally: tally.clone() });
        let first = first_bytes(&mut counted).with_context(|| format!("read {}", path.display()))?;
        let is_gzip = first == GZIP;
        let whole = Cursor::new(first).chain(counted);
        let reader: Box<dyn Read> = if is_gzip { Box::new(InflatingReader::new(whole)) } else { Box::new(whole) };
        Ok(Self { reader, tally })
    }

    /// Translates to UTF-8 on the way.
    #[must_use]
    pub fn decoded(self, encoding: Option<&'static Encoding>) -> Self {
        match encoding {
            Some(encoding) if encoding != encoding_rs::UTF_8 => {
                Self { reader: Box::new(Decoded::new(self.reader, encoding)), ..self }
            }
            _ => self,
        }
    }

    /// How many bytes of the file have been read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tally.borrow().bytes
    }

    /// The SHA-256 in hex of a hashed file and its bytes, once all of it has been read.
    #[must_use]
    pub fn digest(self) -> (String, u64) {
        let tally = self.tally.take();
        (tally.hash.map(|hash| base16ct::lower::encode_string(&hash.finalize())).unwrap_or_default(), tally.bytes)
    }
}

/// As many bytes as tell what a file is, or all that there are. A pipe may bring one by one.
fn first_bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(GZIP.len());
    reader.take(GZIP.len() as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// An encoding, by any name that browsers know it by.
pub fn encoding(name: &str) -> Result<&'static Encoding> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        unusable(format!("unknown encoding {name}: utf-8, windows-1252, iso-8859-15, utf-16le and others are known"))
    })
}

struct Counted<R> {
    inner: R,
    tally: Rc<RefCell<Tally>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut tally = self.tally.borrow_mut();
        if let Some(hash) = &mut tally.hash {
            hash.update(buffer.get(..read).unwrap_or_default());
        }
        tally.bytes += read as u64;
        Ok(read)
    }
}

/// UTF-8 out of another encoding. What is malformed is an error, not a replacement character.
struct Decoded {
    inner: Box<dyn Read>,
    decoder: Decoder,
    name: &'static str,
    input: Vec<u8>,
    /// What of `input` is still to be translated.
    pending: std::ops::Range<usize>,
    at_end: bool,
    seen: u64,
    output: Vec<u8>,
    taken: usize,
}

impl Decoded {
    fn new(inner: Box<dyn Read>, encoding: &'static Encoding) -> Self {
        Self {
            inner,
            decoder: encoding.new_decoder(),
            name: encoding.name(),
            input: vec![0; CHUNK],
            pending: 0..0,
            at_end: false,
            seen: 0,
            output: Vec::new(),
            taken: 0,
        }
    }

    /// Translates the next piece into `output`.
    fn fill(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            let read = self.inner.read(&mut self.input)?;
            self.at_end = read == 0;
            self.pending = 0..read;
        }
        let input = self.input.get(self.pending.clone()).unwrap_or_default();
        self.output.resize(CHUNK, 0);
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, self.at_end);
        self.pending.start += read;
        self.seen += read as u64;
        self.output.truncate(written);
        self.taken = 0;
        match result {
            DecoderResult::Malformed(..) => {
                let message = format!("not {} near byte {}", self.name, self.seen);
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
            DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(()),
        }
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.output.len() {
            if self.at_end && self.pending.is_empty() {
                return Ok(0);
            }
            self.fill()?;
        }
        let ready = self.output.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        buffer.get_mut(..count).unwrap_or_default().copy_from_slice(ready.get(..count).unwrap_or_default());
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8], encoding: Option<&'static Encoding>) -> io::Result<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut source = Source::open(file.path()).unwrap().decoded(encoding);
        let mut text = String::new();
        source.reader.read_to_string(&mut text)?;
        assert_eq!(source.digest().1, bytes.len() as u64);
        Ok(text)
    }

    #[test]
    fn encodings_are_translated_across_chunks() {
        let long = vec![0xE9; CHUNK + 7];
        assert_eq!(read(&long, Some(encoding_rs::WINDOWS_1252)).unwrap(), "\u{e9}".repeat(CHUNK + 7));
        assert_eq!(read(b"a\0\xE9\0", Some(encoding_rs::UTF_16LE)).unwrap(), "a\u{e9}");
        assert!(read(b"a\0\0\xD8a\0", Some(encoding_rs::UTF_16LE)).is_err());
        assert!(encoding("nonsense").is_err());
    }

    #[test]
    fn what_comes_byte_by_byte_is_known_all_the_same() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(1);
                self.0.read(&mut buffer[..count])
            }
        }
        for (bytes, first) in [(&b"\x1f\x8bx"[..], &b"\x1f\x8b"[..]), (b"{", b"{"), (b"", b"")] {
            assert_eq!(first_bytes(&mut Slow(bytes)).unwrap(), first);
        }
    }

    #[test]
    fn gzip_is_seen_by_its_content() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\n").unwrap();
        let member = gzip.finish().unwrap();
        assert_eq!(read(&[member.clone(), member].concat(), None).unwrap(), "one\none\n");
    }
}
