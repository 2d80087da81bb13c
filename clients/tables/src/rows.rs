//! Rows out of CSV text.
//!
//! Written here and not taken from the `csv` crate, whose line numbers are one short with CRLF and skip blank lines,
//! and which takes an unclosed quote for a field up to the end of the file, without an error.

use std::io::Read;

use anyhow::{Context, Result};

const CHUNK: usize = 1 << 17;
/// A longer row has an unclosed quote, or no record could hold it.
const MAX_ROW: usize = 1 << 20;

/// Why a file cannot be read on: what follows cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A quote is open at the end of the file.
    #[error("line {0}: a quote that opens in this row is never closed")]
    OpenQuote(u64),
    /// Text follows a closing quote.
    #[error("line {line}, column {column}: text follows a closing quote; a quote inside quotes is written twice")]
    StrayQuote {
        /// The line where the row begins.
        line: u64,
        /// From 1.
        column: usize,
    },
    /// The row does not end.
    #[error("line {0}: the row is longer than {MAX_ROW} bytes; is a quote not closed?")]
    TooLong(u64),
}

/// The cells of one row, unquoted.
#[derive(Debug, Default)]
pub(super) struct Cells {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Cells {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A cell's bytes; none for a cell that is not there.
    pub(super) fn get(&self, column: usize) -> &[u8] {
        let start = column.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(column).copied().unwrap_or(start);
        self.text.get(start..end).unwrap_or_default()
    }

    /// All cells, one behind the other.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn end_cell(&mut self) {
        self.ends.push(self.text.len());
    }
}

/// What a try to read a row brought.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Row { consumed: usize, line_ends: u64 },
    More,
    OpenQuote,
    StrayQuote { column: usize },
}

/// Reads one row from the start of `input`. `at_end`: nothing follows it.
fn parse(input: &[u8], delimiter: u8, at_end: bool, cells: &mut Cells) -> Parsed {
    cells.clear();
    let mut at = 0;
    let mut line_ends = 0;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        // A quote behind blanks is a quote, as some programs write it.
        let blanks = blanks(rest, delimiter);
        if rest.get(blanks).is_none() && !at_end {
            return Parsed::More;
        }
        if rest.get(blanks) == Some(&b'"') {
            at += blanks + 1;
            loop {
                let quoted = input.get(at..).unwrap_or_default();
                let Some(length) = memchr::memchr(b'"', quoted) else {
                    return if at_end { Parsed::OpenQuote } else { Parsed::More };
                };
                let piece = quoted.get(..length).unwrap_or_default();
                line_ends += memchr::memchr_iter(b'\n', piece).count() as u64;
                cells.text.extend_from_slice(piece);
                at += length + 1;
                match input.get(at) {
                    Some(b'"') => {
                        cells.text.push(b'"');
                        at += 1;
                    }
                    None if !at_end => return Parsed::More,
                    _ => break,
                }
            }
            at += self::blanks(input.get(at..).unwrap_or_default(), delimiter);
            if at == input.len() && !at_end {
                return Parsed::More;
            }
        } else {
            let Some(length) = memchr::memchr3(delimiter, b'\n', b'\r', rest) else {
                if !at_end {
                    return Parsed::More;
                }
                cells.text.extend_from_slice(rest);
                cells.end_cell();
                return Parsed::Row { consumed: input.len(), line_ends };
            };
            cells.text.extend_from_slice(rest.get(..length).unwrap_or_default());
            at += length;
        }
        cells.end_cell();
        match input.get(at) {
            Some(byte) if *byte == delimiter => at += 1,
            Some(b'\n') => return Parsed::Row { consumed: at + 1, line_ends: line_ends + 1 },
            Some(b'\r') => match input.get(at + 1) {
                Some(b'\n') => return Parsed::Row { consumed: at + 2, line_ends: line_ends + 1 },
                None if !at_end => return Parsed::More,
                _ => return Parsed::Row { consumed: at + 1, line_ends: line_ends + 1 },
            },
            None => return Parsed::Row { consumed: at, line_ends },
            Some(_) => return Parsed::StrayQuote { column: cells.len() },
        }
    }
}

