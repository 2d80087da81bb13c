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

    #[cold]
    fn unescape_raw(self) -> String {
        // What the scanner takes for a string, serde_json takes.
        serde_json::from_str(&format!("\"{}\"", self.raw)).unwrap_or_default()
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
