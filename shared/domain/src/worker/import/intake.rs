//! From bytes to batches: lines are framed, judged, and put together for writing.

use std::collections::HashMap;

use ndjson::{Frame, LineSplitter};
use records::{Fault, Record, RecordId, Schema, StoredLine};
use uuid::Uuid;

use crate::ids::{JobId, Partition};
use crate::job::{JobResult, LineFault, MAX_INLINE_FAULTS, Progress};
use crate::ports::MAX_BATCH;

/// The longest raw line that is read: 1 MiB (contract, section 3).
const MAX_LINE: usize = 1 << 20;

/// A batch ends after so many lines even when it is not full, so that progress shows among rejected lines.
const MAX_LINES_PER_BATCH: usize = 250;

/// The name space of derived record ids, drawn once for this service.
const DERIVED_IDS: Uuid = Uuid::from_u128(0x6f0f_3a5e_9d0b_4c53_8a77_2c1e_5b9d_4f10);

/// Some records to write, and how far the import is once they are.
#[derive(Debug)]
pub(super) struct Batch {
    /// The records, of different ids; none when all lines were rejected.
    pub(super) lines: Vec<StoredLine>,
    /// The figures at the batch's last line.
    pub(super) upto: Progress,
}

/// The reading half of an import.
pub(super) struct Intake<'a> {
    splitter: LineSplitter,
    judge: Judge<'a>,
    batch: Vec<StoredLine>,
    lines_in_batch: usize,
    ended: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(schema: &'a Schema, partition: &'a Partition, job: &'a JobId) -> Self {
        let judge = Judge {
            schema,
            tenant: partition.tenant.as_str(),
            job,
            lines_of_ids: HashMap::new(),
            faults: Vec::new(),
            fault_count: 0,
            progress: Progress::default(),
        };
        Self { splitter: LineSplitter::new(MAX_LINE), judge, batch: Vec::new(), lines_in_batch: 0, ended: false }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.splitter.push(chunk);
    }

    /// There are no more bytes.
    pub(super) fn finish(&mut self) {
        self.splitter.finish();
        self.ended = true;
    }

    /// The next full batch; after [`finish`](Self::finish) also the last one, full or not.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        while self.batch.len() < MAX_BATCH && self.lines_in_batch < MAX_LINES_PER_BATCH {
            match self.splitter.next_frame() {
                Some(Frame::Line { number, bytes }) => {
                    self.batch.extend(self.judge.line(number, bytes));
                    self.lines_in_batch += 1;
                }
                Some(Frame::Oversize { last: false, .. }) => {}
                Some(Frame::Oversize { number, last: true, .. }) => {
                    self.judge.reject(number, vec![Fault::too_large(MAX_LINE)]);
                    self.lines_in_batch += 1;
                }
                None if self.ended && self.lines_in_batch > 0 => break,
                None => return None,
            }
        }
        self.lines_in_batch = 0;
        Some(Batch { lines: std::mem::take(&mut self.batch), upto: self.judge.progress })
    }

    /// The outcome of the whole import; all batches have been taken out before.
    pub(super) fn into_result(self) -> (JobResult, Progress) {
        let judge = self.judge;
        let result = JobResult::Import { faults: judge.faults, fault_count: judge.fault_count };
        (result, Progress { total: judge.progress.processed, ..judge.progress })
    }
}

/// Decides on every line, and keeps the account.
struct Judge<'a> {
    schema: &'a Schema,
    tenant: &'a str,
    job: &'a JobId,
    /// The first valid line of every id that a client chose.
    lines_of_ids: HashMap<RecordId, u64>,
    faults: Vec<LineFault>,
    fault_count: u64,
    progress: Progress,
}

impl Judge<'_> {
    fn line(&mut self, number: u64, bytes: &[u8]) -> Option<StoredLine> {
        match self.schema.scan(bytes).and_then(|record| self.accept(number, record)) {
            Ok(stored) => {
                self.progress.processed = number;
                self.progress.succeeded += 1;
                Some(stored)
            }
            Err(faults) => {
                self.reject(number, faults);
                None
            }
        }
    }

    fn accept(&mut self, number: u64, record: Record<'_>) -> Result<StoredLine, Vec<Fault>> {
        let chosen = record.id().cloned();
        if let Some(first) = chosen.as_ref().and_then(|id| self.lines_of_ids.get(id)) {
            return Err(vec![Fault::duplicate_id(*first)]);
        }
        let derive = || derived_id(self.job, number);
        let stored = record.into_stored(self.tenant, derive).map_err(|fault| vec![fault])?;
        if let Some(id) = chosen {
            self.lines_of_ids.insert(id, number);
        }
        Ok(stored)
    }

    fn reject(&mut self, line: u64, faults: Vec<Fault>) {
        self.progress.processed = line;
        self.progress.failed += 1;
        self.fault_count += faults.len() as u64;
        let room = MAX_INLINE_FAULTS.saturating_sub(self.faults.len());
        self.faults.extend(faults.into_iter().take(room).map(|fault| LineFault { line, fault }));
    }
}

/// The id of a record that brings none: made of job and line, so that doing the job twice stores the
/// record once.
fn derived_id(job: &JobId, line: u64) -> RecordId {
    let uuid = Uuid::new_v5(&DERIVED_IDS, format!("{job}/{line}").as_bytes());
    RecordId::from(uuid)
}
