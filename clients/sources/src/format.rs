//! What a file is, as far as its name and the caller say.

use std::fmt;
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
}

/// What to do with a column that the type does not define.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownColumns {
    /// Refuse the file.
    Error,
    /// Keep it as a member with text.
    Keep,
    /// Leave it out.
    Drop,
}

impl Format {
    /// Every format, its name, and what it is.
    pub const ALL: [(Self, &str, &str); 3] = [
        (Self::Ndjson, "ndjson", "One JSON object a line"),
        (Self::Csv, "csv", "Columns under a header, with commas, semicolons or another delimiter"),
        (Self::Tsv, "tsv", "Columns under a header, with tabs"),
    ];
}

impl UnknownColumns {
    /// Every choice, its name, and what it means.
    pub const ALL: [(Self, &str, &str); 3] = [
        (Self::Error, "error", "Refuse the file"),
        (Self::Keep, "keep", "Keep it as a member with text"),
        (Self::Drop, "drop", "Leave it out"),
    ];
}

impl fmt::Display for UnknownColumns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(choice, ..)| choice == self).map_or("", |(_, name, _)| name);
        formatter.write_str(name)
    }
}

/// The format that a file's name tells.
#[must_use]
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
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
