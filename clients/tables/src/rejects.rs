//! Rejected rows as they came, each behind what is wrong with it: in front, it stands in one column whatever cells are missing.

use sources::SourceViolation;

use super::VIOLATIONS_COLUMN;

/// How a file of rejected rows begins: a mark, since they are UTF-8 whatever encoding the source had; the delimiter, if it
/// is one that nobody would find; and the header.
#[must_use]
pub fn rejected_header(header: &[&[u8]], delimiter: u8) -> Vec<u8> {
    let mut text = "\u{feff}".as_bytes().to_vec();
    if !b",;\t|".contains(&delimiter) {
        text.extend([&b"sep="[..], &[delimiter, b'\n']].concat());
    }
    text.extend(row(VIOLATIONS_COLUMN, header, header, delimiter));
    text
}

/// A row, and what is wrong with it.
#[must_use]
pub fn rejected_row(header: &[&[u8]], cells: &[&[u8]], delimiter: u8, violations: &[SourceViolation]) -> Vec<u8> {
    let told = violations.iter().map(|violation| match &violation.column {
        Some(column) => format!("{column}: {}", violation.message),
        None => violation.message.clone(),
    });
    row(&told.collect::<Vec<_>>().join("; "), header, cells, delimiter)
}

/// A cell and a row behind it, without what an earlier round has said of it.
fn row(first: &str, header: &[&[u8]], cells: &[&[u8]], delimiter: u8) -> Vec<u8> {
    let old = header.iter().position(|name| *name == VIOLATIONS_COLUMN.as_bytes());
    let mut line = quoted(first.as_bytes());
    for (_, cell) in cells.iter().enumerate().filter(|(at, _)| Some(*at) != old) {
        line.push(delimiter);
        let is_plain = cell.iter().all(|byte| !matches!(byte, b'"' | b'\n' | b'\r') && *byte != delimiter);
        let is_trimmed = cell.trim_ascii() == *cell;
        if is_plain && is_trimmed { line.extend_from_slice(cell) } else { line.extend(quoted(cell)) }
    }
    line.push(b'\n');
    line
}

fn quoted(cell: &[u8]) -> Vec<u8> {
    let doubled = cell.iter().flat_map(|byte| if *byte == b'"' { vec![b'"', b'"'] } else { vec![*byte] });
    std::iter::once(b'"').chain(doubled).chain([b'"']).collect()
}
