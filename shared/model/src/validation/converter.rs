//! FHIR resources as flat records.

use fhir::{EnteredInError, LostElements, Unmapped, element_of, told};
use records::{ResourceType, Schema, Violation, ViolationCode};

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
        let losses = LostElements::new(unmapped);
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
