//! What is lost over all resources of a batch: elements, counted, and no value of them.

use std::collections::BTreeMap;

use records::ResourceType;
use serde::{Deserialize, Serialize};

use crate::losses::Losses;
use crate::names::OTHER;
use crate::resource::Unmapped;

/// More elements than this are counted together: a resource may have any names.
const MAX_ELEMENTS: usize = 1_000;

/// A line of `losses.ndjson`. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossLine {
    pub resource_type: ResourceType,
    /// As `identifier.value`.
    pub element: String,
    /// Records that have lost it.
    pub records: u64,
    /// Whether it is kept in `x-fhir`.
    pub kept: bool,
    /// Whether it changes what a record means.
    pub modifier: bool,
}

/// Elements of FHIR that flat records have no member for, over all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostElements {
    /// Records that have lost an element, and whether it changes what one means.
    elements: BTreeMap<String, (u64, bool)>,
    is_kept: bool,
}

impl LostElements {
    #[must_use]
    pub fn new(unmapped: Unmapped) -> Self {
        Self { elements: BTreeMap::new(), is_kept: unmapped == Unmapped::Keep }
    }

    fn count(&mut self, element: &str, modifier: bool) {
        let has_room = self.elements.len() < MAX_ELEMENTS || self.elements.contains_key(element);
        let name = if has_room { element } else { OTHER };
        let (records, is_modifier) = self.elements.entry(name.to_owned()).or_default();
        *records += 1;
        *is_modifier |= modifier;
    }

    /// Adds what a record has lost.
    pub fn add(&mut self, lost: &Losses) {
        for (element, loss) in lost.iter() {
            self.count(element, loss.modifier);
        }
    }

    /// A line for each element, in the order of their names.
    pub fn lines(&self, resource_type: ResourceType) -> impl Iterator<Item = LossLine> {
        self.elements.iter().map(move |(element, (records, modifier))| LossLine {
            resource_type,
            element: element.clone(),
            records: *records,
            kept: self.is_kept,
            modifier: *modifier,
        })
    }
}
