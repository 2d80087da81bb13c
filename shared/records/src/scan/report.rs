//! The faults of a line while it is walked.

use std::fmt::Write;

use crate::fault::{Fault, FaultCode, MAX_FAULTS_PER_RECORD};

/// One step of the path from the record to the member in hand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    Member(&'a str),
    Item(usize),
}

/// The path to the member in hand, and the faults so far.
#[derive(Debug)]
pub(super) struct Report<'a> {
    path: Vec<Segment<'a>>,
    faults: Vec<Fault>,
    /// Whether there were more faults than are kept.
    more: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new() -> Self {
        // Most records are no deeper.
        Self { path: Vec::with_capacity(8), faults: Vec::new(), more: false }
    }

    #[inline]
    pub(super) fn enter(&mut self, segment: Segment<'a>) {
        self.path.push(segment);
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// A fault of the member in hand.
    #[cold]
    pub(super) fn fault(&mut self, code: FaultCode, rule: &str) {
        if self.faults.len() >= MAX_FAULTS_PER_RECORD {
            self.more = true;
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
        self.faults.push(Fault { code, path, message: format!("{message}{colon}{rule}") });
    }

    /// A fault of the line as a whole.
    pub(super) fn line(&mut self, code: FaultCode, rule: &str) {
        self.path.clear();
        self.fault(code, rule);
    }

    #[cold]
    pub(super) fn duplicate_member(&mut self) {
        self.fault(FaultCode::DuplicateMember, "Member name stands twice");
    }

    pub(super) fn finish(mut self) -> Result<(), Vec<Fault>> {
        if self.more {
            self.faults
                .push(Fault::of_line(FaultCode::MoreFaults, &format!("More than {MAX_FAULTS_PER_RECORD} faults")));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}
