//! The three reports of an import, written while it reads.

use records::Fault;
use serde::Serialize;

use crate::file_writer::FileWriter;
use crate::ids::Partition;
use crate::job::LineFault;
use crate::object_key::{ObjectKey, Report};
use crate::ports::{ObjectStore, PortError};

/// The size of a report's parts: the least that S3 takes, since three reports are in the making at a time.
const PART_SIZE: usize = 5 << 20;

/// Lines of the reports that are not handed to the store yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    errors: Vec<u8>,
    rejected: Vec<u8>,
    results: Vec<u8>,
}

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
    fault: &'a Fault,
}

fn push_line(buffer: &mut Vec<u8>, line: &impl Serialize) {
    // Writing to a Vec cannot fail, and structs of strings and numbers always serialise.
    let _ = serde_json::to_writer(&mut *buffer, line);
    buffer.push(b'\n');
}

impl Pending {
    /// A line that is stored: `created` under an id of ours, or `stored` under the client's, where created
    /// and replaced cannot be told apart.
    pub(super) fn stored(&mut self, line: u64, id: &str, is_derived: bool) {
        let outcome = if is_derived { "created" } else { "stored" };
        push_line(&mut self.results, &ResultLine { line, outcome, id: Some(id) });
    }

    /// A line that is skipped, and all that is wrong with it.
    pub(super) fn rejected(&mut self, line: u64, faults: &[LineFault]) {
        push_line(&mut self.results, &ResultLine { line, outcome: "rejected", id: None });
        for LineFault { line, fault } in faults {
            push_line(&mut self.errors, &ErrorLine { index: line - 1, line: *line, fault });
        }
    }

    /// Bytes of a skipped line; the last ones end it.
    pub(super) fn rejected_bytes(&mut self, bytes: &[u8], last: bool) {
        self.rejected.extend_from_slice(bytes);
        if last {
            self.rejected.push(b'\n');
        }
    }
}

/// The reports' files. Nobody sees them before the job names them.
pub(super) struct Reports<'a> {
    errors: FileWriter<'a>,
    rejected: FileWriter<'a>,
    results: FileWriter<'a>,
}

/// The keys of the reports.
pub(super) struct ReportKeys {
    pub(super) errors: ObjectKey,
    pub(super) rejected: ObjectKey,
    pub(super) results: ObjectKey,
}

impl ReportKeys {
    pub(super) fn new(key: impl Fn(Report) -> ObjectKey) -> Self {
        Self { errors: key(Report::Errors), rejected: key(Report::Rejected), results: key(Report::Results) }
    }
}

impl<'a> Reports<'a> {
    pub(super) fn new(objects: &'a dyn ObjectStore, partition: &'a Partition, keys: &'a ReportKeys) -> Self {
        let writer = |key| FileWriter::new(objects, partition, key, PART_SIZE);
        Self { errors: writer(&keys.errors), rejected: writer(&keys.rejected), results: writer(&keys.results) }
    }

    /// Takes pending lines over, and uploads what fills a part.
    pub(super) async fn write(&mut self, pending: &mut Pending) -> Result<(), PortError> {
        let files = [
            (&mut self.errors, &mut pending.errors),
            (&mut self.rejected, &mut pending.rejected),
            (&mut self.results, &mut pending.results),
        ];
        for (file, lines) in files {
            file.push(lines);
            lines.clear();
            file.upload_full_parts().await?;
            while file.is_uploading() {
                file.next_part_done().await?;
            }
        }
        Ok(())
    }

    /// Makes the reports whole; those of rejected lines only when there are any.
    pub(super) async fn finish(self, any_rejected: bool) -> Result<(), PortError> {
        if any_rejected {
            self.errors.finish().await?;
            self.rejected.finish().await?;
        }
        self.results.finish().await
    }

    /// Gives the reports up.
    pub(super) async fn abort(self) {
        self.errors.abort().await;
        self.rejected.abort().await;
        self.results.abort().await;
    }
}
