//! A JSON string as it stands in the line.

use std::borrow::Cow;

/// The text between the quotes, its grammar checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    pub(crate) fn new(raw: &'a str, escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// The string's value.
    #[inline]
    pub(crate) fn unescape(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(self.unescape_raw()) } else { Cow::Borrowed(self.raw) }
    }

    /// By hand: with `serde_json`'s reader in its place the compiler makes the whole scanner a fifth slower, though only
    /// strings with escapes come here.
    #[cold]
    fn unescape_raw(self) -> String {
        let mut value = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            value.push_str(plain);
            let (character, length) = read_escape(escape);
            value.push(character);
            rest = escape.get(length..).unwrap_or_default();
        }
        value.push_str(rest);
        value
    }

    /// Whether the value is empty.
    pub(crate) fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the value has more than `limit` UTF-16 code units.
    pub(crate) fn is_longer_than(self, limit: usize) -> bool {
        // Neither UTF-8 nor an escape spends fewer bytes than code units.
        self.raw.len() > limit && self.unescape().encode_utf16().count() > limit
    }
}

/// The character that the text after a backslash stands for, and how many bytes it takes.
fn read_escape(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0xFFFD);
    let replacement = char::REPLACEMENT_CHARACTER;
    match escape.as_bytes().first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match unit(1) {
            high @ 0xD800..=0xDBFF => {
                let low = unit(7);
                let code = 0x1_0000 + ((high - 0xD800) << 10) + low.wrapping_sub(0xDC00);
                (char::from_u32(code).unwrap_or(replacement), 11)
            }
            code => (char::from_u32(code).unwrap_or(replacement), 5),
        },
        Some(b'"') => ('"', 1),
        Some(b'\\') => ('\\', 1),
        Some(b'/') => ('/', 1),
        _ => (replacement, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_its_character() {
        let text = Text::new(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é"#, true);
        assert_eq!(text.unescape(), "a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1F600} é");
        assert!(text.is_longer_than(13) && !text.is_longer_than(14));
    }
}
