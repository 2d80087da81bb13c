//! The scanner: one walk over a line that checks its grammar, validates it by its type's rules and notes
//! where its members stand.
//!
//! It builds no tree and copies no member. Violations of the rules are collected; a violation of the grammar
//! ends the walk, since nothing after it can be told.

use crate::id::RecordId;
use crate::schema::Schema;
use crate::violation::{Violation, ViolationCode};

mod grammar;
mod report;
mod rules;

use grammar::{Cursor, Invalid};
use report::{Report, Segment};

/// The `system` of the tag that names a record's tenant.
pub const TAG_SYSTEM: &str = "https://clinikapi.com/tenant";

/// A valid line: its id, and where in the line stand the members that are kept.
#[derive(Debug)]
pub struct Record<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) id: Option<RecordId>,
    /// The foreign entries of `meta.tag`.
    pub(crate) tags: Vec<&'a str>,
    /// The members of `meta` other than `tag` and `lastUpdated`, name and value.
    pub(crate) meta: Vec<&'a str>,
    /// Runs of neighbouring members other than `resourceType`, `id` and `meta`.
    pub(crate) members: Vec<&'a str>,
}

impl Record<'_> {
    /// The id that the line gives itself, if it does.
    #[must_use]
    pub fn id(&self) -> Option<&RecordId> {
        self.id.as_ref()
    }
}

impl Schema {
    /// Reads and validates one line: the record, or all that is wrong with it (at least one violation).
    pub fn scan<'a>(&'a self, line: &'a [u8]) -> Result<Record<'a>, Vec<Violation>> {
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return Err(vec![Violation::blank_line()]);
        }
        let text = std::str::from_utf8(line).map_err(|error| vec![invalid_json(error.valid_up_to())])?;
        let mut scan = Scan {
            cursor: Cursor::new(text),
            report: Report::new(),
            names: Vec::new(),
            record: Record { schema: self, id: None, tags: Vec::new(), meta: Vec::new(), members: Vec::new() },
        };
        match scan.line(self) {
            Err(Invalid) => Err(vec![invalid_json(scan.cursor.position())]),
            Ok(()) => scan.report.finish().map(|()| scan.record),
        }
    }
}

fn invalid_json(position: usize) -> Violation {
    Violation::of_line(ViolationCode::InvalidJson, &format!("Invalid JSON at byte {}", position + 1))
}

/// The state of one walk.
struct Scan<'a> {
    cursor: Cursor<'a>,
    report: Report<'a>,
    /// The names of the members without a rule, of all open objects; each object knows where its own begin.
    names: Vec<std::borrow::Cow<'a, str>>,
    record: Record<'a>,
}

impl<'a> Scan<'a> {
    fn line(&mut self, schema: &'a Schema) -> Result<(), Invalid> {
        self.cursor.skip_space();
        if self.cursor.peek() == Some(b'{') {
            self.record(schema)?;
        } else {
            self.skip()?;
            self.report.violation(ViolationCode::NotAnObject, "Must be a JSON object");
        }
        self.cursor.end()
    }

    /// The record itself: its head members are taken out, the others validated and kept.
    fn record(&mut self, schema: &'a Schema) -> Result<(), Invalid> {
        // A constant: each name of each record is compared with them.
        const HEAD: [&str; 3] = ["resourceType", "id", "meta"];
        let mut seen = [false; HEAD.len()];
        let mut object = rules::OpenObject::new(&schema.root, self.names.len());
        let mut run: Option<(usize, usize)> = None;
        self.members(|scan, name, start| {
            if let Some((at, head)) = HEAD.iter().enumerate().find(|(_, head)| **head == name) {
                if let Some((start, end)) = run.take() {
                    scan.record.members.extend(scan.cursor.slice(start, end));
                }
                scan.report.enter(Segment::Member(head));
                if seen.get_mut(at).is_some_and(|seen| std::mem::replace(seen, true)) {
                    scan.report.duplicate_member();
                }
                match at {
                    0 => scan.resource_type(schema)?,
                    1 => scan.id()?,
                    _ => scan.meta()?,
                }
                scan.report.leave();
            } else {
                scan.member(&mut object, name)?;
                let end = scan.cursor.position();
                run = Some((run.map_or(start, |(first, _)| first), end));
            }
            Ok(())
        })?;
        if let Some((start, end)) = run {
            self.record.members.extend(self.cursor.slice(start, end));
        }
        self.close(&object);
        Ok(())
    }

    fn resource_type(&mut self, schema: &Schema) -> Result<(), Invalid> {
        let expected = schema.resource_type.as_str();
        if self.text_or_skip()?.is_none_or(|text| text.unescape() != expected) {
            self.report.violation(ViolationCode::ResourceTypeMismatch, &format!("Must be {expected}, as the batch"));
        }
        Ok(())
    }

    fn id(&mut self) -> Result<(), Invalid> {
        let id = self.text_or_skip()?.and_then(|text| RecordId::try_from(text.unescape().into_owned()).ok());
        if id.is_none() {
            self.report.violation(ViolationCode::InvalidId, "Must be 1 to 64 of A-Za-z0-9-._");
        }
        self.record.id = id;
        Ok(())
    }

    fn meta(&mut self) -> Result<(), Invalid> {
        if self.cursor.peek() != Some(b'{') {
            self.report.violation(ViolationCode::Type, "Expected object");
            return self.skip();
        }
        let own_names = self.names.len();
        let mut seen_tag = false;
        self.members(|scan, name, start| {
            if name == "tag" {
                scan.report.enter(Segment::Member("tag"));
                if std::mem::replace(&mut seen_tag, true) {
                    scan.report.duplicate_member();
                }
                scan.tags()?;
                scan.report.leave();
                return Ok(());
            }
            let is_stamp = name == "lastUpdated";
            scan.names.push(name);
            scan.skip()?;
            if !is_stamp {
                let end = scan.cursor.position();
                scan.record.meta.extend(scan.cursor.slice(start, end));
            }
            Ok(())
        })?;
        self.close_names(own_names);
        Ok(())
    }

    fn tags(&mut self) -> Result<(), Invalid> {
        if self.cursor.peek() != Some(b'[') {
            self.report.violation(ViolationCode::Type, "Expected array");
            return self.skip();
        }
        self.items(|scan, index| {
            scan.report.enter(Segment::Item(index));
            scan.tag()?;
            scan.report.leave();
            Ok(())
        })
        .map(|_| ())
    }

    /// One tag: kept, unless its system is the tenant system, which only the server writes.
    fn tag(&mut self) -> Result<(), Invalid> {
        if self.cursor.peek() != Some(b'{') {
            self.report.violation(ViolationCode::Type, "Expected object");
            return self.skip();
        }
        let start = self.cursor.position();
        let own_names = self.names.len();
        let mut is_tenant_tag = false;
        self.members(|scan, name, _| {
            let is_system = name == "system";
            scan.names.push(name);
            let text = scan.text_or_skip()?;
            is_tenant_tag |= is_system && text.is_some_and(|text| text.unescape() == TAG_SYSTEM);
            Ok(())
        })?;
        self.close_names(own_names);
        if !is_tenant_tag {
            let end = self.cursor.position();
            self.record.tags.extend(self.cursor.slice(start, end));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
