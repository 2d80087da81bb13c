//! A batch while it is filled: the records of one import job.

use clinikapi::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use records::ResourceType;

/// Where a record stands: which source, and on which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub source: usize,
    pub line: u64,
}

/// The records of one type that go into the next job of that type.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub resource_type: ResourceType,
    pub records: u64,
    pub bytes: u64,
    pub without_id: u64,
}

impl OpenBatch {
    #[must_use]
    pub(crate) fn new(resource_type: ResourceType) -> Self {
        Self { resource_type, records: 0, bytes: 0, without_id: 0 }
    }

    /// Whether a record of so many bytes still fits in.
    #[must_use]
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.records < MAX_BATCH_RECORDS && (self.records == 0 || self.bytes + (bytes as u64) < MAX_BATCH_BYTES)
    }

    /// Takes a record in.
    pub(crate) fn add(&mut self, has_id: bool, bytes: usize) {
        self.without_id += u64::from(!has_id);
        self.records += 1;
        self.bytes += bytes as u64 + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_at_its_limits() {
        let mut batch = OpenBatch::new(ResourceType::Patient);
        assert!(batch.has_room(usize::MAX >> 1));
        let big = usize::try_from(MAX_BATCH_BYTES).unwrap() - 10;
        batch.add(false, big);
        assert!(batch.has_room(8) && !batch.has_room(9));
        assert_eq!((batch.records, batch.without_id), (1, 1));
    }
}
