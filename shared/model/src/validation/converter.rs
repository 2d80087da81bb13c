//! FHIR resources as flat records, and what is lost on the way.

use std::collections::BTreeMap;

use fhir::{EnteredInError, Unmapped, element_of};
use records::{ResourceType, Schema, Violation, ViolationCode};
use serde::Serialize;

/// More elements than this are counted together: a resource may have any names.
const MAX_ELEMENTS: usize = 1_000;

/// The longest name that is told; FHIR's own are shorter.
const MAX_NAME: usize = 64;

/// The longest path that is told.
const MAX_PATH: usize = 256;

/// Stands for names that FHIR has not.
const OTHER: &str = "(other)";

/// Makes flat records of a batch's lines.
pub(super) struct Converter {
    resource_type: ResourceType,
    unmapped: Unmapped,
    /// What every line must be, before it is converted.
    json: Schema,
    /// The flat record of the line in hand.
    pub(super) flat: Vec<u8>,
    pub(super) losses: LostElements,
}

impl Converter {
    pub(super) fn new(resource_type: ResourceType, unmapped: Unmapped) -> Self {
        let losses = LostElements { is_kept: unmapped == Unmapped::Keep, ..LostElements::default() };
        Self { resource_type, unmapped, json: resource_type.open_schema(), flat: Vec::new(), losses }
    }

    /// Makes the flat record of a line. Returns what it loses.
    pub(super) fn convert(&mut self, line: &[u8]) -> Result<fhir::Losses, Vec<Violation>> {
        self.json.scan(line)?;
        let refused = |code, element: &str, rule: &str| vec![Violation::of_line(code, &format!("{element}: {rule}"))];
        let read = fhir::read_fhir(self.resource_type, line, self.unmapped, &mut self.flat);
        let not_read = || vec![Violation::of_line(ViolationCode::InvalidJson, "Invalid JSON")];
        let lost = read.ok_or_else(not_read)?.map_err(|EnteredInError { element }| {
            refused(
                ViolationCode::EnteredInError,
                &told(&element),
                "Must not be entered-in-error: it would become a record that counts",
            )
        })?;
        match lost.modifier().filter(|_| self.unmapped == Unmapped::Drop) {
            Some(element) => Err(refused(
                ViolationCode::ModifierLost,
                &told(element),
                "Changes what the record means, and the record cannot say it; unmapped keep keeps it",
            )),
            None => Ok(lost),
        }
    }

    /// Violations of the flat record, with the elements that they are about.
    pub(super) fn with_elements(&self, mut violations: Vec<Violation>) -> Vec<Violation> {
        for violation in &mut violations {
            if let Some(element) = element_of(self.resource_type, &violation.path) {
                violation.message = format!("{} ({element})", violation.message);
            }
        }
        violations
    }
}

/// A line of `losses.ndjson`. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// Adds what a record has lost.
    fn count(&mut self, element: String, modifier: bool) {
        let has_room = self.elements.len() < MAX_ELEMENTS || self.elements.contains_key(&element);
        let name = if has_room { element } else { OTHER.to_owned() };
        let (records, is_modifier) = self.elements.entry(name).or_default();
        *records += 1;
        *is_modifier |= modifier;
    }

    pub(super) fn add(&mut self, lost: &fhir::Losses) {
        let mut of_record: BTreeMap<String, bool> = BTreeMap::new();
        for (element, loss) in lost.iter() {
            *of_record.entry(told(element)).or_default() |= loss.modifier;
        }
        for (element, modifier) in of_record {
            self.count(element, modifier);
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

/// A path as it may be told: names that FHIR could have, and no other, which might be anything.
fn told(path: &str) -> String {
    let is_name = |name: &str| {
        let name = name.strip_prefix('_').unwrap_or(name);
        name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if path.len() > MAX_PATH {
        return OTHER.to_owned();
    }
    path.split('.').map(|name| if is_name(name) { name } else { OTHER }).collect::<Vec<_>>().join(".")
}
