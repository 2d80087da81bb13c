//! CSV and TSV: rows become records by the type's own rules.

use std::io::Read;

use anyhow::Result;

use crate::exit::usage;
use crate::plan::UnknownColumns;
use crate::validation::{Fault, Sink, Validator};

mod columns;
mod convert;
mod dates;
mod map;
mod rows;

pub(crate) use columns::all_columns;
pub(crate) use map::Map;
pub(crate) use rows::RowError;

use columns::Columns;
use convert::Converter;
use rows::Rows;

/// Rows of a file.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RowCount {
    /// Rows that are records, valid or not.
    pub(crate) records: u64,
    /// Rows of empty cells, which are none.
    pub(crate) blank: u64,
}

/// How a table is read.
pub(crate) struct TableOptions<'a> {
    /// Known from the format; otherwise found.
    pub(crate) delimiter: Option<u8>,
    pub(crate) map: &'a Map,
    pub(crate) unknown: UnknownColumns,
}

/// Reads a table with a header. `seen` hears of every thousandth row.
pub(crate) fn read_table(
    reader: impl Read,
    options: &TableOptions<'_>,
    validator: &Validator,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(),
) -> Result<RowCount> {
    let mut rows = Rows::new(reader, options.delimiter)?;
    let Some(line) = rows.next_row()? else { return Err(usage("the file has no header")) };
    check_text(&rows.cells, line, None)?;
    let headers = (0..rows.cells.len()).map(|at| String::from_utf8_lossy(rows.cells.get(at)).trim().to_owned());
    let columns = Columns::assign(&validator.schema, headers.collect(), options.map, options.unknown);
    let converter = columns.and_then(Converter::new).map_err(usage)?;
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
        let mut faults = converter.convert(cells, &mut record);
        if cells.len() != converter.headers.len() {
            faults.insert(0, ragged(cells.len(), &converter.headers));
        }
        match validator.check(&record) {
            Ok(id) if faults.is_empty() => match sink.valid(line, validator.resource_type, id, &record)? {
                None => continue,
                Some(duplicate) => faults.push(duplicate),
            },
            Ok(_) => {}
            Err(violations) => {
                for violation in violations {
                    // A cell that could not be translated has its fault already.
                    if faults.iter().all(|fault| fault.path != violation.path) {
                        faults.push(converter.fault(violation, cells));
                    }
                }
            }
        }
        sink.rejected_bytes(validator.resource_type, &record, true)?;
        sink.rejected(line, validator.resource_type, &faults)?;
    }
    seen();
    Ok(count)
}

fn ragged(cells: usize, headers: &[String]) -> Fault {
    let message = match headers.get(cells) {
        Some(missing) => format!("The row has {cells} cells of {}: column \"{missing}\" is missing", headers.len()),
        None => format!("The row has {cells} cells, and the header {}", headers.len()),
    };
    Fault { code: "ragged_row".to_owned(), path: String::new(), message, column: headers.get(cells).cloned() }
}

/// The cells must be UTF-8, each by itself.
fn check_text(cells: &rows::Cells, line: u64, headers: Option<&[String]>) -> Result<()> {
    let is_text = |at: usize| std::str::from_utf8(cells.get(at)).is_ok();
    // Bytes of two broken cells could only seem whole together if each is checked alone.
    if cells.text().is_ascii() {
        return Ok(());
    }
    match (0..cells.len()).find(|at| !is_text(*at)) {
        None => Ok(()),
        Some(at) => {
            let name = headers.and_then(|headers| headers.get(at));
            let column = name.map_or_else(|| (at + 1).to_string(), |name| format!("\"{name}\""));
            Err(usage(format!(
                "line {line}, column {column}: not UTF-8; if an old system or Excel wrote the file, try --encoding windows-1252"
            )))
        }
    }
}
