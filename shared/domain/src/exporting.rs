//! An export: read several shards at once, append their lines to files, upload the files in parts. Where it goes on
//! is the job's checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::files::{CompleteError, ObjectKey};
use crate::identity::{JobId, Partition};
use crate::jobs::{
    Delivery, ExportSpec, FailureReason, FileLayout, Job, JobDriver, JobResult, JobSpec, JobWorker, LeaseGuard,
    Progress, Release, ResultFile, Work, WorkError,
};
use crate::metrics::METRICS;
use crate::ports::{MultipartStore, ObjectStore, PortError, RecordReader, UploadError};

mod checkpoint;
mod export_file;
mod lane;
mod plan;

use checkpoint::Position;
#[cfg(any(test, feature = "testing"))]
pub(crate) use checkpoint::open_file_for_tests;
pub use checkpoint::{ExportCheckpoint, ExportPlan, MAX_PARTS_AHEAD, OpenFile};
use export_file::ExportFile;
pub use export_file::ExportSizes;
use lane::{Chunk, Lane, LaneReader};
use plan::FilePlan;

/// For how long parts in flight are waited for when the invocation's time is over.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Works on exports.
#[derive(Clone)]
pub struct ExportWorker {
    pub driver: JobDriver,
    pub records: Arc<dyn RecordReader>,
    pub objects: Arc<dyn ObjectStore>,
    pub multipart: Arc<dyn MultipartStore>,
    pub sizes: ExportSizes,
}

#[async_trait]
impl JobWorker for ExportWorker {
    async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError> {
        self.driver.drive(self, partition, id, deadline).await
    }
}

#[async_trait]
impl Work for ExportWorker {
    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<(JobResult, Progress), WorkError> {
        let slice_ends = (Instant::now() + self.driver.timings.time_slice).min(deadline);
        let job = guard.job().await;
        let JobSpec::Export(spec) = job.spec() else {
            return Err(PortError::defect("export records", "job is no export").into());
        };
        let checkpoint = match job.checkpoint() {
            Some(checkpoint) => checkpoint.clone().readable(),
            None => {
                let planned = tokio::time::timeout_at(deadline, self.plan(job.partition(), spec)).await;
                let plan = planned.unwrap_or(Err(WorkError::TimeOver(Release::Yielded)))?;
                let checkpoint = ExportCheckpoint::new(plan);
                let progress = Progress { total: checkpoint.plan.counted, ..Progress::default() };
                guard.save(progress, checkpoint.clone()).await?;
                checkpoint
            }
        };
        let mut run = ExportRun { worker: self, guard, job: &job, spec, checkpoint, slice_ends, deadline };
        for (index, file) in (0..).zip(run.checkpoint.plan.files(spec)) {
            if index >= run.checkpoint.next_file {
                run.write_file(index, &file).await?;
            }
        }
        let ExportCheckpoint { files, plan, .. } = run.checkpoint;
        let records = files.iter().map(|file| file.records).sum();
        let file_bytes: u64 = files.iter().map(|file| file.bytes).sum();
        tracing::info!(target: METRICS, job_type = "export", job_id = %job.id(), file_bytes);
        let progress = Progress { total: records, processed: records, ..Progress::default() };
        Ok((JobResult::Export { started_at: plan.started_at, files }, progress))
    }
}

/// One worker's turn at an export.
struct ExportRun<'a> {
    worker: &'a ExportWorker,
    guard: &'a LeaseGuard,
    job: &'a Job,
    spec: &'a ExportSpec,
    checkpoint: ExportCheckpoint,
    slice_ends: Instant,
    deadline: Instant,
}

