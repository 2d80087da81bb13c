//! What stands for a text where many have to be remembered.

/// Half of a SHA-256. Two texts that share one are not found by chance: among 2^32 ids the odds are below 1 in 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of a line of JSON, however its members are spaced.
    pub(crate) fn of_json(line: &[u8]) -> Self {
        let mut is_text = false;
        let mut is_escaped = false;
        let mut compact = Vec::with_capacity(line.len());
        for byte in line {
            if is_text || !byte.is_ascii_whitespace() {
                compact.push(*byte);
            }
            is_text ^= *byte == b'"' && !is_escaped;
            is_escaped = is_text && *byte == b'\\' && !is_escaped;
        }
        Self::of(&compact)
    }

    pub(crate) fn of(text: &[u8]) -> Self {
        Self(files::sha256(text).first_chunk::<16>().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_between_members_is_no_change() {
        let of = |text: &str| Fingerprint::of_json(text.as_bytes());
        assert_eq!(of(r#"{"a":"b \" c","d":1}"#), of("{ \"a\" : \"b \\\" c\",\t\"d\": 1 }\r"));
        assert_ne!(of(r#"{"a":"b c"}"#), of(r#"{"a":"bc"}"#));
    }
}
