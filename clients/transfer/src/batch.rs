//! A batch while it is filled: the records of one import job.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use records::{RecordId, ResourceType};

use crate::api::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use crate::validation::Fault;

/// Where a record stands: which source, and on which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) line: u64,
}

/// The records of one type that go into the next job of that type.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) resource_type: ResourceType,
    /// The first record of every id that a client chose, as the service tells them apart.
    ids: HashMap<RecordId, Place>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) without_id: u64,
}

impl OpenBatch {
    pub(crate) fn new(resource_type: ResourceType) -> Self {
        Self { resource_type, ids: HashMap::new(), records: 0, bytes: 0, without_id: 0 }
    }

    /// Whether a record of so many bytes still fits in.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.records < MAX_BATCH_RECORDS && (self.records == 0 || self.bytes + (bytes as u64) < MAX_BATCH_BYTES)
    }

    /// Takes a record in, or says where its id was before.
    pub(crate) fn add(&mut self, id: Option<RecordId>, place: Place, bytes: usize) -> Result<(), Place> {
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

    pub(crate) fn ids(&self) -> impl Iterator<Item = &RecordId> {
        self.ids.keys()
    }
}

/// The fault of a record whose id another one of its batch has.
pub(crate) fn duplicate(first: Place, here: usize, names: &[String]) -> Fault {
    let of = match names.get(first.source) {
        Some(name) if first.source != here => format!(" of {name}"),
        _ => String::new(),
    };
    let message = format!("id: Same as in line {}{of}", first.line);
    Fault { code: "duplicate_id".to_owned(), path: "/id".to_owned(), message, column: None }
}

/// The ids of the batches so far, roughly: what it has not seen is new, what it has seen may be.
///
/// A batch with an id of an earlier one is imported after it, so that the later record wins, always. A Bloom filter
/// takes 16 MiB whatever the files' size; where it errs, a batch only waits for the ones before it.
#[derive(Debug, Default)]
pub(crate) struct SeenIds {
    bits: Vec<u64>,
}

/// 2^27 bits.
const WORDS: usize = 1 << 21;
const PROBES: u64 = 4;

impl SeenIds {
    pub(crate) fn add(&mut self, batch: &OpenBatch) {
        if self.bits.is_empty() {
            self.bits = vec![0; WORDS];
        }
        for id in batch.ids() {
            for (word, bit) in probes(batch.resource_type, id) {
                if let Some(word) = self.bits.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// Whether an earlier batch may have this id; false is certain.
    pub(crate) fn may_have(&self, resource_type: ResourceType, id: &RecordId) -> bool {
        !self.bits.is_empty()
            && probes(resource_type, id).all(|(word, bit)| self.bits.get(word).is_some_and(|found| found & bit != 0))
    }
}

fn probes(resource_type: ResourceType, id: &RecordId) -> impl Iterator<Item = (usize, u64)> {
    let mut hasher = DefaultHasher::new();
    (resource_type, id).hash(&mut hasher);
    let hash = hasher.finish();
    // Two halves make any number of hashes (Kirsch and Mitzenmacher).
    let (first, step) = (hash & 0xFFFF_FFFF, (hash >> 32) | 1);
    (0..PROBES).map(move |probe| {
        let bit = first.wrapping_add(probe.wrapping_mul(step)) % (WORDS as u64 * 64);
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    })
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
    fn ids_of_earlier_batches_are_seen() {
        let mut seen = SeenIds::default();
        assert!(!seen.may_have(ResourceType::Patient, &id("a")));
        let mut batch = OpenBatch::new(ResourceType::Patient);
        for n in 0..1000u64 {
            batch.add(Some(id(&format!("p-{n}"))), Place { source: 0, line: n }, 1).unwrap();
        }
        seen.add(&batch);
        assert!((0..1000).all(|n| seen.may_have(ResourceType::Patient, &id(&format!("p-{n}")))));
        assert!(!(1000..2000).any(|n| seen.may_have(ResourceType::Patient, &id(&format!("p-{n}")))));
        assert!(!seen.may_have(ResourceType::Person, &id("p-1")));
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
