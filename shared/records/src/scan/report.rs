//! The violations of a line while it is walked.

use std::fmt::Write;

use crate::violation::{MAX_VIOLATIONS_PER_RECORD, Violation, ViolationCode};

/// One step of the path from the record to the member in hand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    Member(&'a str),
    Item(usize),
}

/// The path to the member in hand, and the violations so far.
#[derive(Debug)]
pub(super) struct Report<'a> {
    path: Vec<Segment<'a>>,
    /// At most one more than are reported: it says that there are more.
    violations: Vec<Violation>,
}

impl<'a> Report<'a> {
    pub(super) fn new() -> Self {
        // Most records are no deeper.
        Self { path: Vec::with_capacity(8), violations: Vec::new() }
    }

    #[inline]
    pub(super) fn enter(&mut self, segment: Segment<'a>) {
        self.path.push(segment);
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// A violation of the member in hand; of the line as a whole where none is.
    #[cold]
    pub(super) fn violation(&mut self, code: ViolationCode, rule: &str) {
        if self.violations.len() > MAX_VIOLATIONS_PER_RECORD {
            return;
        }
        let mut path = String::new();
        let mut message = String::new();
        for segment in &self.path {
            // Writing to a String cannot fail. Names are the schemas' own and need no pointer escapes.
            let _ = match segment {
                Segment::Member(name) => {
                    let dot = if message.is_empty() { "" } else { "." };
                    write!(path, "/{name}").and_then(|()| write!(message, "{dot}{name}"))
                }
                Segment::Item(index) => write!(path, "/{index}").and_then(|()| write!(message, "[{index}]")),
            };
        }
        let colon = if message.is_empty() { "" } else { ": " };
        self.violations.push(Violation { code, path, message: format!("{message}{colon}{rule}") });
    }

    #[cold]
    pub(super) fn duplicate_member(&mut self) {
        self.violation(ViolationCode::DuplicateMember, "Duplicate member name");
    }

    pub(super) fn finish(mut self) -> Result<(), Vec<Violation>> {
        if let Some(beyond) = self.violations.get_mut(MAX_VIOLATIONS_PER_RECORD) {
            *beyond = Violation::of_line(
                ViolationCode::MoreViolations,
                &format!("More than {MAX_VIOLATIONS_PER_RECORD} violations"),
            );
        }
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }
}
