//! The reports of an import, written while it reads and beside its writes.

use std::sync::Arc;

use model::{
    ChunkSize, Compression, FailureReason, LineViolation, LossLine, ObjectKey, Report, ResultFile, ShownViolation,
    Token,
};
use ports::{IdSource, MultipartStore, ObjectStore, PortError};
use serde::Serialize;
use tokio::time::Instant;

use super::Step;
use crate::driver::{Deadlines, LeaseGuard, Tasks, WorkError};
use crate::files::{AssembledFile, Assembly, AssemblyError, FileWriter, MAX_ASSEMBLIES, SentChunk};

/// The size of a report's chunks: the least that S3 takes as a part, since four reports are written at once.
const CHUNK_SIZE: ChunkSize = ChunkSize::new(5 << 20);

/// Chunks of one report that are sent at once.
const MAX_CONCURRENCY: usize = 1;

/// A line of the results report.
#[derive(Serialize)]
struct ResultLine<'a> {
    line: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// One report. Nobody sees it before the job names it.
struct ReportFile {
    report: Report,
    file: FileWriter<()>,
    /// A line while it is made.
    line: Vec<u8>,
}

impl ReportFile {
    fn push_line(&mut self, line: &impl Serialize) {
        self.line.clear();
        // Writing to memory cannot fail, and structs of strings and numbers always serialise.
        let _written = serde_json::to_writer(&mut self.line, line);
        self.file.push(&self.line);
        self.file.end_line();
    }

    /// Makes the report whole.
    async fn finish(mut self, end: &ReportsEnd<'_>) -> Result<ResultFile, WorkError> {
        let (report, records) = (self.report, self.file.appended());
        let key = |token: &Token| ObjectKey::report(end.guard.job().partition(), end.guard.job().id(), token, report);
        let (key, AssembledFile { bytes, sha256, .. }) = if self.file.is_chunked() {
            self.send_rest(end.deadlines.ends).await?;
            end.assemble(&self.file, key).await?
        } else {
            let key = key(end.guard.token());
            (key.clone(), self.file.put_whole(&key).await?)
        };
        Ok(ResultFile { name: report.file_name().to_owned(), key, resource_type: None, records, bytes, sha256 })
    }

    /// Sends what is left as the last chunk. No other is in flight.
    async fn send_rest(&mut self, deadline: Instant) -> Result<(), WorkError> {
        if self.file.has_lines() {
            let sending = self.file.cut(()).ok_or(WorkError::Impossible(FailureReason::FileLost))?;
            let sent = tokio::time::timeout_at(deadline, sending).await.map_err(|_elapsed| WorkError::TimeOver)?;
            self.file.sent(sent?);
        }
        Ok(())
    }
}

/// What reports are made whole with.
pub(super) struct ReportsEnd<'a> {
    pub(super) multipart: &'a Arc<dyn MultipartStore>,
    pub(super) ids: &'a Arc<dyn IdSource>,
    pub(super) guard: &'a LeaseGuard,
    pub(super) deadlines: Deadlines,
}

impl ReportsEnd<'_> {
    /// Puts a report together out of its chunks.
    async fn assemble(
        &self,
        file: &FileWriter<()>,
        key: impl Fn(&Token) -> ObjectKey,
    ) -> Result<(ObjectKey, AssembledFile), WorkError> {
        for _ in 0..MAX_ASSEMBLIES {
            let key = key(&Token::new(self.ids.random()));
            self.guard.may_call().await;
            let upload = self.multipart.begin(self.guard.job().partition(), &key).await?;
            let assembly = Assembly {
                file,
                store: self.multipart,
                ids: self.ids,
                key: &key,
                upload: &upload,
                deadlines: self.deadlines,
            };
            match assembly.run(|_copied| {}).await {
                Ok(assembled) => return Ok((key, assembled)),
                Err(AssemblyError::UploadGone) => {}
                Err(AssemblyError::ChunkMissing) => {
                    return Err(PortError::unavailable("complete report", "chunk is gone").into());
                }
                Err(AssemblyError::TimeOver) => return Err(WorkError::TimeOver),
                Err(AssemblyError::Port(error)) => return Err(error.into()),
            }
        }
        Err(WorkError::Impossible(FailureReason::FileLost))
    }
}

/// The reports of one import.
pub(super) struct Reports([ReportFile; 4]);

impl Reports {
    pub(super) fn new(objects: &Arc<dyn ObjectStore>, guard: &LeaseGuard) -> Self {
        let file = |report: Report| {
            let name = report.file_name().to_owned();
            let file = FileWriter::new(objects, guard, name, CHUNK_SIZE, Compression::None, MAX_CONCURRENCY);
            ReportFile { report, file, line: Vec::new() }
        };
        Self(Report::ALL.map(file))
    }

    fn of(&mut self, report: Report) -> &mut ReportFile {
        let [errors, rejected, losses, results] = &mut self.0;
        match report {
            Report::Errors => errors,
            Report::Rejected => rejected,
            Report::Losses => losses,
            Report::Results => results,
        }
    }

    /// A line that is stored: `created` under an id of ours, or `stored` under the client's, where created
    /// and replaced cannot be told apart.
    pub(super) fn stored(&mut self, line: u64, id: &str, is_derived: bool) {
        let outcome = if is_derived { "created" } else { "stored" };
        self.of(Report::Results).push_line(&ResultLine { line, outcome, id: Some(id) });
    }

    /// A line that is skipped, and all that is wrong with it.
    pub(super) fn rejected(&mut self, line: u64, violations: &[LineViolation]) {
        self.of(Report::Results).push_line(&ResultLine { line, outcome: "rejected", id: None });
        for violation in violations {
            self.of(Report::Errors).push_line(&ShownViolation::new(violation));
        }
    }

    /// What the stored records have lost, once all lines were read.
    pub(super) fn lost(&mut self, lines: &[LossLine]) {
        for line in lines {
            self.of(Report::Losses).push_line(line);
        }
    }

    /// Bytes of a skipped line; the last ones end it.
    pub(super) fn rejected_bytes(&mut self, bytes: &[u8], last: bool) {
        let ReportFile { file, .. } = self.of(Report::Rejected);
        file.push(bytes);
        if last {
            file.end_line();
        }
    }

    /// Begins to send what fills a chunk. False while a full one has to wait: no further lines should be read.
    pub(super) fn send_full(&mut self, steps: &mut Tasks<Step>) -> bool {
        self.0.iter_mut().all(|ReportFile { report, file, .. }| {
            let report = *report;
            if file.is_full()
                && file.has_room()
                && let Some(sending) = file.cut(())
            {
                steps.begin(async move { Step::Sent(report, sending.await) });
            }
            !file.is_full()
        })
    }

    /// A chunk of a report has arrived.
    pub(super) fn sent(&mut self, report: Report, sent: SentChunk) {
        self.of(report).file.sent(sent);
    }

    /// Whether any of them has chunks.
    pub(super) fn are_chunked(&self) -> bool {
        self.0.iter().any(|file| file.file.is_chunked())
    }

    /// Makes the reports whole; those of rejected lines and of losses only when there are any.
    pub(super) async fn finish(self, end: &ReportsEnd<'_>) -> Result<Vec<ResultFile>, WorkError> {
        let mut files = Vec::new();
        for file in self.0 {
            if file.file.appended() > 0 || matches!(file.report, Report::Results) {
                files.push(file.finish(end).await?);
            }
        }
        Ok(files)
    }
}
