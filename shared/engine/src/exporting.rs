//! An export: read several shards at once, append their lines to files, put the files together. Where it goes on is the
//! job's checkpoint.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;
use model::{
    Checkpoint, ChunkSize, Cursor, ExportCheckpoint, ExportSpec, FailureReason, JobResult, JobSpec, JobType, ObjectKey,
    OpenFile, Position, Progress, RecordFormat, ResultFile, Tail, Token,
};
use ports::{METRICS, MultipartStore, ObjectStore, PortError, RecordReader};
use tokio::time::{Instant, timeout_at};

use crate::driver::{Deadlines, JobDriver, LeaseGuard, Tasks, Work, WorkError, Worked};
use crate::files::{AssembledFile, Cut, FileWriter, ObjectReader, ReadError, SentChunk};

mod ending;
mod formatter;
mod lane;
mod plan;
mod reading;

use ending::Made;
use lane::{Lane, LaneReader};
use plan::{FileContent, FilePlan, Planner, files_of};
use reading::Reading;

/// Chunks that are sent at once; each holds its bytes in memory.
const MAX_CHUNKS_IN_FLIGHT: usize = 3;

/// How often a file is begun anew when part of it is gone.
const MAX_RESTARTS: u32 = 1;

/// Works on exports.
#[derive(Clone)]
pub struct ExportWorker {
    pub driver: JobDriver,
    pub records: Arc<dyn RecordReader>,
    pub objects: Arc<dyn ObjectStore>,
    pub multipart: Arc<dyn MultipartStore>,
    pub chunk_size: ChunkSize,
}

#[async_trait]
impl Work for ExportWorker {
    const JOB_TYPE: JobType = JobType::Export;

    fn driver(&self) -> &JobDriver {
        &self.driver
    }

    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<Worked, WorkError> {
        let deadlines = Deadlines::new(Instant::now(), &self.driver.timings, deadline);
        let job = guard.job();
        let JobSpec::Export(spec) = job.spec() else {
            return Err(PortError::defect("export records", "job is no export").into());
        };
        // Files of two mappings would be of none.
        if let RecordFormat::Fhir { mapping_version } = spec.format
            && mapping_version != fhir::MAPPING_VERSION
        {
            return Err(WorkError::Impossible(FailureReason::MappingChanged));
        }
        let checkpoint = match job.checkpoint().and_then(Checkpoint::export) {
            Some(checkpoint) => checkpoint.clone().readable(),
            None => {
                let planner = Planner {
                    records: self.records.clone(),
                    clock: self.driver.clock.clone(),
                    ids: self.driver.ids.clone(),
                    timings: self.driver.timings,
                    partition: job.partition().clone(),
                };
                let planned = timeout_at(deadline, planner.plan(spec)).await;
                let checkpoint = ExportCheckpoint::new(planned.unwrap_or(Err(WorkError::TimeOver))?);
                // How it reads is stored before anything is read.
                guard.save(checkpoint.progress(), Checkpoint::Export(checkpoint.clone())).await;
                checkpoint
            }
        };
        let files = files_of(&checkpoint.plan, spec);
        let mut run = ExportRun { worker: self, guard, spec, files: &files, checkpoint, deadlines };
        while let Some(file) = files.get(run.checkpoint.next_file as usize) {
            run.write_file(file).await?;
        }
        let records = run.checkpoint.exported();
        let ExportCheckpoint { files, plan, is_chunked, .. } = run.checkpoint;
        let file_bytes: u64 = files.iter().map(|file| file.bytes).sum();
        tracing::info!(target: METRICS, job_type = "export", job_id = %job.id(), file_bytes);
        let progress = Progress { total: records, processed: records, ..Progress::default() };
        let result = JobResult::Export { started_at: plan.started_at, files };
        Ok(Worked { result, progress, leftovers: is_chunked })
    }
}

/// One worker's time slice of an export.
struct ExportRun<'a> {
    worker: &'a ExportWorker,
    guard: &'a LeaseGuard,
    spec: &'a ExportSpec,
    files: &'a [FilePlan],
    checkpoint: ExportCheckpoint,
    deadlines: Deadlines,
}

