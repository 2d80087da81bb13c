//! Opening a source: plain, gzip or zstd, in any encoding, hashed on the way.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use encoding_rs::{Decoder, DecoderResult, Encoding};
use ndjson::InflatingReader;
use sha2::{Digest, Sha256};

use crate::format::Format;
use crate::look::{self, Packing};
use crate::unusable::unusable;
use crate::zstd::ZstdReader;

const CHUNK: usize = 1 << 17;

/// So much of a file is looked at before it is read.
const LOOK: u64 = 1 << 16;
/// Enough for what archives begin with.
const MAGIC: u64 = 4096;

/// An open source: what it says, and what has been read of the file itself.
pub struct Source {
    pub reader: Box<dyn Read>,
    /// Its first bytes, unpacked.
    first: Vec<u8>,
    tally: Rc<RefCell<Tally>>,
}

#[derive(Default)]
struct Tally {
    /// `None` where nobody asks for it.
    hash: Option<Sha256>,
    bytes: u64,
}

impl Source {
    /// Opens a file, or stdin for `-`. What is packed is unpacked on the way; archives and the like are refused.
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
        let counted = BufReader::with_capacity(CHUNK, Counted { inner: raw, tally: tally.clone() });
        let context = || format!("read {}", path.display());
        let (first, whole) = first_bytes(counted, MAGIC).with_context(context)?;
        let packing = look::packing(&first)?;
        let unpacked: Box<dyn Read> = match packing {
            Packing::None => Box::new(whole),
            Packing::Gzip => Box::new(InflatingReader::new(whole)),
            Packing::Zstd => Box::new(ZstdReader::new(whole)),
        };
        let (first, whole) = first_bytes(unpacked, LOOK).with_context(context)?;
        look::refuse_binary(&first)?;
        Ok(Self { reader: Box::new(whole), first, tally })
    }

    /// Its text in UTF-8, to be read as records of this format. The encoding is the one that is said, or that the file
    /// shows. A text that is something else is refused, with what to do.
    pub fn text(self, encoding: Option<&'static Encoding>, format: Format) -> Result<Self> {
        // A mark is surer than what is said.
        let encoding = if self.first.starts_with(b"\xEF\xBB\xBF") { None } else { encoding };
        if let Some(said) =
            encoding.filter(|said| look::is_surely_utf8(&self.first) && !said.name().starts_with("UTF-"))
        {
            return Err(unusable(format!(
                "it is UTF-8, and read as {} other letters would come of it: leave --encoding out, or say in a map which files \
                 have which encoding",
                said.name()
            )));
        }
        let encoding = encoding.or_else(|| look::shown_encoding(&self.first));
        let (first, ..) = encoding.unwrap_or(encoding_rs::UTF_8).decode(&self.first);
        look::check_text(&first, (self.first.len() as u64) < LOOK, format)?;
        Ok(match encoding {
            Some(encoding) if encoding != encoding_rs::UTF_8 => {
                Self { reader: Box::new(Decoded::new(self.reader, encoding)), ..self }
            }
            _ => self,
        })
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

/// The first bytes, as many as are asked for or as there are, and the whole. A pipe may bring one by one.
fn first_bytes<R: Read>(mut reader: R, count: u64) -> io::Result<(Vec<u8>, impl Read)> {
    let mut first = Vec::new();
    reader.by_ref().take(count).read_to_end(&mut first)?;
    Ok((first.clone(), Cursor::new(first).chain(reader)))
}

/// What can be said of a source before it is read: that it can be opened, what it is, and what `head` finds in its first
/// lines, where they can be looked at. Nothing is taken from stdin.
pub fn check_source<T>(
    path: &Path,
    format: Format,
    encoding: Option<&'static Encoding>,
    head: impl FnOnce(&mut dyn Read) -> Result<Option<T>>,
) -> Result<Option<T>> {
    if path == Path::new("-") {
        let mut stdin = io::stdin().lock();
        let first = stdin.fill_buf().context("read stdin")?;
        if look::packing(first)? != Packing::None || encoding.or_else(|| look::shown_encoding(first)).is_some() {
            return Ok(None);
        }
        // A line that is cut off says nothing.
        let mut lines = memchr::memrchr(b'\n', first).and_then(|end| first.get(..=end)).unwrap_or_default();
        let count = memchr::memchr_iter(b'\n', lines.trim_ascii()).count();
        // A pipe may bring a header alone, or a part of it.
        let is_open = memchr::memchr_iter(b'"', lines).count() % 2 == 1;
        if count == 0 || is_open {
            return Ok(None);
        }
        look::check_text(&String::from_utf8_lossy(lines), false, format)?;
        return head(&mut lines);
    }
    if !path.is_file() {
        // What is read of a pipe is gone.
        return std::fs::metadata(path).map(|_| None).map_err(|error| unusable(format!("cannot be opened: {error}")));
    }
    head(&mut Source::open(path)?.text(encoding, format)?.reader)
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
    inner: BufReader<Box<dyn Read>>,
    decoder: Decoder,
    name: &'static str,
    at_end: bool,
    seen: u64,
    output: Cursor<Vec<u8>>,
}

impl Decoded {
    fn new(inner: Box<dyn Read>, encoding: &'static Encoding) -> Self {
        Self {
            inner: BufReader::with_capacity(CHUNK, inner),
            decoder: encoding.new_decoder(),
            name: encoding.name(),
            at_end: false,
            seen: 0,
            output: Cursor::default(),
        }
    }

    /// Translates the next piece into `output`.
    fn fill(&mut self) -> io::Result<()> {
        let input = self.inner.fill_buf()?;
        self.at_end = input.is_empty();
        let mut output = std::mem::take(&mut self.output).into_inner();
        output.resize(CHUNK, 0);
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(input, &mut output, self.at_end);
        self.inner.consume(read);
        self.seen += read as u64;
        output.truncate(written);
        self.output = Cursor::new(output);
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
        loop {
            let read = self.output.read(buffer)?;
            if read > 0 || self.at_end || buffer.is_empty() {
                return Ok(read);
            }
            self.fill()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encoding;
    use std::io::Write;

    fn read(bytes: &[u8], encoding: Option<&'static Encoding>) -> io::Result<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut source = Source::open(file.path()).unwrap().text(encoding, Format::Csv).unwrap();
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
        assert_eq!(read(b"\xFF\xFEa\0\xE9\0", None).unwrap(), "a\u{e9}", "its mark shows it");
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
            let (found, mut whole) = first_bytes(Slow(bytes), 2).unwrap();
            assert_eq!(found, first);
            let mut all = Vec::new();
            whole.read_to_end(&mut all).unwrap();
            assert_eq!(all, bytes);
        }
    }

    #[test]
    fn gzip_and_zstd_are_seen_by_their_content() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\n").unwrap();
        let member = gzip.finish().unwrap();
        assert_eq!(read(&[member.clone(), member].concat(), None).unwrap(), "one\none\n");
        let zstd = ruzstd::encoding::compress_to_vec(&b"one\n"[..], ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(read(&zstd, None).unwrap(), "one\n");
    }
}
