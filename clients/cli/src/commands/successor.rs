//! What an import's folder says of the import that has taken its rejected records.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use transfer::StateFolder;

/// The import that takes them, written down before any of them is sent again.
#[derive(Serialize, Deserialize)]
pub(super) struct Successor {
    /// Its state folder.
    pub(super) folder: PathBuf,
    /// Whether it has begun: from then on it may have sent them, whatever its folder holds now.
    pub(super) begun: bool,
}

impl Successor {
    /// Writes down in the folder of the first import that its successor has begun, or is about to.
    pub(super) fn write(first: &Path, folder: &StateFolder, begun: bool) -> Result<()> {
        let successor = Self { folder: folder.path().to_owned(), begun };
        files::write_json(&StateFolder::open(first)?.retried(), &successor)
    }

    pub(super) fn read(first: &StateFolder) -> Result<Self> {
        files::read_json(&first.retried())
    }
}
