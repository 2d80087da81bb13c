//! The first look at a file: what it is, by its first bytes and lines, and what to do where it is not what is read here.

use encoding_rs::Encoding;
use serde_json::Value;

use crate::format::Format;
use crate::unusable::unusable;

/// What the bytes of a file are packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// Files that have to be turned into something else first: how they begin, and what is said.
const OTHERS: [(&[u8], &str); 9] = [
    (
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
        "it is an old Excel workbook (.xls): open it, and save each sheet as CSV UTF-8",
    ),
    (b"BZh91AY&SY", "it is compressed with bzip2: unpack it with bunzip2"),
    (b"\xFD7zXZ\0", "it is compressed with xz: unpack it with unxz"),
    (b"7z\xBC\xAF\x27\x1C", "it is a 7-Zip archive: unpack it, and name the files in it"),
    (b"Rar!\x1A\x07", "it is a RAR archive: unpack it, and name the files in it"),
    (b"%PDF-", "it is a PDF document: ask for the data as CSV or NDJSON"),
    (
        b"PAR1\x15",
        "it is a Parquet file: write it as NDJSON, as with DuckDB: COPY (FROM 'FILE') TO 'FILE.ndjson' (FORMAT json)",
    ),
    (b"SQLite format 3\0", "it is an SQLite database: export its tables as CSV"),
    (b"{\\rtf", "it is an RTF document: ask for the data as CSV or NDJSON"),
];

/// How the file is packed; an error where it is none that is read here.
pub(crate) fn packing(first: &[u8]) -> anyhow::Result<Packing> {
    if first.starts_with(b"\x1F\x8B") {
        return Ok(Packing::Gzip);
    }
    if first.starts_with(b"\x28\xB5\x2F\xFD") || matches!(first, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]) {
        return Ok(Packing::Zstd);
    }
    refuse_binary(first).map(|()| Packing::None)
}

/// What is told by bytes alone, packed or unpacked.
pub(crate) fn refuse_binary(first: &[u8]) -> anyhow::Result<()> {
    if first.starts_with(b"PK\x03\x04") {
        let has = |part: &[u8]| memchr::memmem::find(first, part).is_some();
        let what = if has(b"[Content_Types].xml") || has(b"xl/") || has(b"opendocument.spreadsheet") {
            "it is a workbook (Excel or OpenDocument): open it, and save each sheet as CSV UTF-8"
        } else {
            "it is a zip archive: unpack it, and name the files in it"
        };
        return Err(unusable(what));
    }
    if first.get(257..262) == Some(b"ustar") {
        return Err(unusable("it is a tar archive: unpack it (tar -xf), and name the files in it"));
    }
    match OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        Some((_, what)) => Err(unusable(*what)),
        None => Ok(()),
    }
}

/// The encoding that a text shows by its mark or its zeros; `None` for UTF-8 and what is like it.
pub(crate) fn shown_encoding(first: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(first).filter(|(encoding, _)| *encoding != encoding_rs::UTF_8) {
        return Some(encoding);
    }
    // Without a mark: of text in any Latin script every other byte is zero.
    let sample = first.get(..first.len().min(64) & !1)?;
    let zeros = |odd: usize| sample.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let half = sample.len() / 2;
    match (zeros(0), zeros(1)) {
        (0, low) if half > 1 && low * 10 >= half * 9 => Some(encoding_rs::UTF_16LE),
        (high, 0) if half > 1 && high * 10 >= half * 9 => Some(encoding_rs::UTF_16BE),
        _ => None,
    }
}

/// Whether a text that is not ASCII is UTF-8: what another encoding has written is that by chance in very short texts alone.
pub(crate) fn is_surely_utf8(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // A letter that is cut off at the end of the look.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(first.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().filter(|c| !c.is_ascii()).count() > 1
}

