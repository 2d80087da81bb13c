//! FHIR's own resources, of any types: NDJSON of them or of Bundles, or one document over many lines. They become records.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result};
use fhir::{Converter, Entry, LossLine, Node, Unmapped};
use records::{ResourceType, Violation};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::doubt::Doubt;
use crate::unusable::unusable;
use crate::validation::{MAX_LINE, Sink, SourceViolation, Taken, Validator};

/// A Bundle, or a document over many lines, may be this long: it is read whole.
const MAX_DOCUMENT: u64 = 1 << 30;

/// The code of a resource whose type has no records.
pub const UNSUPPORTED: &str = "unsupported_type";

/// What a type's resources become records by.
struct OfType {
    converter: Converter,
    validator: Validator,
}

/// Reads resources, file after file, and keeps what is known of all of them.
pub struct Resources {
    unmapped: Unmapped,
    types: BTreeMap<ResourceType, OfType>,
    /// How many of each type have no records here.
    unsupported: BTreeMap<String, u64>,
    /// Whether of the versions of a resource the last one counts, and not the first.
    last_counts: bool,
    /// The versions of resources with an id that were taken: one that stands in several Bundles becomes one record. Where the
    /// last one counts it is kept by the id: what stands there anew behind another version is no repetition.
    seen: HashMap<Hash, Hash>,
}

/// Half of a SHA-256: two resources that share one are not found by chance.
type Hash = [u8; 16];

/// What a file of resources held.
#[derive(Debug, Default, Clone, Copy)]
pub struct ResourceCount {
    /// Resources, whatever became of them, and lines that are none.
    pub records: u64,
    /// Resources that were there before, the same in everything.
    pub repeated: u64,
}

impl Resources {
    #[must_use]
    pub fn new(unmapped: Unmapped, last_counts: bool) -> Self {
        Self { unmapped, types: BTreeMap::new(), unsupported: BTreeMap::new(), last_counts, seen: HashMap::new() }
    }

    /// How many resources of each type that has no records there were.
    #[must_use]
    pub fn unsupported(&self) -> &BTreeMap<String, u64> {
        &self.unsupported
    }

    /// What was lost, over all records that were taken: what changes the meaning first, then what most of them have lost.
    #[must_use]
    pub fn losses(&self) -> Vec<LossLine> {
        let mut losses: Vec<_> = self.types.values().flat_map(|of_type| of_type.converter.losses()).collect();
        losses.sort_by_key(|loss| (!loss.modifier, std::cmp::Reverse(loss.records)));
        losses
    }

    /// Reads a file. The line of a resource in a document over many lines is the number of its entry. `seen` hears of every line.
    pub fn read(&mut self, reader: impl Read, sink: &mut dyn Sink, mut seen: impl FnMut()) -> Result<ResourceCount> {
        let mut reader = BufReader::with_capacity(1 << 17, reader);
        let (mut line, mut number, mut count) = (Vec::new(), 0, ResourceCount::default());
        loop {
            line.clear();
            let read = (&mut reader).take(MAX_DOCUMENT).read_until(b'\n', &mut line).context("read source")?;
            if read == 0 {
                return Ok(count);
            }
            seen();
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let text = text_of(&line);
            match text.map(fhir::entries) {
                Some(Ok(entries)) => {
                    let is_bundle = entries.len() > 1;
                    for (entry, at) in entries.iter().zip(1..) {
                        self.take((number, is_bundle.then_some(at)), entry, sink, &mut count)?;
                    }
                }
                _ if count.records == 0 && text.is_some_and(is_cut_off) => {
                    (&mut reader).take(MAX_DOCUMENT).read_to_end(&mut line).context("read source")?;
                    seen();
                    let entries = text_of(&line).and_then(|whole| fhir::entries(whole).ok());
                    for (entry, at) in entries.ok_or_else(|| no_document(&line))?.iter().zip(1..) {
                        self.take((at, None), entry, sink, &mut count)?;
                    }
                    return Ok(count);
                }
                _ => {
                    count.records += 1;
                    let violation = SourceViolation::of_record("invalid_json", "It is no JSON object");
                    sink.refused(number, None, line.trim_ascii_end(), &[violation])?;
                }
            }
        }
    }