impl ExportRun<'_> {
    async fn write_file(&mut self, index: u32, file: &FilePlan) -> Result<(), WorkError> {
        let mut out = self.open(index);
        if !out.covered().is_some_and(|open| open.is_whole) {
            self.read(&mut out, &file.lanes).await?;
        }
        let written = if out.writer().has_begun() {
            let key = self.complete(&mut out).await?;
            Some((key, out.figures()))
        } else {
            self.put_whole(index, out, file).await?
        };
        self.checkpoint.open = None;
        self.checkpoint.next_file = index + 1;
        if let Some((key, (records, bytes, sha256))) = written {
            let ending = self.spec.compression.ending();
            let name = match file.resource_type {
                None => format!("{}.ndjson{ending}", self.job.id()),
                Some(resource_type) => format!("{}.ndjson{ending}", resource_type.as_str()),
            };
            let resource_type = file.resource_type;
            self.checkpoint.files.push(ResultFile { name, key, resource_type, records, bytes, sha256 });
        }
        self.guard.advance(self.progress(), Some(self.checkpoint.clone())).await?;
        Ok(())
    }

    /// The file behind its parts that have arrived, or a new one.
    fn open(&mut self, index: u32) -> ExportFile {
        let ExportWorker { multipart, sizes, .. } = self.worker;
        let new = |key| ExportFile::new(multipart.clone(), self.job.partition(), key, *sizes, self.spec.compression);
        let resumed = self.checkpoint.open.take().and_then(|open| new(open.key.clone()).resume(open));
        let file = resumed.unwrap_or_else(|| new(self.key(index)));
        self.checkpoint.open = file.covered().cloned();
        file
    }

    fn key(&self, index: u32) -> ObjectKey {
        let (partition, token) = (self.job.partition(), self.guard.token());
        ObjectKey::export(partition, self.job.id(), token, index, self.spec.compression)
    }

    fn progress(&self) -> Progress {
        Progress { total: self.checkpoint.plan.counted, processed: self.checkpoint.records(), ..Progress::default() }
    }

    /// Records that are still to be appended, as far as they were counted.
    fn records_left(&self, out: &ExportFile) -> u64 {
        let whole: u64 = self.checkpoint.files.iter().map(|file| file.records).sum();
        self.checkpoint.plan.counted.saturating_sub(whole + out.appended())
    }

    /// Reads all lanes to their end and appends what they bring, whichever arrives first.
    async fn read(&mut self, out: &mut ExportFile, lanes: &[Lane]) -> Result<(), WorkError> {
        let ExportWorker { records, driver, .. } = self.worker;
        let partition = self.job.partition();
        let reader = |index: u32, cursor| {
            let lane = lanes.get(index as usize).copied()?;
            Some(LaneReader::new(records.clone(), driver.ids.clone(), partition, (index, lane), cursor))
        };
        let next = |mut reader: LaneReader| async move {
            let chunk = reader.next().await;
            (reader, chunk)
        };
        let mut position = out.covered().map(|open| open.position.clone()).unwrap_or_default();
        let mut reading = FuturesUnordered::new();
        for open in &position.open {
            reading.extend(reader(open.lane, open.cursor.clone()).map(next));
        }
        // Chunks that have arrived: of each lane one at most.
        let mut ready: VecDeque<(LaneReader, Chunk)> = VecDeque::new();
        let mut last_read = Instant::now();
        let stalled_after = driver.timings.stalled;
        let mut draining = false;
        loop {
            let now = Instant::now();
            while let Some(lane) = lanes.get(position.next_lane as usize).filter(|_| !draining)
                && position.open.len() < lane.max_concurrency()
            {
                reading.extend(reader(position.next_lane, None).map(next));
                position.set(position.next_lane, None);
                position.next_lane += 1;
            }
            if position.open.is_empty() {
                return Ok(());
            }
            if !draining && now >= self.deadline {
                draining = true;
            } else if !draining && now >= self.slice_ends && out.is_enough() && out.can_cut() {
                self.guard.check()?;
                out.cut(position.clone())?;
                draining = true;
            }
            if draining {
                reading.clear();
                ready.clear();
                if out.writer().is_idle() {
                    // What is not stored yet is written with the release.
                    self.store(out).await?;
                    return Err(WorkError::TimeOver(Release::Yielded));
                }
                if now >= self.deadline + DRAIN_TIME {
                    return Err(WorkError::TimeOver(Release::Interrupted));
                }
            }
            let can_append = !ready.is_empty() && (out.can_cut() || !out.is_full(self.records_left(out)));
            if can_append && let Some((reader, mut chunk)) = ready.pop_front() {
                if self.append(out, reader.index, &mut chunk, &mut position)? {
                    if !chunk.at_end {
                        reading.push(next(reader));
                    }
                } else {
                    ready.push_front((reader, chunk));
                }
            }
            if out.is_unstored() && now >= self.guard.next_write().await {
                self.store(out).await?;
            }
            let waits_for_lanes = !reading.is_empty() && ready.is_empty();
            let stalled = waits_for_lanes.then_some(last_read + stalled_after);
            let wake = self.wake(out.is_unstored(), draining, stalled).await;
            tokio::select! {
                biased;
                arrived = out.arrived(), if !out.writer().is_idle() => {
                    self.arrived(arrived).await?;
                    self.store(out).await?;
                }
                Some((reader, chunk)) = reading.next(), if !reading.is_empty() => {
                    last_read = Instant::now();
                    ready.push_back((reader, chunk?));
                }
                // What is appended must not keep the lease from being renewed.
                () = tokio::task::yield_now(), if can_append => {}
                () = tokio::time::sleep_until(wake) => {
                    if waits_for_lanes && last_read.elapsed() >= stalled_after {
                        let cause = "no shard advances";
                        return Err(PortError::unavailable("read records", cause).into());
                    }
                }
            }
        }
    }

    /// When the loop has to look again, whatever arrives.
    async fn wake(&self, is_unstored: bool, draining: bool, stalled: Option<Instant>) -> Instant {
        let time_over = if draining { self.deadline + DRAIN_TIME } else { self.deadline };
        let slice_ends = Some(self.slice_ends).filter(|ends| !draining && *ends > Instant::now());
        let next_write = if is_unstored { Some(self.guard.next_write().await) } else { None };
        [stalled, slice_ends, next_write].into_iter().flatten().fold(time_over, Instant::min)
    }

    /// Appends a chunk, and cuts parts as they fill; false when it has to wait before all of it is appended.
    fn append(
        &self,
        out: &mut ExportFile,
        lane: u32,
        chunk: &mut Chunk,
        position: &mut Position,
    ) -> Result<bool, WorkError> {
        let mut rows = std::mem::take(&mut chunk.rows).into_iter();
        // The cursor behind the last row that was appended, where the position does not say so yet.
        let mut behind = None;
        loop {
            let records_left = self.records_left(out);
            if out.is_full(records_left) {
                if let Some(behind) = behind.take() {
                    position.set(lane, Some(behind));
                }
                if !out.can_cut() {
                    chunk.rows = rows.collect();
                    return Ok(false);
                }
                self.guard.check()?;
                out.cut(position.clone())?;
            }
            let Some(row) = rows.next() else { break };
            out.append(&row.line, records_left)?;
            behind = Some(row.behind);
        }
        if chunk.at_end {
            position.close(lane);
        } else {
            position.set(lane, chunk.behind.clone());
        }
        Ok(true)
    }

    /// Writes the checkpoint, at most once a second.
    async fn store(&mut self, out: &mut ExportFile) -> Result<(), WorkError> {
        self.checkpoint.open = out.covered().cloned();
        if self.guard.advance(self.progress(), Some(self.checkpoint.clone())).await? {
            out.stored();
        }
        Ok(())
    }

    /// An upload that has ended under this worker: another one has the lease, or the file is lost.
    async fn arrived(&self, arrived: Result<bool, UploadError>) -> Result<(), WorkError> {
        if matches!(arrived, Err(UploadError::Ended)) {
            self.guard.renew().await?;
        }
        arrived?;
        Ok(())
    }

    /// Makes a file of several parts visible. From the checkpoint on it can be repeated.
    async fn complete(&mut self, out: &mut ExportFile) -> Result<ObjectKey, WorkError> {
        if !out.covered().is_some_and(|open| open.is_whole) {
            while !out.is_empty() && !out.can_cut() {
                let arrived = out.arrived().await;
                if matches!(arrived, Ok(false)) {
                    tokio::time::sleep_until(self.guard.next_write().await).await;
                }
                self.arrived(arrived).await?;
                self.store(out).await?;
            }
            if !out.is_empty() {
                self.guard.check()?;
                out.cut(Position::default())?;
            }
            while !out.writer().is_idle() {
                let arrived = out.arrived().await;
                self.arrived(arrived).await?;
            }
            out.whole();
            self.checkpoint.open = out.covered().cloned();
            self.guard.save(self.progress(), self.checkpoint.clone()).await?;
        }
        self.guard.check()?;
        let size = self.checkpoint.open.as_ref().map_or(0, |open| open.bytes);
        match out.complete(self.worker.objects.as_ref(), size).await {
            Ok(()) => Ok(out.writer().key().clone()),
            Err(CompleteError::Port(error)) => Err(error.into()),
            Err(CompleteError::Lost) => {
                self.guard.renew().await?;
                Err(WorkError::Impossible(FailureReason::FileLost))
            }
        }
    }

    /// Writes a file that never filled a part, under a key of this worker's own. A type without records has no file.
    async fn put_whole(
        &self,
        index: u32,
        mut out: ExportFile,
        file: &FilePlan,
    ) -> Result<Option<(ObjectKey, (u64, u64, String))>, WorkError> {
        if out.is_empty() && self.spec.files == FileLayout::PerType {
            return Ok(None);
        }
        debug_assert_eq!(file.resource_type.is_some(), self.spec.files == FileLayout::PerType);
        let key = self.key(index);
        let content = out.take();
        self.guard.check()?;
        self.worker.objects.put(self.job.partition(), &key, content).await?;
        Ok(Some((key, out.figures())))
    }
}
