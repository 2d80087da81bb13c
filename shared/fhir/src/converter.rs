//! Lines of FHIR resources as flat records: those that are one, and what is wrong with the others.

use std::collections::BTreeMap;

use records::{ResourceType, Schema, Violation, ViolationCode};
use serde::{Deserialize, Serialize};

use crate::losses::{EnteredInError, Losses, MAX_ELEMENTS};
use crate::names::OTHER;
use crate::resource::{Unmapped, read_fhir};
use crate::table::element_of;

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

/// Makes flat records of lines, each a resource of one type.
pub struct Converter {
    resource_type: ResourceType,
    unmapped: Unmapped,
    /// What every line must be, before it is converted.
    json: Schema,
    /// The flat record of the line in hand.
    pub flat: Vec<u8>,
    /// What the line in hand has that the flat record does not say.
    pub lost: Losses,
    /// How many of the records that were taken have lost an element; those whose meaning it changes are counted by
    /// themselves.
    losses: BTreeMap<(String, bool), u64>,
}

impl Converter {
    #[must_use]
    pub fn new(resource_type: ResourceType, unmapped: Unmapped) -> Self {
        Self {
            resource_type,
            unmapped,
            json: resource_type.open_schema(),
            flat: Vec::new(),
            lost: Losses::default(),
            losses: BTreeMap::new(),
        }
    }

    /// Counts what the line in hand loses: its record is taken.
    pub fn take(&mut self) {
        for (element, modifier) in self.lost.iter() {
            let mut key = (element.to_owned(), modifier);
            if self.losses.len() >= MAX_ELEMENTS && !self.losses.contains_key(&key) {
                OTHER.clone_into(&mut key.0);
            }
            *self.losses.entry(key).or_default() += 1;
        }
    }

    /// What the records have lost that were taken: a line for each element, in the order of their names; two for one that
    /// changes the meaning of some records alone.
    pub fn losses(&self) -> impl Iterator<Item = LossLine> {
        self.losses.iter().map(move |((element, modifier), records)| LossLine {
            resource_type: self.resource_type,
            element: element.clone(),
            records: *records,
            kept: self.unmapped == Unmapped::Keep,
            modifier: *modifier,
        })
    }

    /// Makes the flat record of a line.
    ///
    /// # Errors
    /// When the line is no JSON as a line of records must be, no resource of the type, or means what a record cannot say. The flat
    /// record is not yet held against its type's rules.
    pub fn convert(&mut self, line: &[u8]) -> Result<(), Vec<Violation>> {
        self.json.scan(line)?;
        let refused = |code, element: &str, rule: &str| vec![Violation::of_line(code, &format!("{element}: {rule}"))];
        let read = read_fhir(self.resource_type, line, self.unmapped, &mut self.flat);
        let not_read = || vec![Violation::of_line(ViolationCode::InvalidJson, "Invalid JSON")];
        self.lost = read.ok_or_else(not_read)?.map_err(|EnteredInError { element }| {
            refused(
                ViolationCode::EnteredInError,
                &element,
                "Must not be entered-in-error: it would become a record that counts",
            )
        })?;
        match self.lost.modifier().filter(|_| self.unmapped == Unmapped::Drop) {
            Some(element) => Err(refused(
                ViolationCode::ModifierLost,
                element,
                "Changes what the record means, and the record cannot say it; with unmapped as keep it is kept",
            )),
            None => Ok(()),
        }
    }

    /// Violations of the flat record, with the elements that they are about, and why it may be that they are missing.
    #[must_use]
    pub fn with_elements(&self, mut violations: Vec<Violation>) -> Vec<Violation> {
        for violation in &mut violations {
            if let Some(element) = element_of(self.resource_type, &violation.path) {
                let below = format!("{element}.");
                let is_there = self.lost.iter().any(|(path, _)| path == element || path.starts_with(&below));
                let there = if is_there { ": what stands there is no value for it" } else { "" };
                violation.message = format!("{} ({element}{there})", violation.message);
            }
        }
        if let (Some(other), Some(violation)) = (self.lost.of_other_version(), violations.first_mut()) {
            violation.message = format!("{}; R4 is read, and it does not have {other}", violation.message);
        }
        violations
    }
}
