//! What a file is, as far as its name and the caller say.

use std::path::Path;

use anyhow::Result;
use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

use crate::unusable::unusable;

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Columns under a header, with commas, semicolons or another delimiter.
    Csv,
    /// Columns under a header, with tabs.
    Tsv,
    /// FHIR's own resources.
    Fhir,
}

impl Format {
    /// Every format, its name, and what it is.
    pub const ALL: [(Self, &str, &str); 4] = [
        (Self::Ndjson, "ndjson", "One JSON object a line"),
        (Self::Csv, "csv", "Columns under a header, with commas, semicolons or another delimiter"),
        (Self::Tsv, "tsv", "Columns under a header, with tabs"),
        (Self::Fhir, "fhir", "FHIR R4 resources of any types: NDJSON, Bundles, or folders of them (see docs/fhir.md)"),
    ];

    /// Whether its records are rows.
    #[must_use]
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv)
    }
}

/// A file's name without what says how it is packed.
#[must_use]
pub fn unpacked_name(name: &str) -> &str {
    [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(name)
}

/// The format that a file's name tells.
#[must_use]
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    match unpacked_name(&name).rsplit_once('.')?.1 {
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        _ => None,
    }
}

/// An encoding, by any name that browsers know it by.
pub fn encoding(name: &str) -> Result<&'static Encoding> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        unusable(format!("unknown encoding {name}: utf-8, utf-16le, utf-16be, windows-1250 to windows-1258, iso-8859-1 to iso-8859-16, ibm866, macintosh, gb18030, big5, shift_jis, euc-jp and euc-kr are known"))
    })
}
