//! JSON's grammar (RFC 8259): a cursor over the line, and the walks over its containers.

use std::borrow::Cow;

use super::Scan;
use crate::text::Text;

/// The deepest nesting of arrays and objects that is read.
const MAX_DEPTH: usize = 128;

/// The line is not JSON; the cursor stands where that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalid;

/// A place in the line.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> Option<&'a str> {
        self.text.get(start..end)
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Invalid) }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(Invalid)
        }
    }

    fn open(&mut self, byte: u8) -> Result<(), Invalid> {
        self.take(byte)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Invalid) } else { Ok(()) }
    }

    pub(super) fn literal(&mut self, literal: &str) -> Result<(), Invalid> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(Invalid)
        }
    }

    pub(super) fn number(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.slice(start, self.at).ok_or(Invalid)
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Invalid) }
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Invalid> {
        self.take(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = plain_bytes(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    let raw = self.slice(start, self.at).ok_or(Invalid)?;
                    self.at += 1;
                    return Ok(Text::new(raw, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, or the end of the line.
                _ => return Err(Invalid),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.take(b'\\')?;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.hex_unit()?;
                match unit {
                    0xD800..=0xDBFF => {
                        self.take(b'\\')?;
                        let low = self.hex_unit()?;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return Err(Invalid);
                        }
                    }
                    0xDC00..=0xDFFF => return Err(Invalid),
                    _ => {}
                }
            }
            _ => return Err(Invalid),
        }
        Ok(())
    }

    fn hex_unit(&mut self) -> Result<u32, Invalid> {
        self.take(b'u')?;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or(Invalid)?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// How many bytes come before the next quote, backslash or control character, found eight at a time.
#[inline]
fn plain_bytes(rest: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let (words, tail) = rest.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Flipping this bit puts the quote (0x22) right after the control characters (0x00 to 0x1f), so
        // that one comparison finds both.
        let quote_or_control = word ^ (ONES * 0x02);
        let backslash = word ^ (ONES * u64::from(b'\\'));
        // Each sets the high bit of the bytes looked for; a borrow can only spoil the bytes after the
        // first one found.
        let found = (quote_or_control.wrapping_sub(ONES * 0x21) & !quote_or_control)
            | (backslash.wrapping_sub(ONES) & !backslash);
        let found = found & HIGHS;
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = tail.iter().take_while(|byte| !matches!(**byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + plain
}

impl<'a> Scan<'a> {
    /// Walks an object: `each` gets every name, unescaped, and where it began, and reads the value.
    #[inline]
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>, usize) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.cursor.open(b'{')?;
        self.cursor.skip_space();
        if self.cursor.peek() != Some(b'}') {
            loop {
                let start = self.cursor.at;
                let name = self.cursor.string()?.unescape();
                self.cursor.skip_space();
                self.cursor.take(b':')?;
                self.cursor.skip_space();
                each(self, name, start)?;
                self.cursor.skip_space();
                if self.cursor.peek() != Some(b',') {
                    break;
                }
                self.cursor.at += 1;
                self.cursor.skip_space();
            }
        }
        self.cursor.depth -= 1;
        self.cursor.take(b'}')
    }

    /// Walks an array: `each` gets every index and reads the item. Returns the number of items.
    #[inline]
    pub(super) fn items(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Invalid>,
    ) -> Result<usize, Invalid> {
        self.cursor.open(b'[')?;
        self.cursor.skip_space();
        let mut count = 0;
        if self.cursor.peek() != Some(b']') {
            loop {
                each(self, count)?;
                count += 1;
                self.cursor.skip_space();
                if self.cursor.peek() != Some(b',') {
                    break;
                }
                self.cursor.at += 1;
                self.cursor.skip_space();
            }
        }
        self.cursor.depth -= 1;
        self.cursor.take(b']')?;
        Ok(count)
    }

    /// Reads a value that has no rule: its grammar is checked, and its members are told apart.
    pub(super) fn skip(&mut self) -> Result<(), Invalid> {
        match self.cursor.peek() {
            Some(b'"') => self.cursor.string().map(|_| ()),
            Some(b'{') => {
                let own_names = self.names.len();
                self.members(|scan, name, _| {
                    scan.names.push(name);
                    scan.skip()
                })?;
                self.close_names(own_names);
                Ok(())
            }
            Some(b'[') => self.items(|scan, _| scan.skip()).map(|_| ()),
            Some(b't') => self.cursor.literal("true"),
            Some(b'f') => self.cursor.literal("false"),
            Some(b'n') => self.cursor.literal("null"),
            _ => self.cursor.number().map(|_| ()),
        }
    }

    /// Reads a string, or any other value without looking into it.
    pub(super) fn text_or_skip(&mut self) -> Result<Option<Text<'a>>, Invalid> {
        if self.cursor.peek() == Some(b'"') { self.cursor.string().map(Some) } else { self.skip().map(|()| None) }
    }
}