    /// Takes a resource that stands in a line, and perhaps in a Bundle there.
    fn take(
        &mut self,
        (line, in_bundle): (u64, Option<u64>),
        entry: &Entry,
        sink: &mut dyn Sink,
        count: &mut ResourceCount,
    ) -> Result<()> {
        let resource = entry.resource.as_bytes();
        count.records += 1;
        let of_bundle = |mut violation: SourceViolation| {
            if let Some(at) = in_bundle {
                violation.message = format!("{} (entry {at} of the Bundle)", violation.message);
            }
            violation
        };
        let of_record = |code: &str, rule: &str| [of_bundle(SourceViolation::of_record(code, rule))];
        if entry.is_deletion {
            let rule = "The Bundle deletes this resource: it becomes no record, and an import deletes none";
            return sink.refused(line, None, resource, &of_record("deletion", rule));
        }
        let name = entry.resource_type.as_deref().unwrap_or_default();
        let Ok(resource_type) = name.parse::<ResourceType>() else {
            let name = fhir::resource_type(name);
            *self.unsupported.entry(name.to_owned()).or_default() += 1;
            let rule = match name {
                fhir::OTHER => "It names no resource type of FHIR R4".to_owned(),
                known => format!("There are no records for {known}"),
            };
            return sink.refused(line, None, resource, &of_record(UNSUPPORTED, &rule));
        };
        if resource.len() > MAX_LINE {
            let too_large = of_bundle(Violation::too_large(MAX_LINE).into());
            return sink.refused(line, Some(resource_type), resource, &[too_large]);
        }
        let OfType { converter, validator } = self.types.entry(resource_type).or_insert_with(|| OfType {
            converter: Converter::new(resource_type, self.unmapped),
            validator: Validator::of(resource_type),
        });
        let told = |violations: Vec<Violation>| -> Vec<_> {
            violations.into_iter().map(|violation| of_bundle(violation.into())).collect()
        };
        if let Err(violations) = converter.convert(resource) {
            return sink.refused(line, Some(resource_type), resource, &told(violations));
        }
        let id = match validator.check(&converter.flat) {
            Ok(id) => id,
            Err(_) if sink.leaves_out(line, resource_type, &converter.flat) => return Ok(()),
            Err(violations) => {
                return sink.refused(line, Some(resource_type), resource, &told(converter.with_elements(violations)));
            }
        };
        if let Some(id) = &id {
            // However it is indented.
            let json = Node::parse(&entry.resource).map_or_else(|_| entry.resource.clone(), |node| node.to_json());
            let version = hash_of(&json);
            let key = if self.last_counts { hash_of(&format!("{resource_type}/{}", id.as_str())) } else { version };
            if self.seen.insert(key, version) == Some(version) {
                count.repeated += 1;
                return Ok(());
            }
        }
        match validator.accept(line, id, &converter.flat, sink)? {
            Taken::In => {
                converter.take();
                if fhir::unresolved(&entry.resource) > 0 {
                    sink.doubtful(line, resource_type, "references", Doubt::LeadsNowhere);
                }
                Ok(())
            }
            Taken::LeftOut => Ok(()),
            // It is a record, and another one has its id: whoever wants it all the same gets it by `retry`, with a warning.
            Taken::Rejected(violation) => {
                sink.rejected_bytes(resource_type, &converter.flat, true)?;
                sink.rejected(line, resource_type, &[of_bundle(violation)])
            }
        }
    }
}

/// What is wrong with a document over many lines.
fn no_document(document: &[u8]) -> anyhow::Error {
    let wrong = match serde_json::from_slice::<IgnoredAny>(document) {
        Err(error) if error.is_eof() => format!("it is cut off behind line {}", error.line()),
        Err(error) => format!("it is no JSON in line {}, column {}", error.line(), error.column()),
        Ok(_) => "it is no JSON object".to_owned(),
    };
    unusable(format!("{wrong}, and neither a resource or Bundle a line nor one document"))
}

/// A text without the mark that some programs begin one with; `None` where it is no UTF-8.
fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(|text| text.trim().trim_start_matches('\u{feff}'))
}

/// Whether a JSON text goes on behind its end, as the first line of a document over many lines.
fn is_cut_off(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

fn hash_of(text: &str) -> Hash {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    hash.first_chunk().copied().unwrap_or_default()
}