/// The file that is written, and its chunks on their way.
struct Out {
    file: FileWriter<Position>,
    chunks: Tasks<Result<SentChunk, PortError>>,
}

impl ExportRun<'_> {
    /// Writes the next file: lanes are read into it, then it is made visible. To be called again while it is not whole.
    async fn write_file(&mut self, plan: &FilePlan) -> Result<(), WorkError> {
        let Some((mut out, position)) = self.open(plan).await? else { return self.begin_anew().await };
        let mut reading = Reading::new(self, plan, position);
        if self.assembly().is_none()
            && let Err(stopped) = reading.run(self, &mut out).await
        {
            return Err(self.stop(&mut out, reading.position, stopped).await);
        }
        let position = reading.position;
        match self.make_visible(&mut out, &position, plan).await {
            Ok(Made::Visible(key, AssembledFile { records, bytes, sha256 })) => {
                let (name, resource_type) = (plan.name(self.guard.job().id(), self.spec), plan.resource_type());
                self.checkpoint.files.push(ResultFile { name, key, resource_type, records, bytes, sha256 });
            }
            Ok(Made::Empty) => {}
            Ok(Made::Gone) => return self.begin_anew().await,
            Err(stopped) if self.assembly().is_none() => return Err(self.stop(&mut out, position, stopped).await),
            Err(stopped) => return Err(stopped),
        }
        (self.checkpoint.open, self.checkpoint.restarts) = (None, 0);
        self.checkpoint.next_file += 1;
        self.hand_over();
        Ok(())
    }

    /// The file after its chunks and the tail that another worker has left, or a new one; `None` when the tail is gone.
    async fn open(&mut self, plan: &FilePlan) -> Result<Option<(Out, Position)>, WorkError> {
        let ExportWorker { objects, chunk_size, .. } = self.worker;
        let compression = plan.compression(self.spec);
        // What is begun anew has keys of its own: a chunk of the first try may still arrive.
        let file = format!("{}.{}", self.checkpoint.next_file, self.checkpoint.restarts);
        let new = FileWriter::new(objects, self.guard, file, *chunk_size, compression, MAX_CHUNKS_IN_FLIGHT);
        let out = |file| Out { file, chunks: Tasks::default() };
        let Some(open) = self.checkpoint.open.clone() else {
            return Ok(Some((out(new), Position::default())));
        };
        let over = |_elapsed| WorkError::TimeOver;
        let (tail, lines) = match &open.tail {
            None => (BytesMut::new(), 0),
            Some(tail) => match timeout_at(self.deadlines.ends, self.read_tail(tail)).await.map_err(over)? {
                Ok(bytes) => (bytes, tail.records),
                Err(ReadError::Port(error)) => return Err(error.into()),
                Err(ReadError::Missing | ReadError::Changed) => return Ok(None),
            },
        };
        // A file that another version has begun is written anew, so the digest is of this one.
        let unreadable = || PortError::defect("read checkpoint", "digest cannot be restored");
        let digest = open.digest.restore().ok_or_else(unreadable)?;
        let OpenFile { chunks, records, bytes, position, .. } = open;
        let arrived = Cut { chunks, digest, records, bytes, position: position.clone() };
        Ok(Some((out(new.resume(arrived, tail, lines)), position)))
    }

    /// What another worker had appended when it stopped: exactly the bytes that it has written down.
    async fn read_tail(&self, tail: &Tail) -> Result<BytesMut, ReadError> {
        let ExportWorker { objects, driver, .. } = self.worker;
        let mut reader =
            ObjectReader::open(objects, &driver.ids, self.guard.job().partition(), &tail.key, None).await?;
        if reader.size() != tail.bytes {
            return Err(ReadError::Changed);
        }
        let mut bytes = BytesMut::new();
        while let Some(piece) = reader.next().await.transpose()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn lane_reader(&self, index: u32, lane: Lane, cursor: Option<Cursor>) -> LaneReader {
        let ExportWorker { records, driver, .. } = self.worker;
        LaneReader::new(records.clone(), driver.ids.clone(), self.guard.job().partition(), (index, lane), cursor)
    }

    /// A chunk has arrived: whoever takes over goes on after the unbroken run.
    fn sent(&mut self, out: &mut Out, sent: SentChunk) {
        if out.file.sent(sent) {
            self.checkpoint_file(out.file.arrived().clone(), None);
            self.hand_over();
        }
    }

    /// The checkpoint covers the unbroken run of chunks, and a tail after it.
    fn checkpoint_file(&mut self, arrived: Cut<Position>, tail: Option<Tail>) {
        let Cut { chunks, digest, records, bytes, position } = arrived;
        self.checkpoint.is_chunked |= chunks.count() > 0 || tail.is_some();
        let digest = digest.save();
        self.checkpoint.open = Some(OpenFile { chunks, digest, records, bytes, tail, position, assembly: None });
    }

    /// Stops before the file is whole. A slice after which nothing could be kept, since the store did not answer, is no
    /// slice but a deferral.
    async fn stop(&mut self, out: &mut Out, position: Position, stopped: WorkError) -> WorkError {
        let is_kept = self.keep(out, position).await;
        match stopped {
            WorkError::TimeOver if !is_kept => PortError::unavailable("write chunk", "no answer in time").into(),
            stopped => stopped,
        }
    }

    /// Keeps what is appended for whoever goes on, as far as the store answers in time: so an export advances in every
    /// slice. False when it did not answer.
    async fn keep(&mut self, out: &mut Out, position: Position) -> bool {
        let until = Deadlines::drained_by(Instant::now());
        while !out.chunks.is_empty() {
            match out.chunks.next(until).await {
                Some(Ok(sent)) => self.sent(out, sent),
                Some(Err(_)) | None => return false,
            }
        }
        if out.file.in_flight() > 0 {
            // One of them has failed before: what follows it is read again.
            return false;
        }
        let tail = match out.file.tail() {
            None => None,
            Some((tail, content)) => {
                let put = async {
                    self.guard.may_call().await;
                    self.worker.objects.put(self.guard.job().partition(), &tail.key, content).await
                };
                let Ok(Ok(())) = timeout_at(until, put).await else { return false };
                Some(tail)
            }
        };
        // Also when nothing is appended after the chunks: cursors may be further.
        self.checkpoint_file(Cut { position, ..out.file.arrived().clone() }, tail);
        self.hand_over();
        true
    }

    /// Something of the file that is written is gone. Whoever has lost the lease touches nothing; under the lease the file
    /// is begun anew, once.
    async fn begin_anew(&mut self) -> Result<(), WorkError> {
        self.guard.renew().await;
        if self.checkpoint.restarts >= MAX_RESTARTS {
            return Err(WorkError::Impossible(FailureReason::FileLost));
        }
        tracing::error!(job_id = %self.guard.job().id(), "chunks are gone: begin the file anew");
        self.checkpoint.restarts += 1;
        self.checkpoint.open = None;
        self.save().await;
        Ok(())
    }

    /// A key for the file that is written.
    fn key(&self, plan: &FilePlan, token: &Token) -> ObjectKey {
        let (job, file) = (self.guard.job(), self.checkpoint.next_file);
        ObjectKey::export(job.partition(), job.id(), token, file, plan.compression(self.spec))
    }

    /// Deletions are no records: progress stands still while their file, the last one, is written.
    fn progress(&self) -> Progress {
        let progress = self.checkpoint.progress();
        match self.files.get(self.checkpoint.next_file as usize) {
            Some(FilePlan { content: FileContent::AllTypes | FileContent::OneType(_), .. }) => progress,
            Some(FilePlan { content: FileContent::Deletions, .. }) | None => {
                Progress { processed: self.checkpoint.exported(), ..progress }
            }
        }
    }

    fn hand_over(&self) {
        self.guard.hand_over(self.progress(), Checkpoint::Export(self.checkpoint.clone()));
    }

    async fn save(&self) {
        self.guard.save(self.progress(), Checkpoint::Export(self.checkpoint.clone())).await;
    }
}
