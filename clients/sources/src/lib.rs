//! From a file to valid records: what a file is, its encoding, tables and their maps, and the service's own rules. Knows
//! no network and prints nothing.

mod doubt;
mod format;
mod look;
mod names;
mod source;
mod table;
mod unusable;
mod validation;
mod zstd;

pub use doubt::Doubt;
pub use format::{Format, UnknownColumns, encoding, format_of};
pub use names::{nearest, resource_type};
pub use source::{Source, check_source};
pub use table::{
    Effects, Map, Maps, RowCount, RowError, TableOptions, VIOLATIONS_COLUMN, all_columns, draft_map, read_table,
    rejected_header, rejected_row,
};
pub use unusable::{Unusable, unusable};
pub use validation::{MAX_LINE, Sink, SourceViolation, Taken, Types, Validator, read_ndjson};
