//! Places of records in their sources.

/// Where a record stands: which source, and on which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub source: usize,
    pub line: u64,
}
