//! SHA-256: of what is not kept, and of a file that several workers write one after the other.

use std::fmt;

use base16ct::lower::{decode_vec, encode_string};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

/// The SHA-256 of something that is not kept, in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    encode_string(&digest.finalize())
}

/// The state of a file's SHA-256 after a part.
#[derive(Clone, Default)]
pub struct FileDigest(Sha256);

impl FileDigest {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[must_use]
    pub fn finish(self) -> String {
        encode_string(&self.0.finalize())
    }

    #[must_use]
    pub fn save(&self) -> SavedDigest {
        SavedDigest(encode_string(&self.0.serialize()))
    }
}

/// A digest's state in hexadecimal: up to 63 bytes of it are text of a record, so it is never shown. Readable by sha2 0.11
/// only.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedDigest(pub String);

impl SavedDigest {
    /// The digest, unless another version of `sha2` has saved it.
    #[must_use]
    pub fn restore(&self) -> Option<FileDigest> {
        let state: SerializedState<Sha256> = decode_vec(&self.0).ok()?.as_slice().try_into().ok()?;
        Sha256::deserialize(&state).ok().map(FileDigest)
    }
}

impl fmt::Debug for SavedDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SavedDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_parts_do_not_collide() {
        assert_ne!(sha256_hex(&[b"ab", b"c"]), sha256_hex(&[b"a", b"bc"]));
    }

    #[test]
    fn a_digest_goes_on_where_it_was_saved() {
        let mut digest = FileDigest::default();
        digest.update(&[b'a'; 100]);
        let mut other = digest.save().restore().unwrap();
        digest.update(b"b");
        other.update(b"b");
        assert_eq!(digest.finish(), other.finish());
        assert!(SavedDigest("00".to_owned()).restore().is_none());
    }
}
