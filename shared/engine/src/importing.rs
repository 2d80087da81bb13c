//! An import: read NDJSON, validate every line, write the valid records, account for the others.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use model::{
    Checkpoint, FailureReason, ImportFormat, ImportSource, JobResult, JobSpec, JobType, MAX_RECORDS, Partition,
    Progress, Report,
};
use ndjson::LineCounter;
use ports::{METRICS, MultipartStore, ObjectStore, PortError, RecordWriter};
use records::Schema;
use tokio::time::{Instant, timeout_at};

use crate::driver::{Deadlines, JobDriver, LeaseGuard, Tasks, Work, WorkError, Worked};
use crate::files::SentChunk;

mod group_reader;
mod group_writer;
mod rate_limiter;
mod reports;
mod source;
mod watermark;

use group_reader::{Group, GroupReader, Outcome};
use group_writer::GroupWriter;
use rate_limiter::RateLimiter;
use reports::{Reports, ReportsEnd};
use source::{Source, open_source};
use watermark::Watermark;

/// Groups that are written at once; fewer, once the store sets the pace.
const MAX_CONCURRENCY: usize = 6;

/// No further group begins while so many bytes of records are being written.
const MAX_BYTES_IN_FLIGHT: usize = 4 << 20;

/// Works on imports.
#[derive(Clone)]
pub struct ImportWorker {
    pub driver: JobDriver,
    pub records: Arc<dyn RecordWriter>,
    pub objects: Arc<dyn ObjectStore>,
    pub multipart: Arc<dyn MultipartStore>,
}

#[async_trait]
impl Work for ImportWorker {
    const JOB_TYPE: JobType = JobType::Import;

    fn driver(&self) -> &JobDriver {
        &self.driver
    }

    /// A pure function of the object and the job but for the stamps: done twice it stores the same records. A takeover
    /// reads from the start again, which rebuilds the reports, and writes on from where the last progress ended.
    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<Worked, WorkError> {
        let deadlines = Deadlines::new(Instant::now(), &self.driver.timings, deadline).without_slice();
        let job = guard.job();
        let JobSpec::Import { resource_type, source, format } = job.spec() else {
            return Err(PortError::defect("import records", "job is no import").into());
        };
        let mut lines = job.progress().total;
        if let (false, ImportSource::Upload { month_limit, .. }) = (job.is_counted(), source) {
            lines = self.count_lines(job.partition(), source, deadline).await?;
            guard.count(lines, *month_limit).await.map_err(WorkError::Impossible)?;
        }
        let schema = resource_type.schema();
        let content = open_source(&self.objects, &self.driver.ids, job.partition(), source).await?;
        let import = Import::new(self, guard, &schema, *format, lines, deadline, content);
        let Outcome { violations, violation_count, progress, reports } = import.run().await?;
        let is_chunked = reports.are_chunked();
        let end = ReportsEnd { multipart: &self.multipart, ids: &self.driver.ids, guard, deadlines };
        let files = reports.finish(&end).await?;
        let result = JobResult::Import { violations, violation_count, files };
        Ok(Worked { result, progress, leftovers: is_chunked })
    }
}

impl ImportWorker {
    /// The first pass over an upload: how many lines it has, before any of them is stored.
    async fn count_lines(
        &self,
        partition: &Partition,
        source: &ImportSource,
        deadline: Instant,
    ) -> Result<u64, WorkError> {
        let mut content = open_source(&self.objects, &self.driver.ids, partition, source).await?;
        let mut lines = LineCounter::default();
        let over = |_elapsed| WorkError::TimeOver;
        while let Some(piece) = timeout_at(deadline, content.next()).await.map_err(over)?.transpose()? {
            lines.push(&piece);
        }
        if lines.count() > MAX_RECORDS {
            return Err(WorkError::Impossible(FailureReason::TooManyRecords));
        }
        Ok(lines.count())
    }
}

/// What an import does beside everything else.
enum Step {
    /// The source, and what it has brought.
    Read(Source, Option<Result<Bytes, WorkError>>),
    /// A group by its number is written, of so many bytes.
    Written(Result<(u64, usize), WorkError>),
    /// A chunk of a report has arrived.
    Sent(Report, Result<SentChunk, PortError>),
}

