//! CSV and TSV: rows become records by the type's own rules, with or without a map, which this drafts, too. Knows no
//! network and prints nothing.

use std::io::Read;

use anyhow::Result;
use records::Schema;
use sources::{Doubt, Sink, SourceViolation, Taken, Validator, unusable};

mod columns;
mod convert;
mod dates;
mod fields;
mod guess;
mod headers;
mod headings;
mod map;
mod rejects;
mod rows;
mod translate;
mod tree;
mod unknown;

pub use fields::all_columns;
pub use guess::draft_map;
pub use map::{Effects, Map, Maps};
pub use rejects::{rejected_header, rejected_row};
pub use rows::RowError;
pub use unknown::UnknownColumns;

use columns::Columns;
use convert::Converter;
use rows::Rows;

/// The column that says what is wrong with a rejected row: whoever fixes the row may leave it there.
pub const VIOLATIONS_COLUMN: &str = "_violations";

/// Rows of a file.
#[derive(Debug, Default, Clone, Copy)]
pub struct RowCount {
    /// Rows that are records, valid or not.
    pub records: u64,
    /// Rows of empty cells, which are none.
    pub blank: u64,
}

/// How a table is read.
pub struct TableOptions<'a> {
    /// As it was said, or known from the format; otherwise found.
    pub delimiter: Option<u8>,
    /// Without one, every column fills the field of its own name.
    pub map: Option<&'a Map>,
    pub unknown: UnknownColumns,
}

/// The names of the columns.
fn header_of(rows: &mut Rows<impl Read>) -> Result<Vec<String>> {
    let Some(line) = rows.next_row()? else { return Err(unusable("the file has no header")) };
    check_text(&rows.cells, line, None)?;
    let names = (0..rows.cells.len()).map(|at| String::from_utf8_lossy(rows.cells.get(at)).trim().to_owned());
    let mut names: Vec<_> = names.collect();
    // What a trailing delimiter leaves behind is no column.
    while names.len() > 1 && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    Ok(names)
}

fn read_header<R: Read>(reader: R, options: &TableOptions<'_>, schema: &Schema) -> Result<(Rows<R>, Converter)> {
    let skip = options.map.and_then(|map| map.settings.skip).unwrap_or(0);
    let mut rows = Rows::new(reader, options.delimiter, skip)?;
    let headers = header_of(&mut rows)?;
    let count = rows.cells.len();
    let plain = Map::default();
    let columns = Columns::assign(schema, headers, options.map.unwrap_or(&plain), options.unknown);
    match columns.and_then(Converter::new) {
        Ok(converter) => Ok((rows, converter)),
        Err(problem) => {
            // A title above the header has fewer cells than what follows.
            let next = rows.next_row().ok().flatten().map_or(0, |_| rows.cells.len());
            let hint = if next > count + 1 {
                "\n  the line behind it has more cells: if it is a title, and not the header, add skip = 1 to the map"
            } else {
                ""
            };
            Err(unusable(format!("{problem}{hint}")))
        }
    }
}

/// Checks whether a table's header and its map fit the type, and tells what the map's settings do. Reads no further.
pub fn check_header(reader: impl Read, options: &TableOptions<'_>, schema: &Schema) -> Result<Effects> {
    read_header(reader, options, schema).map(|(_, converter)| converter.effects())
}

