//! From bytes to batches: lines are framed, judged, and put together for writing.

use std::collections::HashMap;

use ndjson::{Frame, LineSplitter};
use records::{Fault, Record, RecordId, Schema, StoredLine};
use uuid::Uuid;

use crate::ids::{JobId, Partition};
use crate::job::{LineFault, MAX_INLINE_FAULTS, Progress};
use crate::ports::{MAX_BATCH, MAX_BATCH_BYTES};
use crate::worker::import::reports::Pending;

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
    /// How many bytes they have.
    pub(super) bytes: usize,
    /// The figures at the batch's last line.
    pub(super) upto: Progress,
}

/// The reading half of an import.
pub(super) struct Intake<'a> {
    splitter: LineSplitter,
    judge: Judge<'a>,
    batch: Vec<StoredLine>,
    bytes_in_batch: usize,
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
            reports: Pending::default(),
        };
        Self {
            splitter: LineSplitter::new(MAX_LINE),
            judge,
            batch: Vec::new(),
            bytes_in_batch: 0,
            lines_in_batch: 0,
            ended: false,
        }
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
        while self.batch.len() < MAX_BATCH
            && self.bytes_in_batch < MAX_BATCH_BYTES
            && self.lines_in_batch < MAX_LINES_PER_BATCH
        {
            match self.splitter.next_frame() {
                Some(Frame::Line { number, bytes }) => {
                    if let Some(line) = self.judge.line(number, bytes) {
                        self.bytes_in_batch += line.as_str().len();
                        self.batch.push(line);
                    }
                    self.lines_in_batch += 1;
                }
                Some(Frame::Oversize { number, piece, last }) => {
                    self.judge.reports.rejected_bytes(piece, last);
                    if last {
                        self.judge.reject(number, vec![Fault::too_large(MAX_LINE)]);
                        self.lines_in_batch += 1;
                    }
                }
                None if self.ended && self.lines_in_batch > 0 => break,
                None => return None,
            }
        }
        self.lines_in_batch = 0;
        let (lines, bytes) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.bytes_in_batch));
        Some(Batch { lines, bytes, upto: self.judge.progress })
    }

    /// The lines of the reports so far, to be taken over.
    pub(super) fn reports(&mut self) -> &mut Pending {
        &mut self.judge.reports
    }

    /// The outcome of the whole import; all batches and reports have been taken out before.
    pub(super) fn into_outcome(self) -> Outcome {
        let Judge { faults, fault_count, progress, .. } = self.judge;
        Outcome { faults, fault_count, progress: Progress { total: progress.processed, ..progress } }
    }
}

/// What became of the lines.
pub(super) struct Outcome {
    /// The first faults.
    pub(super) faults: Vec<LineFault>,
    /// All faults counted.
    pub(super) fault_count: u64,
    /// The final figures.
    pub(super) progress: Progress,
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
    reports: Pending,
}

impl Judge<'_> {
    fn line(&mut self, number: u64, bytes: &[u8]) -> Option<StoredLine> {
        match self.schema.scan(bytes).and_then(|record| self.accept(number, record)) {
            Ok((stored, is_derived)) => {
                self.progress.processed = number;
                self.progress.succeeded += 1;
                self.reports.stored(number, stored.id().as_str(), is_derived);
                Some(stored)
            }
            Err(faults) => {
                self.reports.rejected_bytes(bytes, true);
                self.reject(number, faults);
                None
            }
        }
    }

    /// The record as it will be stored, and whether its id is derived.
    fn accept(&mut self, number: u64, record: Record<'_>) -> Result<(StoredLine, bool), Vec<Fault>> {
        let chosen = record.id().cloned();
        if let Some(first) = chosen.as_ref().and_then(|id| self.lines_of_ids.get(id)) {
            return Err(vec![Fault::duplicate_id(*first)]);
        }
        let derive = || derived_id(self.job, number);
        let stored = record.into_stored(self.tenant, derive).map_err(|fault| vec![fault])?;
        let is_derived = chosen.is_none();
        if let Some(id) = chosen {
            self.lines_of_ids.insert(id, number);
        }
        Ok((stored, is_derived))
    }

    fn reject(&mut self, line: u64, faults: Vec<Fault>) {
        self.progress.processed = line;
        self.progress.failed += 1;
        self.fault_count += faults.len() as u64;
        let mut faults: Vec<_> = faults.into_iter().map(|fault| LineFault { line, fault }).collect();
        self.reports.rejected(line, &faults);
        faults.truncate(MAX_INLINE_FAULTS.saturating_sub(self.faults.len()));
        self.faults.append(&mut faults);
    }
}

/// The id of a record that brings none: made of job and line, so that doing the job twice stores the
/// record once.
fn derived_id(job: &JobId, line: u64) -> RecordId {
    let uuid = Uuid::new_v5(&DERIVED_IDS, format!("{job}/{line}").as_bytes());
    RecordId::from(uuid)
}