/// An import at work: reading, validating, writing and reporting, side by side.
struct Import<'a> {
    guard: &'a LeaseGuard,
    /// Lines that were counted.
    lines: u64,
    deadline: Instant,
    reader: GroupReader<'a>,
    writer: Arc<GroupWriter>,
    steps: Tasks<Step>,
    /// The source, while nothing is read from it; gone at its end.
    source: Option<Source>,
    /// Up to where everything is written.
    watermark: Watermark,
    groups_in_flight: usize,
    bytes_in_flight: usize,
    /// The last line that was begun to be written, by this worker or those before it.
    begun: u64,
    bytes_read: usize,
}

impl<'a> Import<'a> {
    fn new(
        worker: &ImportWorker,
        guard: &'a LeaseGuard,
        schema: &'a Schema,
        format: ImportFormat,
        lines: u64,
        deadline: Instant,
        source: Source,
    ) -> Self {
        let job = guard.job();
        let writer = GroupWriter {
            records: worker.records.clone(),
            clock: worker.driver.clock.clone(),
            ids: worker.driver.ids.clone(),
            guard: guard.clone(),
            resource_type: schema.resource_type(),
            limiter: Mutex::new(RateLimiter::new(Instant::now())),
        };
        Self {
            guard,
            lines,
            deadline,
            reader: GroupReader::new(schema, format, job, Reports::new(&worker.objects, guard)),
            writer: Arc::new(writer),
            steps: Tasks::default(),
            source: Some(source),
            watermark: Watermark::default(),
            groups_in_flight: 0,
            bytes_in_flight: 0,
            begun: job.progress().processed.max(job.checkpoint().map_or(0, Checkpoint::begun)),
            bytes_read: 0,
        }
    }

    /// Reads to the end, and returns what became of every line.
    async fn run(mut self) -> Result<Outcome, WorkError> {
        loop {
            let has_room = self.begin_writes();
            if has_room {
                self.read_on();
            }
            if has_room && self.steps.is_empty() {
                break;
            }
            match self.steps.next(self.deadline).await {
                Some(Step::Read(source, piece)) => self.take(source, piece.transpose()?),
                Some(Step::Written(written)) => self.written(written?),
                Some(Step::Sent(report, sent)) => self.reader.reports().sent(report, sent?),
                None => return Err(WorkError::TimeOver),
            }
            self.hand_over();
        }
        let job_id = self.guard.job().id();
        tracing::info!(target: METRICS, job_type = "import", %job_id, imported_bytes = self.bytes_read);
        let outcome = self.reader.into_outcome();
        // What was promised is compared: the lines that were counted are the lines that were read.
        if outcome.progress.processed != self.lines {
            return Err(PortError::defect("import records", "lines read differ from lines counted").into());
        }
        Ok(outcome)
    }

    /// Begins to write groups, and full chunks of the reports; false while more is read than can be written.
    fn begin_writes(&mut self) -> bool {
        let before = self.guard.job().progress().processed;
        loop {
            if !self.reader.reports().send_full(&mut self.steps)
                || self.groups_in_flight >= MAX_CONCURRENCY
                || self.bytes_in_flight >= MAX_BYTES_IN_FLIGHT
            {
                return false;
            }
            let Some(Group { lines, bytes, progress }) = self.reader.next_group() else { return true };
            let number = self.watermark.begin(progress);
            if lines.is_empty() || progress.processed <= before {
                self.watermark.end(number);
                continue;
            }
            self.begun = self.begun.max(progress.processed);
            self.hand_over();
            (self.groups_in_flight, self.bytes_in_flight) = (self.groups_in_flight + 1, self.bytes_in_flight + bytes);
            let writer = self.writer.clone();
            self.steps.begin(async move { Step::Written(writer.write(lines).await.map(|()| (number, bytes))) });
        }
    }

    fn read_on(&mut self) {
        if let Some(mut source) = self.source.take() {
            self.steps.begin(async move {
                let piece = source.next().await;
                Step::Read(source, piece)
            });
        }
    }

    fn take(&mut self, source: Source, piece: Option<Bytes>) {
        match piece {
            Some(piece) => {
                self.bytes_read += piece.len();
                self.reader.push(&piece);
                self.source = Some(source);
            }
            None => self.reader.finish(),
        }
    }

    fn written(&mut self, (number, bytes): (u64, usize)) {
        self.watermark.end(number);
        (self.groups_in_flight, self.bytes_in_flight) = (self.groups_in_flight - 1, self.bytes_in_flight - bytes);
    }

    fn hand_over(&self) {
        let before = self.guard.job().progress();
        let reached = self.watermark.reached().map_or(before, |done| Progress { total: self.lines, ..done });
        self.guard.hand_over(reached, Checkpoint::Import { begun: self.begun });
    }
}
