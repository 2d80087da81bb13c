//! The three reports of an import, written while it reads and beside its writes.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::select_all;
use records::Violation;
use serde::Serialize;

use crate::files::{CompleteError, FileDigest, MultipartWriter, ObjectKey, Report};
use crate::identity::Partition;
use crate::jobs::{FailureReason, LeaseGuard, LineViolation, ResultFile, WorkError};
use crate::ports::{MultipartStore, ObjectStore};

/// The size of a report's parts: the least that S3 takes, since three reports are written at once.
const PART_SIZE: usize = 5 << 20;

/// Parts of one report that are uploaded at once.
const MAX_CONCURRENCY: usize = 1;

/// A line of the results report.
#[derive(Serialize)]
struct ResultLine<'a> {
    line: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// A line of the errors report, of the form that the status shows.
#[derive(Serialize)]
struct ErrorLine<'a> {
    index: u64,
    line: u64,
    #[serde(flatten)]
    violation: &'a Violation,
}

/// One report. Nobody sees it before the job names it.
struct ReportFile {
    report: Report,
    writer: MultipartWriter<()>,
    buffer: Vec<u8>,
    digest: FileDigest,
    lines: u64,
    /// In all parts that were cut.
    bytes: u64,
}

impl ReportFile {
    fn push_line(&mut self, line: &impl Serialize) {
        // Writing to a Vec cannot fail, and structs of strings and numbers always serialise.
        let _ = serde_json::to_writer(&mut self.buffer, line);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.buffer.push(b'\n');
        self.lines += 1;
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= PART_SIZE
    }

    /// Begins to upload what fills a part, if there is room.
    fn cut_full(&mut self) {
        if self.is_full() && self.writer.has_room() {
            let content = self.take();
            self.writer.cut(content, ());
        }
    }

    fn take(&mut self) -> Bytes {
        let content = Bytes::from(std::mem::take(&mut self.buffer));
        self.digest.update(&content);
        self.bytes += content.len() as u64;
        content
    }

    async fn arrived(&mut self) -> Result<(), WorkError> {
        if let Some(arrived) = self.writer.arrived().await {
            arrived?;
        }
        Ok(())
    }

    /// Makes the report whole.
    async fn finish(&mut self, objects: &dyn ObjectStore, partition: &Partition) -> Result<ResultFile, WorkError> {
        let rest = self.take();
        if self.writer.has_begun() {
            while !self.writer.is_idle() {
                self.arrived().await?;
            }
            if !rest.is_empty() {
                self.writer.cut(rest, ());
                self.arrived().await?;
            }
            self.writer.complete(objects, self.bytes).await.map_err(|error| match error {
                CompleteError::Lost => WorkError::Impossible(FailureReason::FileLost),
                CompleteError::Port(error) => error.into(),
            })?;
        } else {
            objects.put(partition, self.writer.key(), rest).await?;
        }
        Ok(ResultFile {
            name: self.report.file_name().to_owned(),
            key: self.writer.key().clone(),
            resource_type: None,
            records: self.lines,
            bytes: self.bytes,
            sha256: std::mem::take(&mut self.digest).finish(),
        })
    }
}

/// The reports of one import.
pub(super) struct Reports {
    errors: ReportFile,
    rejected: ReportFile,
    results: ReportFile,
}

impl Reports {
    pub(super) fn new(
        store: &Arc<dyn MultipartStore>,
        partition: &Partition,
        key: impl Fn(Report) -> ObjectKey,
    ) -> Self {
        let file = |report| ReportFile {
            report,
            writer: MultipartWriter::new(store.clone(), partition, key(report), MAX_CONCURRENCY),
            buffer: Vec::new(),
            digest: FileDigest::default(),
            lines: 0,
            bytes: 0,
        };
        Self { errors: file(Report::Errors), rejected: file(Report::Rejected), results: file(Report::Results) }
    }

    fn files(&mut self) -> [&mut ReportFile; 3] {
        [&mut self.errors, &mut self.rejected, &mut self.results]
    }

    /// A line that is stored: `created` under an id of ours, or `stored` under the client's, where created
    /// and replaced cannot be told apart.
    pub(super) fn stored(&mut self, line: u64, id: &str, is_derived: bool) {
        let outcome = if is_derived { "created" } else { "stored" };
        self.results.push_line(&ResultLine { line, outcome, id: Some(id) });
    }

    /// A line that is skipped, and all that is wrong with it.
    pub(super) fn rejected(&mut self, line: u64, violations: &[LineViolation]) {
        self.results.push_line(&ResultLine { line, outcome: "rejected", id: None });
        for LineViolation { line, violation } in violations {
            self.errors.push_line(&ErrorLine { index: line - 1, line: *line, violation });
        }
    }

    /// Bytes of a skipped line; the last ones end it.
    pub(super) fn rejected_bytes(&mut self, bytes: &[u8], last: bool) {
        self.rejected.buffer.extend_from_slice(bytes);
        if last {
            self.rejected.end_line();
        }
    }

    /// Begins to upload what fills a part. False while a full part has to wait: no further lines should be read.
    pub(super) fn upload(&mut self, guard: &LeaseGuard) -> Result<bool, WorkError> {
        if self.files().iter().any(|file| file.is_full() && file.writer.has_room()) {
            guard.check()?;
        }
        Ok(self.files().into_iter().all(|file| {
            file.cut_full();
            !file.is_full()
        }))
    }

    pub(super) fn is_uploading(&mut self) -> bool {
        self.files().iter().any(|file| !file.writer.is_idle())
    }

    /// Waits until a part of any report has arrived.
    pub(super) async fn arrived(&mut self) -> Result<(), WorkError> {
        let uploading = self.files().into_iter().filter(|file| !file.writer.is_idle());
        let uploading: Vec<_> = uploading.map(|file| Box::pin(file.arrived())).collect();
        if uploading.is_empty() {
            return Ok(());
        }
        select_all(uploading).await.0
    }

    /// Makes the reports whole; those of rejected lines only when there are any.
    pub(super) async fn finish(
        &mut self,
        objects: &dyn ObjectStore,
        partition: &Partition,
    ) -> Result<Vec<ResultFile>, WorkError> {
        let mut files = Vec::new();
        for file in self.files() {
            if file.lines > 0 || matches!(file.report, Report::Results) {
                files.push(file.finish(objects, partition).await?);
            }
        }
        Ok(files)
    }

    /// Aborts the uploads that were begun.
    pub(super) async fn abort(self) {
        self.errors.writer.abort().await;
        self.rejected.writer.abort().await;
        self.results.writer.abort().await;
    }
}
