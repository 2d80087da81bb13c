//! Files in the object store: their keys, and the chunks that they are made of.

use serde::{Deserialize, Serialize};

mod chunks;
mod object_key;

pub use chunks::*;
pub use object_key::*;

/// How an export's files are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    #[default]
    None,
    /// Gzip of any number of members.
    Gzip,
}

impl Compression {
    /// What the names of compressed files end in, after `.ndjson`.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
        }
    }
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartId(pub String);