/// Reads a table with a header. `seen` hears of every thousandth row.
pub fn read_table(
    reader: impl Read,
    options: &TableOptions<'_>,
    validator: &Validator,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(),
) -> Result<RowCount> {
    let (mut rows, mut converter) = read_header(reader, options, &validator.schema)?;
    let mut record = Vec::new();
    let mut count = RowCount::default();
    while let Some(line) = rows.next_row()? {
        let cells = &rows.cells;
        if cells.text().iter().all(u8::is_ascii_whitespace) {
            count.blank += 1;
            continue;
        }
        check_text(cells, line, Some(&converter.headers))?;
        count.records += 1;
        if count.records.is_multiple_of(1000) {
            seen();
        }
        let mut violations = converter.convert(cells, &mut record);
        violations.splice(0..0, ragged(cells, &converter.headers));
        if is_header(cells, &converter.headers) {
            violations = vec![SourceViolation::of_record("header_row", "The row is the header once more")];
        }
        if has_swallowed(cells, rows.delimiter, converter.headers.len()) {
            sink.doubtful(line, validator.resource_type, "quoted cells", Doubt::SwallowedRows);
        }
        match validator.check(&record) {
            Ok(id) if violations.is_empty() => match validator.accept(line, id, &record, sink)? {
                Taken::LeftOut => continue,
                Taken::In => {
                    for (field, doubt) in converter.doubts.drain(..) {
                        sink.doubtful(line, validator.resource_type, &field, doubt);
                    }
                    continue;
                }
                Taken::Rejected(violation) => violations.push(violation),
            },
            Ok(_) => {}
            Err(of_record) => {
                for violation in of_record {
                    // A cell that could not be translated has its violation already.
                    if violations.iter().all(|told| told.path != violation.path) {
                        violations.push(converter.located(violation));
                    }
                }
            }
        }
        sink.rejected_bytes(validator.resource_type, &record, true)?;
        sink.rejected(line, validator.resource_type, &violations)?;
        let headers: Vec<_> = converter.headers.iter().map(String::as_bytes).collect();
        let cells: Vec<_> = (0..rows.cells.len()).map(|at| rows.cells.get(at)).collect();
        sink.rejected_row(&headers, &cells, rows.delimiter, &violations)?;
    }
    seen();
    Ok(count)
}

/// Whether a row is the header once more, as where files were put one behind the other.
fn is_header(cells: &rows::Cells, headers: &[String]) -> bool {
    let text = |at: usize| std::str::from_utf8(cells.get(at)).unwrap_or_default();
    let is_same = |(at, header): (usize, &String)| {
        text(at).trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}') == header
    };
    headers.len() > 1 && headers.iter().enumerate().all(is_same)
}

/// Whether a quoted cell goes over lines and holds as many delimiters as a row: two stray quotes make that of two rows.
fn has_swallowed(cells: &rows::Cells, delimiter: u8, columns: usize) -> bool {
    let is_like_rows = |cell: &[u8]| {
        memchr::memchr(b'\n', cell).is_some() && memchr::memchr_iter(delimiter, cell).count() + 1 >= columns.max(2)
    };
    (0..cells.len()).any(|at| is_like_rows(cells.get(at)))
}

/// A row must have a cell for each column; empty ones behind them are what a trailing delimiter leaves.
fn ragged(cells: &rows::Cells, headers: &[String]) -> Option<SourceViolation> {
    let count = cells.len();
    let is_blank = |at: usize| cells.get(at).iter().all(u8::is_ascii_whitespace);
    if count == headers.len() || (count > headers.len() && (headers.len()..count).all(is_blank)) {
        return None;
    }
    let message = match headers.get(count) {
        Some(missing) => format!("The row has {count} cells of {}: column \"{missing}\" is missing", headers.len()),
        None => format!("The row has {count} cells, and the header {}", headers.len()),
    };
    let column = headers.get(count).cloned();
    Some(SourceViolation { column, ..SourceViolation::of_record("ragged_row", &message) })
}

/// The cells must be UTF-8, each by itself.
fn check_text(cells: &rows::Cells, line: u64, headers: Option<&[String]>) -> Result<()> {
    let is_text = |at: usize| std::str::from_utf8(cells.get(at)).is_ok();
    // Bytes of two broken cells could only seem whole together if each is checked alone.
    if cells.text().is_ascii() {
        return Ok(());
    }
    let Some(at) = (0..cells.len()).find(|at| !is_text(*at)) else { return Ok(()) };
    let name = headers.and_then(|headers| headers.get(at));
    let column = name.map_or_else(|| (at + 1).to_string(), |name| format!("\"{name}\""));
    Err(unusable(format!(
        "line {line}, column {column}: not UTF-8; if an old system or Excel wrote the file, try --encoding windows-1252"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nameless_column_of_a_trailing_delimiter_is_left_out() {
        let mut rows = Rows::new(b"firstName,lastName,\n".as_slice(), None, 0).unwrap();
        assert_eq!(header_of(&mut rows).unwrap(), ["firstName", "lastName"]);
    }
}
