//! An import: read NDJSON, validate every line, write the valid records, account for the others.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt};
use ndjson::LineCounter;
use records::ResourceType;
use tokio::time::Instant;

use crate::files::ObjectKey;
use crate::identity::{JobId, Partition};
use crate::jobs::{
    Delivery, FailureReason, ImportSource, JobDriver, JobResult, JobSpec, JobWorker, LeaseGuard, Progress, Release,
    Work, WorkError,
};
use crate::metrics::METRICS;
use crate::ports::{MultipartStore, ObjectStore, PortError, RecordWriter};

mod batch_reader;
mod group_writer;
mod line_validator;
mod rate_limiter;
mod reports;
mod source;
mod watermark;

use batch_reader::{BatchReader, Group, Outcome};
use group_writer::GroupWriter;
pub use line_validator::Validation;
use rate_limiter::RateLimiter;
use reports::Reports;
use watermark::Watermark;

/// Groups that are written at once; fewer, once the store sets the pace.
const MAX_CONCURRENCY: usize = 6;

/// No further group begins while so many bytes of records are being written.
const MAX_BYTES_IN_FLIGHT: usize = 4 << 20;

/// The most records of one import (openapi.yaml).
pub const MAX_RECORDS: u64 = 10_000;

/// Works on imports.
#[derive(Clone)]
pub struct ImportWorker {
    pub driver: JobDriver,
    pub records: Arc<dyn RecordWriter>,
    pub objects: Arc<dyn ObjectStore>,
    pub multipart: Arc<dyn MultipartStore>,
}

#[async_trait]
impl JobWorker for ImportWorker {
    async fn deliver(&self, partition: &Partition, id: &JobId, deadline: Instant) -> Result<Delivery, PortError> {
        self.driver.drive(self, partition, id, deadline).await
    }
}

#[async_trait]
impl Work for ImportWorker {
    /// A pure function of the object and the job but for the stamps: done twice it stores the same records. A takeover
    /// reads from the start again, which rebuilds the reports, and writes on from where the last progress ended.
    async fn work(&self, guard: &LeaseGuard, deadline: Instant) -> Result<(JobResult, Progress), WorkError> {
        let job = guard.job().await;
        let JobSpec::Import { resource_type, source } = job.spec() else {
            return Err(PortError::defect("import records", "job is no import").into());
        };
        let partition = job.partition();
        if let (false, ImportSource::Upload { month_limit, .. }) = (job.is_counted(), source) {
            let records = self.count_lines(partition, source, deadline).await?;
            guard.count(records, *month_limit).await?;
        }
        let schema = resource_type.schema().map_err(|error| PortError::defect("prepare schema", error))?;
        let key = |report| ObjectKey::report(partition, job.id(), guard.token(), report);
        let reports = Reports::new(&self.multipart, partition, key);
        let mut reader = BatchReader::new(&schema, partition, job.id(), reports);
        let imported = self.import(guard, (*resource_type, source), deadline, &mut reader).await;
        let Outcome { violations, violation_count, progress, mut reports } = reader.into_outcome();
        // What was promised is compared: the lines that were counted are the lines that were read.
        let lines = guard.job().await.progress().total;
        let imported = imported.and_then(|()| match progress.processed {
            read if read == lines => Ok(()),
            _ => Err(PortError::defect("import records", "lines read differ from lines counted").into()),
        });
        let finished = match imported {
            Ok(()) => match guard.check() {
                Ok(()) => reports.finish(self.objects.as_ref(), partition).await,
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        match finished {
            Ok(files) => Ok((JobResult::Import { violations, violation_count, files }, progress)),
            Err(error) => {
                reports.abort().await;
                Err(error)
            }
        }
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
        let mut content = self.open(partition, source).await?;
        let mut lines = LineCounter::default();
        while let Some(piece) = content.next().await.transpose()? {
            lines.push(&piece);
            if Instant::now() >= deadline {
                return Err(WorkError::TimeOver(Release::Yielded));
            }
        }
        if lines.count() > MAX_RECORDS {
            return Err(WorkError::Impossible(FailureReason::TooManyRecords));
        }
        Ok(lines.count())
    }

    /// Reading, validating, writing and reporting, side by side.
    async fn import(
        &self,
        guard: &LeaseGuard,
        (resource_type, source): (ResourceType, &ImportSource),
        deadline: Instant,
        reader: &mut BatchReader<'_>,
    ) -> Result<(), WorkError> {
        let job = guard.job().await;
        let (partition, before) = (job.partition(), job.progress());
        let mut content = self.open(partition, source).await?;
        let limiter = Mutex::new(RateLimiter::new(Instant::now()));
        let writer = GroupWriter { worker: self, guard, partition, resource_type, limiter };
        let mut watermark = Watermark::default();
        let mut writes = FuturesUnordered::new();
        let mut bytes_in_flight = 0;
        let (mut at_end, mut imported_bytes) = (false, 0);
        loop {
            let mut may_read = reader.reports().upload(guard)?;
            while may_read && writes.len() < MAX_CONCURRENCY && bytes_in_flight < MAX_BYTES_IN_FLIGHT {
                let Some(Group { lines, bytes, upto }) = reader.next_group() else { break };
                let number = watermark.begin(upto);
                if lines.is_empty() || upto.processed <= before.processed {
                    watermark.end(number);
                } else {
                    bytes_in_flight += bytes;
                    let writer = &writer;
                    writes.push(async move { writer.write(lines).await.map(|()| (number, bytes)) });
                }
                may_read = reader.reports().upload(guard)?;
            }
            if at_end && may_read && writes.is_empty() {
                tracing::info!(target: METRICS, job_type = "import", job_id = %job.id(), imported_bytes);
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(WorkError::TimeOver(Release::Yielded));
            }
            let has_room = may_read && writes.len() < MAX_CONCURRENCY && bytes_in_flight < MAX_BYTES_IN_FLIGHT;
            let is_uploading = reader.reports().is_uploading();
            tokio::select! {
                biased;
                Some(written) = writes.next(), if !writes.is_empty() => {
                    let (number, bytes) = written?;
                    watermark.end(number);
                    bytes_in_flight -= bytes;
                }
                arrived = reader.reports().arrived(), if is_uploading => arrived?,
                piece = content.next(), if !at_end && has_room => match piece.transpose()? {
                    Some(piece) => {
                        imported_bytes += piece.len();
                        reader.push(&piece);
                    }
                    None => {
                        reader.finish();
                        at_end = true;
                    }
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
            if let Some(done) = watermark.reached() {
                guard.advance(Progress { total: before.total, ..done }, None).await?;
            }
        }
    }
}
