//! From a file to valid records: what a file is, its encoding, tables and their maps, and the service's own rules. Knows
//! no network and prints nothing.

mod format;
mod names;
mod source;
mod table;
mod unusable;
mod validation;

pub use format::{Format, UnknownColumns, format_of};
pub use names::{nearest, resource_type};
pub use source::{Source, encoding};
pub use table::{Map, RowCount, RowError, TableOptions, all_columns, read_table};
pub use unusable::{Unusable, unusable};
pub use validation::{MAX_LINE, Sink, SourceViolation, Types, Validator, read_ndjson};
