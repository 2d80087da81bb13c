//! The ids of an import: which record has one first, which has it last, and which are referred to.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use records::{RecordId, ResourceType};
use sources::SourceViolation;

use super::history::last_updated;
use super::request::{Duplicates, SourceRequest, Sources};
use crate::fingerprint::Fingerprint;
use crate::place::Place;

/// Where the records with ids stand: 16 bytes for an id, and 8 for its place.
#[derive(Debug, Default)]
pub(super) struct Ids(HashMap<ResourceType, HashMap<Fingerprint, Packed>>);

/// A place in 8 bytes: more sources than 2^20, or more lines than 2^44, nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u64);

const LINE_BITS: u32 = 44;

impl From<Place> for Packed {
    fn from(place: Place) -> Self {
        Self((place.source as u64) << LINE_BITS | place.line)
    }
}

impl From<Packed> for Place {
    fn from(Packed(packed): Packed) -> Self {
        let source = usize::try_from(packed >> LINE_BITS).unwrap_or(usize::MAX);
        Self { source, line: packed & ((1 << LINE_BITS) - 1) }
    }
}

impl Ids {
    /// Notes an id, and tells where it was first, if it was there before.
    pub(super) fn first(&mut self, resource_type: ResourceType, id: &RecordId, place: Place) -> Option<Place> {
        match self.of(resource_type).entry(Fingerprint::of(id.as_str().as_bytes())) {
            std::collections::hash_map::Entry::Occupied(first) => Some((*first.get()).into()),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(place.into());
                None
            }
        }
    }

    fn of(&mut self, resource_type: ResourceType) -> &mut HashMap<Fingerprint, Packed> {
        self.0.entry(resource_type).or_default()
    }
}

/// The number of a source's record: its line, and behind that where a line holds several, as those of a Bundle.
#[derive(Debug, Default)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// That of the next record, on this line. Every reading of the source gives a record the same one.
    pub(super) fn next_on(&mut self, line: u64) -> u64 {
        self.0 = line.max(self.0 + 1);
        self.0
    }
}

/// Which record with an id counts, where that is not the first one. Places are by the numbers of records.
#[derive(Debug)]
pub(super) struct LastIds {
    ids: Ids,
    rule: LastOf,
    /// The newest version of each record so far, where exports were made at the same time: then the later one of a chain may
    /// hold the older version. Otherwise nothing has to be remembered.
    newest: Option<HashMap<(ResourceType, Fingerprint), Timestamp>>,
}

/// Whose last record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastOf {
    /// The last one of all sources.
    All,
    /// The last one of the exports of a chain.
    Exports,
    /// The same, and sources that are none may not have its id.
    ExportsAlone,
}

impl LastIds {
    /// None is needed where the first record counts.
    pub(super) fn needed(from: &Sources, duplicates: Duplicates) -> Option<Self> {
        let rule = if duplicates == Duplicates::Last {
            LastOf::All
        } else if !from.is_chain() {
            return None;
        } else if from.sources.iter().all(|source| source.export.is_some()) {
            LastOf::Exports
        } else {
            LastOf::ExportsAlone
        };
        Some(Self { ids: Ids::default(), rule, newest: from.overlap.then(HashMap::new) })
    }

    /// Whether records of a source are compared.
    pub(super) fn is_for(&self, source: &SourceRequest) -> bool {
        self.rule == LastOf::All || source.export.is_some()
    }

    /// Notes a record that is no part of a later one's past, of a source that this is for.
    pub(super) fn note(
        &mut self,
        source: &SourceRequest,
        place: Place,
        resource_type: ResourceType,
        id: &RecordId,
        record: &[u8],
    ) {
        let id = Fingerprint::of(id.as_str().as_bytes());
        // Of what is no export the order of the sources tells what is newer.
        if let Some(newest) = self.newest.as_mut().filter(|_| source.export.is_some())
            && let Some(written) = last_updated(record)
        {
            let known = newest.entry((resource_type, id)).or_insert(written);
            if *known > written {
                return;
            }
            *known = written;
        }
        self.ids.of(resource_type).insert(id, place.into());
    }