/// How many blanks stand at the start, none of them a delimiter.
fn blanks(text: &[u8], delimiter: u8) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t') && **byte != delimiter).count()
}

/// Reads rows, and knows on which line each begins.
pub(super) struct Rows<R> {
    input: R,
    pub delimiter: u8,
    buffer: Vec<u8>,
    start: usize,
    at_end: bool,
    /// The line of the next row.
    line: u64,
    /// The cells of the row in hand.
    pub cells: Cells,
}

impl<R: Read> Rows<R> {
    /// Finds the delimiter: `given`, or the one that a first line `sep=;` names (as Excel writes it), or the one that the
    /// header has most of. Blank lines and byte order marks before the header are passed over, and so many lines as are to
    /// be skipped.
    pub(super) fn new(input: R, given: Option<u8>, skip: u64) -> Result<Self> {
        let mut rows = Self {
            input,
            delimiter: b',',
            buffer: Vec::new(),
            start: 0,
            at_end: false,
            line: 1,
            cells: Cells::default(),
        };
        while !rows.at_end && rows.buffer.len() < CHUNK {
            rows.fill()?;
        }
        for _ in 0..skip {
            rows.start += rows.first_line().len();
            rows.skip_line_end();
        }
        rows.skip_blank();
        let first = rows.first_line().to_vec();
        rows.delimiter = match &first[..] {
            [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', named] => {
                let named = *named;
                rows.start += first.len();
                rows.skip_blank();
                given.unwrap_or(named)
            }
            _ => given.unwrap_or_else(|| likely_delimiter(&first)),
        };
        Ok(rows)
    }

    fn skip_line_end(&mut self) -> bool {
        let length = match self.buffer.get(self.start..).unwrap_or_default() {
            [b'\r', b'\n', ..] => 2,
            [b'\n' | b'\r', ..] => 1,
            _ => return false,
        };
        self.start += length;
        self.line += 1;
        true
    }

    /// What stands before the header and says nothing.
    fn skip_blank(&mut self) {
        loop {
            if self.skip_line_end() {
                continue;
            }
            let is_empty = |line: &[u8]| !line.is_empty() && line.iter().all(|byte| b" ,;\t|".contains(byte));
            let length = match self.buffer.get(self.start..).unwrap_or_default() {
                [0xEF, 0xBB, 0xBF, ..] => 3,
                // A line of empty cells is no header.
                _ if is_empty(self.first_line()) => self.first_line().len(),
                _ => return,
            };
            self.start += length;
        }
    }

