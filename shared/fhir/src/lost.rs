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
    /// Whether it changes what these records mean.
    pub modifier: bool,
}

/// Elements of FHIR that flat records have no member for, over all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostElements {
    /// Records that have lost an element; those whose meaning it changes are counted by themselves.
    elements: BTreeMap<(String, bool), u64>,
    is_kept: bool,
}

impl LostElements {
    #[must_use]
    pub fn new(unmapped: Unmapped) -> Self {
        Self { elements: BTreeMap::new(), is_kept: unmapped == Unmapped::Keep }
    }

    fn count(&mut self, element: &str, modifier: bool) {
        let mut key = (element.to_owned(), modifier);
        if self.elements.len() >= MAX_ELEMENTS && !self.elements.contains_key(&key) {
            key = (OTHER.to_owned(), modifier);
        }
        *self.elements.entry(key).or_default() += 1;
    }

    /// Adds what a record has lost.
    pub fn add(&mut self, lost: &Losses) {
        for (element, loss) in lost.iter() {
            self.count(element, loss.modifier);
        }
    }

    /// A line for each element, in the order of their names; two for one that changes the meaning of some records alone.
    pub fn lines(&self, resource_type: ResourceType) -> impl Iterator<Item = LossLine> {
        self.elements.iter().map(move |((element, modifier), records)| LossLine {
            resource_type,
            element: element.clone(),
            records: *records,
            kept: self.is_kept,
            modifier: *modifier,
        })
    }
}
