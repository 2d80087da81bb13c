//! The verdict on each line of a batch: one for imports and for mere validation.

use std::collections::HashMap;

use fhir::Converter;
use ndjson::{Frame, LineSplitter};
use records::{Record, RecordId, Schema, StoredLine, Violation};
use uuid::Uuid;

use crate::ids::TenantId;
use crate::jobs::{ImportFormat, LineViolation};

pub use fhir::LossLine;

/// The most records of one import (openapi.yaml).
pub const MAX_RECORDS: u64 = 10_000;

/// The longest raw line that is read: 1 MiB (openapi.yaml).
pub const MAX_LINE: usize = 1 << 20;

/// The most violations that a validation lists (openapi.yaml).
const MAX_LISTED: usize = 1_000;

/// Decides on every line of one batch.
pub struct LineValidator<'a> {
    schema: &'a Schema,
    tenant: &'a str,
    /// Makes flat records of lines that are none.
    converter: Option<Converter>,
    /// The first valid line of every id that a client chose.
    lines_of_ids: HashMap<RecordId, u64>,
}

/// A valid line, as it will be stored.
pub struct ValidLine {
    pub stored: StoredLine,
    /// Whether the record brought no id.
    pub id_is_derived: bool,
}

impl<'a> LineValidator<'a> {
    #[must_use]
    pub fn new(schema: &'a Schema, tenant: &'a TenantId, format: ImportFormat) -> Self {
        let converter = match format {
            ImportFormat::Flat => None,
            ImportFormat::Fhir { unmapped, .. } => Some(Converter::new(schema.resource_type(), unmapped)),
        };
        Self { schema, tenant: tenant.as_str(), converter, lines_of_ids: HashMap::new() }
    }

    /// What was lost of the valid lines so far.
    #[must_use]
    pub fn losses(&self) -> Vec<LossLine> {
        self.converter.iter().flat_map(Converter::losses).collect()
    }

    /// The record of a line; one without an id gets what `derive` makes.
    pub fn validate(
        &mut self,
        number: u64,
        bytes: &[u8],
        derive: impl FnOnce() -> RecordId,
    ) -> Result<ValidLine, Vec<Violation>> {
        let Self { schema, tenant, converter, lines_of_ids } = self;
        let accept = |record: Record<'_>| {
            let chosen = record.id().cloned();
            if let Some(first) = chosen.as_ref().and_then(|id| lines_of_ids.get(id)) {
                return Err(vec![Violation::duplicate_id(*first)]);
            }
            let stored = record.into_stored(tenant, derive).map_err(|violation| vec![violation])?;
            let id_is_derived = chosen.is_none();
            if let Some(id) = chosen {
                lines_of_ids.insert(id, number);
            }
            Ok(ValidLine { stored, id_is_derived })
        };
        let Some(converter) = converter else { return schema.scan(bytes).and_then(accept) };
        converter.convert(bytes)?;
        let valid = schema.scan(&converter.flat).and_then(accept);
        let valid = valid.map_err(|violations| converter.with_elements(violations))?;
        converter.take();
        Ok(valid)
    }
}

/// What an import of a batch would find.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Lines in all.
    pub total: u64,
    pub valid: u64,
    /// The first violations, at most 1,000.
    pub violations: Vec<LineViolation>,
    /// All violations counted.
    pub violation_count: u64,
    /// What the valid ones lose.
    pub losses: Vec<LossLine>,
}

impl Validation {
    /// Validates every line of the data as an import into the tenant would, and stores nothing.
    #[must_use]
    pub fn of(schema: &Schema, tenant: &TenantId, format: ImportFormat, data: &[u8]) -> Self {
        let mut validator = LineValidator::new(schema, tenant, format);
        let mut validation = Self::default();
        let mut splitter = LineSplitter::new(MAX_LINE);
        splitter.push(data);
        splitter.finish();
        while let Some(frame) = splitter.next_frame() {
            let (number, validated) = match frame {
                Frame::Line { number, bytes } => (number, validator.validate(number, bytes, any_id)),
                Frame::Oversize { last: false, .. } => continue,
                Frame::Oversize { number, .. } => (number, Err(vec![Violation::too_large(MAX_LINE)])),
            };
            validation.add(number, validated.err());
        }
        validation.losses = validator.losses();
        validation
    }

    fn add(&mut self, line: u64, violations: Option<Vec<Violation>>) {
        self.total = line;
        let Some(violations) = violations else {
            self.valid += 1;
            return;
        };
        self.violation_count += violations.len() as u64;
        let room = MAX_LISTED.saturating_sub(self.violations.len());
        self.violations.extend(violations.into_iter().take(room).map(|violation| LineViolation { line, violation }));
    }
}

/// An id as long as those that imports derive.
fn any_id() -> RecordId {
    RecordId::from(Uuid::nil())
}

#[cfg(test)]
mod tests;