    /// Whether another record takes the place of this one; `None` where that is for the other rule to say.
    pub(super) fn is_replaced(
        &self,
        source: &SourceRequest,
        place: Place,
        resource_type: ResourceType,
        id: &RecordId,
    ) -> Option<bool> {
        if !self.is_for(source) {
            return None;
        }
        let id = Fingerprint::of(id.as_str().as_bytes());
        let is_here = self.ids.0.get(&resource_type).and_then(|ids| ids.get(&id)) == Some(&place.into());
        (!is_here || self.rule != LastOf::ExportsAlone).then_some(!is_here)
    }
}

/// The violation of a record whose id an earlier one has.
pub(super) fn duplicate(first: Place, here: usize, names: &[String]) -> SourceViolation {
    let of = match names.get(first.source) {
        Some(name) if first.source != here => format!(" of {name}"),
        _ => String::new(),
    };
    let message = format!("id: Same as in line {}{of}", first.line);
    SourceViolation { code: "duplicate_id".to_owned(), path: "/id".to_owned(), message, column: None }
}

/// References of records to others, wherever they stand in them.
#[derive(Debug, Default)]
pub(super) struct References {
    known: HashSet<(ResourceType, Fingerprint)>,
    referred: HashMap<(&'static [ResourceType], Fingerprint), Reference>,
}

/// A record that is referred to: of which types it may be, where first, by which field, and how often.
#[derive(Debug)]
pub(super) struct Reference {
    types: &'static [ResourceType],
    pub(super) place: Place,
    pub(super) from: ResourceType,
    /// As a JSON pointer.
    pub(super) path: String,
    pub(super) count: u64,
}

impl References {
    /// Notes a record, and what it refers to.
    pub(super) fn note(&mut self, from: ResourceType, id: Option<&RecordId>, place: Place, record: &[u8]) {
        self.known.extend(id.map(|id| (from, Fingerprint::of(id.as_str().as_bytes()))));
        // What is valid is an object.
        let Ok(record) = serde_json::from_slice(record) else { return };
        for fhir::Referred { path, id, types } in fhir::references(from, &record) {
            let reference = self.referred.entry((types, Fingerprint::of(id.as_bytes())));
            reference.or_insert(Reference { types, place, from, path, count: 0 }).count += 1;
        }
    }

    /// The references to records that are not there, in the order of their places.
    pub(super) fn missing(self) -> Vec<Reference> {
        let Self { known, referred } = self;
        let is_missing = |types: &[ResourceType], id| types.iter().all(|of| !known.contains(&(*of, id)));
        let missing = referred.into_iter().filter(|((types, id), _)| is_missing(types, *id));
        let mut missing: Vec<_> = missing.map(|(_, reference)| reference).collect();
        missing.sort_by(|a, b| (a.place.source, a.place.line, &a.path).cmp(&(b.place.source, b.place.line, &b.path)));
        missing
    }
}

impl Reference {
    /// What is wrong with it.
    pub(super) fn violation(self) -> SourceViolation {
        let Self { types, from, path, count, .. } = self;
        let field = path.trim_start_matches('/').replace('/', ".");
        let of = match types.len() {
            all if all == ResourceType::ALL.len() => "record".to_owned(),
            _ => types.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(" or "),
        };
        let others = match count {
            1 => String::new(),
            count => format!(", and {} more refer to it", count - 1),
        };
        let message = format!("{field}: There is no such {of} among the valid records of these files ({from}{others})");
        SourceViolation { code: "unknown_reference".to_owned(), path, message, column: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RecordId {
        RecordId::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn an_id_is_first_once_for_each_type() {
        let mut ids = Ids::default();
        let first = Place { source: 3, line: 1 << 40 };
        assert_eq!(ids.first(ResourceType::Patient, &id("a"), first), None);
        assert_eq!(ids.first(ResourceType::Encounter, &id("a"), first), None);
        assert_eq!(ids.first(ResourceType::Patient, &id("a"), Place { source: 4, line: 1 }), Some(first));
        let names = ["a.csv", "b.csv", "c.csv", "d.csv"].map(str::to_owned);
        assert_eq!(duplicate(first, 4, &names).message, format!("id: Same as in line {} of d.csv", 1_u64 << 40));
    }
}
