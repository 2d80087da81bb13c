//! A batch while it is filled: the records of one import job.

use std::collections::HashMap;

use clinikapi::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use records::{RecordId, ResourceType};
use sources::SourceViolation;

/// Where a record stands: which source, and on which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub source: usize,
    pub line: u64,
}

/// The records of one type that go into the next job of that type.
#[derive(Debug)]
pub struct OpenBatch {
    pub resource_type: ResourceType,
    /// The first record of every id that a client chose, as the service tells them apart.
    ids: HashMap<RecordId, Place>,
    pub records: u64,
    pub bytes: u64,
    pub without_id: u64,
}

impl OpenBatch {
    #[must_use]
    pub fn new(resource_type: ResourceType) -> Self {
        Self { resource_type, ids: HashMap::new(), records: 0, bytes: 0, without_id: 0 }
    }

    /// Whether a record of so many bytes still fits in.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.records < MAX_BATCH_RECORDS && (self.records == 0 || self.bytes + (bytes as u64) < MAX_BATCH_BYTES)
    }

    /// Takes a record in, or says where its id was before.
    pub fn add(&mut self, id: Option<RecordId>, place: Place, bytes: usize) -> Result<(), Place> {
        match id {
            Some(id) => match self.ids.entry(id) {
                std::collections::hash_map::Entry::Occupied(first) => return Err(*first.get()),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(place);
                }
            },
            None => self.without_id += 1,
        }
        self.records += 1;
        self.bytes += bytes as u64 + 1;
        Ok(())
    }
}

/// The violation of a record whose id another one of its batch has.
#[must_use]
pub fn duplicate(first: Place, here: usize, names: &[String]) -> SourceViolation {
    let of = match names.get(first.source) {
        Some(name) if first.source != here => format!(" of {name}"),
        _ => String::new(),
    };
    let message = format!("id: Same as in line {}{of}", first.line);
    SourceViolation { code: "duplicate_id".to_owned(), path: "/id".to_owned(), message, column: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RecordId {
        RecordId::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn an_id_is_taken_once_in_a_batch() {
        let mut batch = OpenBatch::new(ResourceType::Patient);
        let first = Place { source: 0, line: 3 };
        assert_eq!(batch.add(Some(id("a")), first, 10), Ok(()));
        assert_eq!(batch.add(Some(id("a")), Place { source: 1, line: 1 }, 10), Err(first));
        assert_eq!(batch.add(None, first, 10), Ok(()));
        assert_eq!((batch.records, batch.without_id, batch.bytes), (2, 1, 22));
        let names = ["a.csv".to_owned()];
        assert_eq!(duplicate(first, 1, &names).message, "id: Same as in line 3 of a.csv");
    }

    #[test]
    fn a_batch_is_full_at_its_limits() {
        let mut batch = OpenBatch::new(ResourceType::Patient);
        assert!(batch.has_room(usize::MAX >> 1));
        let big = usize::try_from(MAX_BATCH_BYTES).unwrap() - 10;
        batch.add(None, Place { source: 0, line: 1 }, big).unwrap();
        assert!(batch.has_room(8) && !batch.has_room(9));
    }
}
