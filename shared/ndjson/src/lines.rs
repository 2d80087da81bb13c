//! Push bytes, pull lines.

/// The UTF-8 encoding of U+FEFF, dropped at the very start of the input.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What [`LineSplitter::next_frame`] yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole line without its terminator, which was `\n` or `\r\n` (or the end of the input).
    Line {
        /// The line's number, from 1.
        number: u64,
        /// The line's bytes.
        bytes: &'a [u8],
    },
    /// A piece of a line that is longer than the limit. Pieces arrive in order and are not held, so a
    /// line of any length passes through in bounded memory.
    Oversize {
        /// The line's number, from 1.
        number: u64,
        /// The piece's bytes; its line terminator is not part of it.
        piece: &'a [u8],
        /// Whether the line ends with this piece.
        last: bool,
    },
}

/// Splits pushed bytes into the lines of NDJSON.
///
/// A raw `\n` always ends a line: JSON cannot hold one inside a string, so no quote is tracked. One `\r`
/// before it belongs to the terminator. One final terminator ends the last line and does not start
/// another. The same bytes give the same lines however they are cut into chunks.
///
/// Pull frames until there is none before pushing the next chunk: what is held is then at most the
/// limit plus one chunk.
#[derive(Debug)]
pub struct LineSplitter {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the next frame starts in `buffer`.
    start: usize,
    /// How far `buffer` was searched for a terminator.
    searched: usize,
    number: u64,
    at_start: bool,
    oversize: bool,
    finished: bool,
}

impl LineSplitter {
    /// A splitter that hands lines of up to `limit` bytes out whole and longer ones in pieces.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            number: 0,
            at_start: true,
            oversize: false,
            finished: false,
        }
    }

    /// Takes the next bytes of the input.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// Says that the input has ended: what is left is the last line.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The next line or piece, or `None` when more bytes are needed (or, after
    /// [`finish`](Self::finish), when the input is used up).
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        if self.at_start && !self.skip_byte_order_mark() {
            return None;
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(offset) = memchr::memchr(b'\n', unsearched) {
            let end = self.searched + offset;
            let start = self.start;
            self.start = end + 1;
            self.searched = self.start;
            return Some(self.end_line(start, end, true));
        }
        self.searched = self.buffer.len();
        let held = self.searched - self.start;
        if self.finished {
            if held == 0 && !self.oversize {
                return None;
            }
            let start = self.start;
            self.start = self.searched;
            return Some(self.end_line(start, self.searched, false));
        }
        // A trailing `\r` may turn out to be half a terminator: it is held back, and not counted.
        let carriage_return = usize::from(self.buffer.get(self.start..)?.ends_with(b"\r"));
        if (self.oversize && held > carriage_return) || held - carriage_return > self.limit {
            self.oversize = true;
            let piece_end = self.searched - carriage_return;
            let start = self.start;
            self.start = piece_end;
            return Some(Frame::Oversize {
                number: self.number + 1,
                piece: self.buffer.get(start..piece_end).unwrap_or_default(),
                last: false,
            });
        }
        None
    }

    /// Drops a byte order mark; false while it cannot be told yet whether there is one.
    fn skip_byte_order_mark(&mut self) -> bool {
        if self.buffer.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.buffer) && !self.finished {
            return false;
        }
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.start = BYTE_ORDER_MARK.len();
            self.searched = self.start;
        }
        self.at_start = false;
        true
    }

    fn end_line(&mut self, start: usize, end: usize, terminated: bool) -> Frame<'_> {
        self.number += 1;
        let number = self.number;
        let whole = self.buffer.get(start..end).unwrap_or_default();
        // Only before a `\n` is a `\r` part of the terminator.
        let bytes = if terminated { whole.strip_suffix(b"\r").unwrap_or(whole) } else { whole };
        let oversize = std::mem::take(&mut self.oversize) || bytes.len() > self.limit;
        if oversize { Frame::Oversize { number, piece: bytes, last: true } } else { Frame::Line { number, bytes } }
    }
}

/// Counts the lines of pushed bytes as [`LineSplitter`] would split them, without holding any.
#[derive(Debug, Default)]
pub struct LineCounter {
    terminators: u64,
    /// Whether there is something after the last terminator.
    ends_open: bool,
    /// How the input begins: enough to see a byte order mark, and whether anything follows it.
    head: Vec<u8>,
}