    /// The line in hand, without its end.
    fn first_line(&self) -> &[u8] {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// The line on which the next row begins, its cells in [`cells`](Self::cells); `None` at the end. Blank lines are
    /// no rows.
    pub(super) fn next_row(&mut self) -> Result<Option<u64>> {
        loop {
            let input = self.buffer.get(self.start..).unwrap_or_default();
            if input.is_empty() && self.at_end {
                return Ok(None);
            }
            match parse(input, self.delimiter, self.at_end, &mut self.cells) {
                Parsed::Row { consumed, line_ends } => {
                    let line = self.line;
                    self.start += consumed;
                    self.line += line_ends;
                    if self.cells.len() > 1 || !self.cells.text.is_empty() {
                        return Ok(Some(line));
                    }
                }
                Parsed::More if input.len() > MAX_ROW => return Err(RowError::TooLong(self.line).into()),
                Parsed::More => self.fill()?,
                Parsed::OpenQuote => return Err(RowError::OpenQuote(self.line).into()),
                Parsed::StrayQuote { column } => return Err(RowError::StrayQuote { line: self.line, column }.into()),
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + CHUNK, 0);
        let read = self.input.read(self.buffer.get_mut(held..).unwrap_or_default()).context("read source")?;
        self.buffer.truncate(held + read);
        self.at_end = read == 0;
        Ok(())
    }
}

/// The delimiter that the header has most of, outside quotes; a comma where it has none.
fn likely_delimiter(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in header {
        quoted ^= *byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += usize::from(!quoted && byte == delimiter);
        }
    }
    // Of equal counts the earlier wins, `max_by_key` gives the last.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Result<Vec<(u64, Vec<String>)>> {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let count = self.0.len().min(3).min(buffer.len());
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let mut rows = Rows::new(Trickle(text), None, 0)?;
        let mut all = Vec::new();
        while let Some(line) = rows.next_row()? {
            let cells = (0..rows.cells.len()).map(|column| String::from_utf8(rows.cells.get(column).to_vec()).unwrap());
            all.push((line, cells.collect()));
        }
        Ok(all)
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn lines_are_counted_with_crlf_blank_lines_and_breaks_in_quotes() {
        let text = b"\xEF\xBB\xBFa,b\r\n\r\n1,\"x\r\ny\"\r\n3,4\r\n";
        let expected = [row(1, &["a", "b"]), row(3, &["1", "x\r\ny"]), row(5, &["3", "4"])];
        assert_eq!(rows(text).unwrap(), expected);
    }

    #[test]
    fn quotes_are_unescaped_and_those_inside_a_cell_kept() {
        let text = b"a,b\n\"say \"\"hi\"\"\",5'6\"\n,\"\"";
        assert_eq!(rows(text).unwrap()[1..], [row(2, &["say \"hi\"", "5'6\""]), row(3, &["", ""])]);
    }

    #[test]
    fn a_quote_behind_a_blank_is_a_quote() {
        let text = b"a, b\n1, \"x, \"\"y\"\"\" \n2,\t\"z\"\t,\n\"q\" ,  \"r\"";
        let expected = [row(2, &["1", "x, \"y\""]), row(3, &["2", "z", ""]), row(4, &["q", "r"])];
        assert_eq!(rows(text).unwrap()[1..], expected);
        assert!(rows(b"a,b\n1, \"x\" y\n").unwrap_err().to_string().contains("follows a closing quote"));
    }

    #[test]
    fn blank_lines_and_marks_before_the_header_are_passed_over() {
        for text in [b"\n\r\n  \na;b\n1;2\n".as_slice(), b"\xEF\xBB\xBF\nsep=;\n\na;b\n1;2\n"] {
            let found = rows(text).unwrap();
            assert_eq!(found[0].1, ["a", "b"], "{text:?}");
            assert_eq!(found[1].0, memchr::memchr_iter(b'\n', text).count() as u64);
        }
    }

    #[test]
    fn the_delimiter_is_found() {
        for (text, cells) in [
            (b"a;b,c;d\n".as_slice(), ["a", "b,c", "d"].as_slice()),
            (b"a\tb\n", &["a", "b"]),
            (b"\"x;y;z\",b\n", &["x;y;z", "b"]),
            (b"sep=;\r\na;b\n", &["a", "b"]),
            (b"one\n", &["one"]),
        ] {
            assert_eq!(rows(text).unwrap()[0].1, cells, "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_is_an_error_with_its_line() {
        let error = rows(b"a,b\r\n1,2\r\n3,\"open\r\n5,6\r\n").unwrap_err().to_string();
        assert!(error.starts_with("line 3:"), "{error}");
        let error = rows(b"a,b\n1,\"open\n2,\"x\"\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 2:"), "{error}");
        let long = [b"a\n\"".as_slice(), &vec![b'x'; MAX_ROW + CHUNK + 1]].concat();
        let error = Rows::new(long.as_slice(), None, 0).and_then(|mut rows| {
            rows.next_row()?;
            rows.next_row()
        });
        assert!(error.unwrap_err().to_string().starts_with("line 2:"));
    }
}
