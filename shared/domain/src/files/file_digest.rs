//! The SHA-256 of a file that several workers write one after the other.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

use crate::identity::hex;

/// The state of a file's SHA-256 behind a part.
#[derive(Clone, Default)]
pub(crate) struct FileDigest(Sha256);

impl FileDigest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }

    /// The state in hexadecimal: up to 63 bytes of it are text of a record, so it is never shown. Readable by
    /// sha2 0.11 only.
    pub(crate) fn save(&self) -> String {
        hex(&self.0.serialize())
    }

    pub(crate) fn restore(saved: &str) -> Option<Self> {
        let bytes: Option<Vec<u8>> = saved
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let state: SerializedState<Sha256> = bytes?.as_slice().try_into().ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_goes_on_where_it_was_saved() {
        let mut digest = FileDigest::default();
        digest.update(&[b'a'; 100]);
        let mut other = FileDigest::restore(&digest.save()).unwrap();
        digest.update(b"b");
        other.update(b"b");
        assert_eq!(digest.finish(), other.finish());
        assert!(FileDigest::restore("00").is_none());
    }
}