impl LineCounter {
    /// Takes the next bytes of the input.
    pub fn push(&mut self, chunk: &[u8]) {
        let Some(last) = chunk.last() else { return };
        self.terminators += memchr::memchr_iter(b'\n', chunk).count() as u64;
        self.ends_open = *last != b'\n';
        self.head.extend(chunk.iter().take(BYTE_ORDER_MARK.len() + 1 - self.head.len()));
    }

    /// How many lines there are so far; a final terminator starts no further one, and a byte order mark alone none.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.terminators + u64::from(self.ends_open && self.head != BYTE_ORDER_MARK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq, Clone)]
    enum Seen {
        Line(u64, Vec<u8>),
        Oversize(u64, Vec<u8>),
    }

    fn split<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut splitter = LineSplitter::new(limit);
        let mut seen = Vec::new();
        let mut pieces: Vec<u8> = Vec::new();
        let mut drain = |splitter: &mut LineSplitter| {
            while let Some(frame) = splitter.next_frame() {
                match frame {
                    Frame::Line { number, bytes } => seen.push(Seen::Line(number, bytes.to_vec())),
                    Frame::Oversize { number, piece, last } => {
                        pieces.extend_from_slice(piece);
                        if last {
                            seen.push(Seen::Oversize(number, std::mem::take(&mut pieces)));
                        }
                    }
                }
            }
        };
        for chunk in chunks {
            splitter.push(chunk);
            drain(&mut splitter);
        }
        splitter.finish();
        drain(&mut splitter);
        assert!(pieces.is_empty(), "an oversize line has a last piece");
        seen
    }

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        split(1 << 20, [input])
            .into_iter()
            .map(|seen| match seen {
                Seen::Line(_, bytes) => bytes,
                Seen::Oversize(..) => panic!("no line is over the limit"),
            })
            .collect()
    }

    #[test]
    fn one_final_terminator_starts_no_line() {
        assert_eq!(lines(b"a\nb\n"), [b"a", b"b"]);
        assert_eq!(lines(b"a\nb"), [b"a", b"b"]);
        assert_eq!(lines(b"a\n\n"), [b"a".as_slice(), b""]);
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\n"), [b""]);
    }

    #[test]
    fn one_carriage_return_belongs_to_the_terminator() {
        assert_eq!(lines(b"a\r\nb\r\r\n"), [b"a".as_slice(), b"b\r"]);
        assert_eq!(lines(b"a\rb\n"), [b"a\rb"]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_start_only() {
        assert_eq!(lines(b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb"), [b"a".as_slice(), b"\xEF\xBB\xBFb"]);
        assert_eq!(lines(b"\xEF\xBB"), [b"\xEF\xBB"]);
        assert_eq!(lines(b"\xEF\xBB\xBF"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_the_next_one_whole() {
        let seen = split(4, [b"abcdef".as_slice(), b"ghi\r", b"\nxy\n"]);
        assert_eq!(seen, [Seen::Oversize(1, b"abcdefghi".to_vec()), Seen::Line(2, b"xy".to_vec())]);
    }

    #[test]
    fn a_long_line_is_not_held() {
        let mut splitter = LineSplitter::new(16);
        for _ in 0..10_000 {
            splitter.push(&[b'x'; 100]);
            while splitter.next_frame().is_some() {}
        }
        assert!(splitter.buffer.capacity() < 1_000);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xEF), Just(0xBB), Just(0xBF)], 0..60),
            cuts in proptest::collection::vec(1usize..7, 0..60),
            limit in 0usize..12,
        ) {
            let mut chunks = Vec::new();
            let mut rest = input.as_slice();
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(split(limit, chunks), split(limit, [input.as_slice()]));
        }

        #[test]
        fn counting_agrees_with_splitting(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xEF), Just(0xBB), Just(0xBF)], 0..30),
            cut in 0usize..30,
        ) {
            let (head, tail) = input.split_at(cut.min(input.len()));
            let mut counter = LineCounter::default();
            counter.push(head);
            counter.push(tail);
            prop_assert_eq!(counter.count(), lines(&input).len() as u64);
            let marked = [BYTE_ORDER_MARK, input.as_slice()].concat();
            let mut counter = LineCounter::default();
            counter.push(&marked);
            prop_assert_eq!(counter.count(), lines(&marked).len() as u64);
        }

        #[test]
        fn joined_lines_are_the_input(input in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'a'), Just(b'"')], 1..60)) {
            let joined = lines(&input).join(&b'\n');
            let expected = input.strip_suffix(b"\n").unwrap_or(&input);
            prop_assert_eq!(joined.as_slice(), expected);
        }
    }
}
