//! From bytes to groups: lines are framed, validated, and put together for writing.

use model::{
    ImportFormat, Job, JobId, LineValidator, LineViolation, MAX_INLINE_VIOLATIONS, MAX_LINE, Progress, ValidLine,
};
use ndjson::{Frame, LineSplitter};
use ports::{MAX_GROUP, MAX_GROUP_BYTES};
use records::{RecordId, Schema, StoredLine, Violation};
use uuid::Uuid;

use super::reports::Reports;

/// A group ends after so many lines even when it is not full, so that progress shows among rejected lines.
const MAX_LINES_PER_GROUP: usize = 500;

/// The name space of derived record ids, drawn once for this service.
const DERIVED_IDS: Uuid = Uuid::from_u128(0x6f0f_3a5e_9d0b_4c53_8a77_2c1e_5b9d_4f10);

/// Some records to write, and how far the import is once they are.
#[derive(Debug)]
pub(super) struct Group {
    /// The records, of different ids; none when all lines were rejected.
    pub(super) lines: Vec<StoredLine>,
    /// How many bytes they have.
    pub(super) bytes: usize,
    /// The figures at the group's last line.
    pub(super) progress: Progress,
}

/// The reading half of an import.
pub(super) struct GroupReader<'a> {
    splitter: LineSplitter,
    validator: LineValidator<'a>,
    job: &'a JobId,
    outcome: Outcome,
    group: Vec<StoredLine>,
    bytes_in_group: usize,
    lines_in_group: usize,
    at_end: bool,
}

impl<'a> GroupReader<'a> {
    pub(super) fn new(schema: &'a Schema, format: ImportFormat, job: &'a Job, reports: Reports) -> Self {
        Self {
            splitter: LineSplitter::new(MAX_LINE),
            validator: LineValidator::new(schema, &job.partition().tenant, format),
            job: job.id(),
            outcome: Outcome { violations: Vec::new(), violation_count: 0, progress: Progress::default(), reports },
            group: Vec::new(),
            bytes_in_group: 0,
            lines_in_group: 0,
            at_end: false,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.splitter.push(chunk);
    }

    /// There are no more bytes.
    pub(super) fn finish(&mut self) {
        self.splitter.finish();
        self.at_end = true;
    }

    /// The next full group; after [`finish`](Self::finish) also the last one, full or not.
    pub(super) fn next_group(&mut self) -> Option<Group> {
        while self.group.len() < MAX_GROUP
            && self.bytes_in_group < MAX_GROUP_BYTES
            && self.lines_in_group < MAX_LINES_PER_GROUP
        {
            match self.splitter.next_frame() {
                Some(Frame::Line { number, bytes }) => {
                    match self.validator.validate(number, bytes, || derived_id(self.job, number)) {
                        Ok(ValidLine { stored, id_is_derived }) => {
                            self.outcome.accept(number, &stored, id_is_derived);
                            self.bytes_in_group += stored.as_str().len();
                            self.group.push(stored);
                        }
                        Err(violations) => {
                            self.outcome.reports.rejected_bytes(bytes, true);
                            self.outcome.reject(number, violations);
                        }
                    }
                    self.lines_in_group += 1;
                }
                Some(Frame::Oversize { number, piece, last }) => {
                    self.outcome.reports.rejected_bytes(piece, last);
                    if last {
                        self.outcome.reject(number, vec![Violation::too_large(MAX_LINE)]);
                        self.lines_in_group += 1;
                    }
                }
                None if self.at_end && self.lines_in_group > 0 => break,
                None => return None,
            }
        }
        self.lines_in_group = 0;
        let (lines, bytes) = (std::mem::take(&mut self.group), std::mem::take(&mut self.bytes_in_group));
        Some(Group { lines, bytes, progress: self.outcome.progress })
    }

    pub(super) fn reports(&mut self) -> &mut Reports {
        &mut self.outcome.reports
    }

    /// The outcome of the whole import, once all groups have been taken out.
    pub(super) fn into_outcome(self) -> Outcome {
        let mut outcome = self.outcome;
        outcome.reports.lost(&self.validator.losses());
        outcome.progress.total = outcome.progress.processed;
        outcome
    }
}

/// What became of the lines.
pub(super) struct Outcome {
    /// The first violations.
    pub(super) violations: Vec<LineViolation>,
    /// All violations counted.
    pub(super) violation_count: u64,
    /// The figures; the total, once all lines were read.
    pub(super) progress: Progress,
    pub(super) reports: Reports,
}

impl Outcome {
    fn accept(&mut self, line: u64, stored: &StoredLine, id_is_derived: bool) {
        self.progress.processed = line;
        self.progress.succeeded += 1;
        self.reports.stored(line, stored.id().as_str(), id_is_derived);
    }

    fn reject(&mut self, line: u64, violations: Vec<Violation>) {
        self.progress.processed = line;
        self.progress.failed += 1;
        self.violation_count += violations.len() as u64;
        let mut violations: Vec<_> =
            violations.into_iter().map(|violation| LineViolation { line, violation }).collect();
        self.reports.rejected(line, &violations);
        violations.truncate(MAX_INLINE_VIOLATIONS.saturating_sub(self.violations.len()));
        self.violations.append(&mut violations);
    }
}

/// The id of a record that brings none: made of job and line, so that doing the job twice stores the
/// record once.
fn derived_id(job: &JobId, line: u64) -> RecordId {
    let uuid = Uuid::new_v5(&DERIVED_IDS, format!("{job}/{line}").as_bytes());
    RecordId::from(uuid)
}