/// Whether a text is what it is to be read as. `first` is its beginning; `is_whole` says that it is all of it.
pub(crate) fn check_text(first: &str, is_whole: bool, format: Format) -> anyhow::Result<()> {
    let text = first.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if let Some(markup) =
        text.strip_prefix('<').filter(|rest| rest.starts_with(|c: char| c.is_alphabetic() || "!?".contains(c)))
    {
        let lower = markup.to_ascii_lowercase();
        let is_page = ["!doctype html", "html", "head", "table", "meta"].iter().any(|tag| lower.starts_with(tag));
        return Err(unusable(if is_page || lower.contains("<html") || lower.contains("<table") {
            "it is a web page (HTML) with another name: open it in a spreadsheet, and save it as CSV UTF-8"
        } else {
            "it is XML: ask for the data as CSV or NDJSON"
        }));
    }
    let line = text.lines().next().unwrap_or_default();
    match format {
        // Its reader knows entries from lines, and tells of what is neither.
        Format::Fhir => match table_delimiter(text).filter(|_| !text.starts_with('{')) {
            Some(_) => Err(unusable("it looks like a table, and FHIR is JSON")),
            None => Ok(()),
        },
        Format::Ndjson if text.starts_with('[') => {
            Err(unusable("it is one JSON array, and NDJSON is one record a line: jq -c '.[]' FILE > FILE.ndjson"))
        }
        Format::Ndjson if text.starts_with('{') => check_json(text, line, is_whole),
        Format::Ndjson => match table_delimiter(text) {
            Some(what) => Err(unusable(format!("it is no JSON, and looks like a table: add --format {what}"))),
            None => Ok(()),
        },
        Format::Csv | Format::Tsv
            if text.starts_with('{') && serde_json::from_str::<Value>(line).is_ok_and(|found| found.is_object()) =>
        {
            Err(unusable("it holds JSON and not a table: add --format ndjson"))
        }
        Format::Csv | Format::Tsv if text.starts_with("[{") || text.starts_with("[\n") || text.starts_with("[\r\n") => {
            Err(unusable("it is one JSON array and not a table: jq -c '.[]' FILE > FILE.ndjson"))
        }
        Format::Csv | Format::Tsv => Ok(()),
    }
}

fn check_json(text: &str, line: &str, is_whole: bool) -> anyhow::Result<()> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let (record, is_over_lines) = match values.next() {
        Some(Ok(record)) => {
            let is_over_lines = values.byte_offset() > line.len();
            (Some(record), is_over_lines)
        }
        // It goes on behind what was looked at, over the ends of lines.
        Some(Err(error)) => (None, error.is_eof() && !is_whole && text.len() > line.len() + 1),
        None => (None, false),
    };
    let resource_type = record.as_ref().and_then(|record| record.get("resourceType")).and_then(Value::as_str);
    // A bundle may be longer than the first look.
    let is_bundle = resource_type == Some("Bundle")
        || (record.is_none()
            && text.chars().filter(|c| !c.is_whitespace()).take(24).eq(r#"{"resourceType":"Bundle""#.chars()));
    if is_bundle {
        return Err(unusable(
            "it is a FHIR Bundle, and the records here are ClinikAPI's flat JSON, one a line: add --format fhir \
             (and no type) to read its resources",
        ));
    }
    if record.as_ref().is_some_and(is_fhir) {
        return Err(unusable(
            "it holds FHIR's own resources, and the records here are ClinikAPI's flat JSON: add --format fhir \
             (and no type) to read them",
        ));
    }
    if is_over_lines {
        return Err(unusable("it is pretty-printed JSON, and NDJSON is one record a line: jq -c . FILE > FILE.ndjson"));
    }
    Ok(())
}

/// Whether a record has the form of FHIR's own JSON: members that no flat record has in that form.
fn is_fhir(record: &Value) -> bool {
    let is = |pointer: &str, test: fn(&Value) -> bool| record.pointer(pointer).is_some_and(test);
    is("/name/0/family", Value::is_string)
        || is("/name/0/given", Value::is_array)
        || is("/code/coding", Value::is_array)
        || is("/subject/reference", Value::is_string)
        || is("/patient/reference", Value::is_string)
        || is("/text/div", Value::is_string)
}

/// What a text's lines are divided by, where its first two agree on it.
fn table_delimiter(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (first, second) = (lines.next()?, lines.next()?);
    let count = |line: &str, delimiter: char| line.matches(delimiter).count();
    let is_divided =
        |delimiter: char| count(first, delimiter) > 0 && count(second, delimiter) >= count(first, delimiter);
    if second.starts_with('{') {
        None
    } else if is_divided('\t') {
        Some("tsv")
    } else {
        [',', ';', '|'].into_iter().any(is_divided).then_some("csv")
    }
}
