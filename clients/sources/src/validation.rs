//! Reading records and validating each by the service's own rules.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use ndjson::{Frame, LineSplitter};
use records::{MAX_STORED_LINE, RecordId, ResourceType, Schema, Violation, ViolationCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::doubt::{Doubt, DoubtfulDates};

/// The longest raw line that the service reads.
pub const MAX_LINE: usize = 1 << 20;

/// The head that the service gives a stored line is shorter than this, so a line this much below the limit needs no
/// closer look.
const HEAD_ROOM: usize = 512;
const CHUNK: usize = 1 << 17;

/// One thing wrong with one record: names a member, a rule and perhaps a column, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceViolation {
    pub code: String,
    pub path: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl SourceViolation {
    /// One of a whole record.
    #[must_use]
    pub fn of_record(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), path: String::new(), message: message.to_owned(), column: None }
    }
}

impl From<Violation> for SourceViolation {
    fn from(violation: Violation) -> Self {
        Self { code: code_name(violation.code), path: violation.path, message: violation.message, column: None }
    }
}

/// The contract's name of a code.
fn code_name(code: ViolationCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "invalid".to_owned(),
    }
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    In,
    /// Another one takes its place, or it is no more.
    LeftOut,
    /// Why it is rejected all the same, as for an id that another record has.
    Rejected(SourceViolation),
}

/// Takes records in, one after the other. Of those that are none it hears only if it wants to.
pub trait Sink {
    /// A valid record.
    fn valid(&mut self, line: u64, resource_type: ResourceType, id: Option<RecordId>, record: &[u8]) -> Result<Taken>;

    /// Whether an invalid record is left out before anything is said of it.
    fn leaves_out(&mut self, line: u64, resource_type: ResourceType, record: &[u8]) -> bool;

    /// Bytes of a record that is rejected; the last ones end it.
    fn rejected_bytes(&mut self, _resource_type: ResourceType, _bytes: &[u8], _last: bool) -> Result<()> {
        Ok(())
    }

    /// A record that is rejected, and all that is wrong with it.
    fn rejected(&mut self, _line: u64, _resource_type: ResourceType, _violations: &[SourceViolation]) -> Result<()> {
        Ok(())
    }

    /// The cells of the row that a rejected record was, and the header's.
    fn rejected_row(
        &mut self,
        _header: &[&[u8]],
        _row: &[&[u8]],
        _delimiter: u8,
        _violations: &[SourceViolation],
    ) -> Result<()> {
        Ok(())
    }

    /// Text that no record is made of, as it came, and why. No other method hears of it.
    fn refused(
        &mut self,
        _line: u64,
        _resource_type: Option<ResourceType>,
        _text: &[u8],
        _violations: &[SourceViolation],
    ) -> Result<()> {
        Ok(())
    }

    /// A record with a doubtful value in this field.
    fn doubtful(&mut self, _line: u64, _resource_type: ResourceType, _field: &str, _doubt: Doubt) {}
}

/// The rules of one type.
pub struct Validator {
    pub resource_type: ResourceType,
    pub schema: Schema,
    dates: DoubtfulDates,
}

impl Validator {
    #[must_use]
    pub fn of(resource_type: ResourceType) -> Self {
        let schema = resource_type.schema();
        let dates = DoubtfulDates::of(&schema);
        Self { resource_type, schema, dates }
    }

    /// Hands a valid record on, and tells of what can hardly be meant.
    pub fn accept(&self, line: u64, id: Option<RecordId>, record: &[u8], sink: &mut dyn Sink) -> Result<Taken> {
        let taken = sink.valid(line, self.resource_type, id, record)?;
        if taken == Taken::In {
            for (field, doubt) in self.dates.find(&self.schema, record) {
                sink.doubtful(line, self.resource_type, &field, doubt);
            }
        }
        Ok(taken)
    }

    /// Whether the service would store the record, and the id that it gives itself.
    pub fn check(&self, record: &[u8]) -> Result<Option<RecordId>, Vec<Violation>> {
        let scanned = self.schema.scan(record)?;
        let id = scanned.id().cloned();
        if record.len() + HEAD_ROOM > MAX_STORED_LINE {
            // The shortest tenant id: what is a few bytes too long for a longer one, the service rejects and reports.
            scanned.into_stored("t", || RecordId::from(Uuid::nil())).map_err(|violation| vec![violation])?;
        }
        Ok(id)
    }

    /// Checks a record and hands it on.
    pub fn feed(&self, line: u64, record: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let violations = match self.check(record) {
            Ok(id) => match self.accept(line, id, record, sink)? {
                Taken::In | Taken::LeftOut => return Ok(()),
                Taken::Rejected(violation) => vec![violation],
            },
            Err(_) if sink.leaves_out(line, self.resource_type, record) => return Ok(()),
            Err(violations) => violations.into_iter().map(SourceViolation::from).collect(),
        };
        sink.rejected_bytes(self.resource_type, record, true)?;
        sink.rejected(line, self.resource_type, &violations)
    }
}

/// Which type a line's record is of.
pub enum Types {
    /// All of one.
    One(Validator),
    /// Each names its own, as in an export.
    Named(HashMap<ResourceType, Validator>),
}

impl Types {
    /// The validator of a line.
    fn of_line(&mut self, line: &[u8]) -> Option<&Validator> {
        match self {
            Self::One(validator) => Some(validator),
            Self::Named(validators) => {
                let resource_type = named_type(line)?;
                Some(validators.entry(resource_type).or_insert_with(|| Validator::of(resource_type)))
            }
        }
    }
}

/// The type that a record names. Exports begin with it; others are parsed.
fn named_type(line: &[u8]) -> Option<ResourceType> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "resourceType")]
        resource_type: ResourceType,
    }
    if let Some(rest) = line.strip_prefix(br#"{"resourceType":""#) {
        let end = memchr::memchr(b'"', rest)?;
        return std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok();
    }
    serde_json::from_slice::<Named>(line).ok().map(|named| named.resource_type)
}

/// Reads NDJSON as the service does. `seen` hears of every chunk.
pub fn read_ndjson(
    mut reader: impl Read,
    types: &mut Types,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(),
) -> Result<u64> {
    let mut splitter = LineSplitter::new(MAX_LINE);
    let mut chunk = vec![0; CHUNK];
    let mut lines = 0;
    loop {
        let read = reader.read(&mut chunk).context("read source")?;
        match chunk.get(..read) {
            Some(bytes) if read > 0 => splitter.push(bytes),
            _ => splitter.finish(),
        }
        while let Some(frame) = splitter.next_frame() {
            match frame {
                Frame::Line { number, bytes } => {
                    lines = number;
                    let Some(validator) = types.of_line(bytes) else {
                        bail!("line {number}: the record names no resource type that is known");
                    };
                    validator.feed(number, bytes, sink)?;
                }
                Frame::Oversize { number, piece, last } => {
                    let Types::One(Validator { resource_type, .. }) = types else {
                        bail!("line {number}: the record is longer than {MAX_LINE} bytes");
                    };
                    sink.rejected_bytes(*resource_type, piece, last)?;
                    if last {
                        lines = number;
                        sink.rejected(number, *resource_type, &[Violation::too_large(MAX_LINE).into()])?;
                    }
                }
            }
        }
        seen();
        if read == 0 {
            return Ok(lines);
        }
    }
}
