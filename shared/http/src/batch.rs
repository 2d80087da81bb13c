//! Reading a batch that comes with a call: its type and its lines.

use bytes::Bytes;
use fhir::{MAPPING_VERSION, Unmapped};
use model::{ImportFormat, MAX_RECORDS};
use ndjson::LineCounter;
use records::ResourceType;
use serde_json::value::RawValue;

use crate::error::Issues;
use crate::member::{non_null, option, text, text_bytes};
use crate::unknown::meant_type;

/// The type of every record of the batch.
pub fn resource_type(raw: Option<&RawValue>, issues: &mut Issues) -> Option<ResourceType> {
    let name = text("resourceType", raw, issues)?;
    let known = name.parse().ok();
    if known.is_none() {
        issues.add("resourceType", &format!("Unknown resource type{}", meant_type(&name)));
    }
    known
}

/// The NDJSON of the batch, and how many lines it has: they are counted here, and validated later.
pub fn data(raw: Option<&RawValue>, issues: &mut Issues) -> Option<(Bytes, u64)> {
    // As bytes: a line with half a surrogate pair is invalid by itself, and the others are read.
    let data = text_bytes("data", raw, issues)?;
    let mut counter = LineCounter::default();
    counter.push(&data);
    let rule = match counter.count() {
        0 => "Must not be empty".to_owned(),
        lines @ 1..=MAX_RECORDS => return Some((Bytes::from(data), lines)),
        _ => format!("Must have at most {MAX_RECORDS} records"),
    };
    issues.add("data", &rule);
    None
}

/// What its lines are.
pub fn format(raw: Option<&RawValue>, unmapped: Option<&RawValue>, issues: &mut Issues) -> ImportFormat {
    let format = option("format", raw, &[("flat", false), ("fhir", true)], issues);
    if !format && non_null(unmapped).is_some() {
        issues.add("unmapped", "Must not be given without format fhir");
        return ImportFormat::Flat;
    }
    let unmapped = option("unmapped", unmapped, &[("keep", Unmapped::Keep), ("drop", Unmapped::Drop)], issues);
    if format { ImportFormat::Fhir { unmapped, mapping_version: MAPPING_VERSION } } else { ImportFormat::Flat }
}
