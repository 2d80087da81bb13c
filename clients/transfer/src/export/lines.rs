//! How many lines a file has, counted while its bytes pass.

use std::path::Path;

use ndjson::{Inflater, LineCounter};

/// Bytes that are inflated at a time: what they become is held in memory.
const PIECE: usize = 1 << 14;

/// The lines of a file, plain or gzip.
pub(super) struct FileLines {
    content: Content,
    lines: LineCounter,
}

enum Content {
    Plain,
    Gzip(Inflater),
    /// It should have been gzip.
    Broken,
}

impl FileLines {
    /// Of a file of this name: it says whether it is compressed.
    pub(super) fn new(name: &str) -> Self {
        let is_gzip = Path::new(name).extension().is_some_and(|ending| ending == "gz");
        let content = if is_gzip { Content::Gzip(Inflater::default()) } else { Content::Plain };
        Self { content, lines: LineCounter::default() }
    }

    /// The next bytes of the file.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Content::Plain = self.content {
            return self.lines.push(bytes);
        }
        for piece in bytes.chunks(PIECE) {
            let Content::Gzip(inflater) = &mut self.content else { return };
            match inflater.push(piece) {
                Ok(inflated) => self.lines.push(&inflated),
                Err(_) => self.content = Content::Broken,
            }
        }
    }

    /// The lines of the whole file, or `None` where it cannot be inflated.
    pub(super) fn finish(mut self) -> Option<u64> {
        match std::mem::replace(&mut self.content, Content::Plain) {
            Content::Plain => {}
            Content::Gzip(inflater) => self.lines.push(&inflater.finish().ok()?),
            Content::Broken => return None,
        }
        Some(self.lines.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(name: &str, content: &[u8], piece: usize) -> Option<u64> {
        let mut lines = FileLines::new(name);
        content.chunks(piece).for_each(|piece| lines.push(piece));
        lines.finish()
    }

    #[test]
    fn lines_are_counted_plain_and_gzip_in_pieces_of_any_size() {
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        for (text, expected) in [(&b""[..], 0), (b"\n", 1), (b"a\nb\n", 2), (b"a\n\nb", 3), (b"a", 1)] {
            for piece in [1, 2, 100] {
                assert_eq!(lines("x.ndjson", text, piece), Some(expected));
                assert_eq!(lines("x.ndjson.gz", &gzip(text), piece), Some(expected));
                assert_eq!(lines("x.ndjson.gz", &[gzip(b"c\n"), gzip(text)].concat(), piece), Some(expected + 1));
            }
        }
        let long = gzip(&b"line\n".repeat(1 << 20));
        assert_eq!(lines("x.gz", &long, usize::MAX), Some(1 << 20));
        assert_eq!(lines("x.gz", &long[..long.len() - 1], 1000), None);
        assert_eq!(lines("x.gz", b"no gzip", 3), None);
    }
}
