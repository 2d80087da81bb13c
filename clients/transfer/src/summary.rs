//! What became of a run: the merged reports, and the figures.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};

use crate::export::Owner;
use crate::plan::{FhirPlan, ImportRequest, MaxRejected, Plan, Warning};
use crate::run::batch_label;
use crate::state::{BatchState, Journal, StateFolder};

mod merge;

use merge::Merge;

/// Where a run stands. It holds no value of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub run: String,
    pub folder: PathBuf,
    #[serde(flatten)]
    pub owner: Owner,
    pub label: Option<String>,
    pub map: Option<PathBuf>,
    pub finished: bool,
    /// Why it has not finished, or what failed.
    pub reason: Option<String>,
    #[serde(flatten)]
    pub figures: Figures,
    pub max_rejected: MaxRejected,
    pub files: Vec<FileSummary>,
    pub jobs: Vec<JobSummary>,
    pub violations: Vec<ViolationCount>,
    /// What is no error, and can hardly be meant.
    pub warnings: Vec<Warning>,
    /// What became of FHIR's resources, if there were any.
    pub fhir: Option<FhirPlan>,
    pub planned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of the rejected records, file by file, so that `retry` sees whether anything was fixed.
    pub rejected_files: BTreeMap<String, String>,
}

impl Summary {
    /// The summary of a run, if one was written already.
    pub fn load(folder: &StateFolder) -> Result<Option<Self>> {
        let path = folder.summary();
        path.exists().then(|| files::read_json(&path)).transpose()
    }
}

/// What was read, and what became of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub read: u64,
    pub stored: u64,
    pub rejected: u64,
    /// Left out, since the chain of exports says that they were deleted, or are older than others.
    pub left_out: u64,
    /// Neither stored, rejected nor left out: not sent yet, or of a job that failed.
    pub open: u64,
}

impl Figures {
    #[must_use]
    pub fn of(plan: &Plan, journal: &Journal) -> Self {
        let done = journal.states().iter().filter(|state| state.is_done()).filter_map(BatchState::counts);
        let (stored, rejected) = done.fold((0, plan.rejected()), |sum, batch| (sum.0 + batch.0, sum.1 + batch.1));
        let (read, left_out) = (plan.read(), plan.left_out());
        Self { read, stored, rejected, left_out, open: read.saturating_sub(stored + rejected + left_out) }
    }

    /// As a sum that adds up, for people, each number as `number` writes it.
    #[must_use]
    pub fn sum(&self, number: impl Fn(u64) -> String) -> String {
        let Self { read, stored, rejected, left_out, open } = *self;
        let others = [(left_out, "left out"), (open, "open")].into_iter().filter(|(count, _)| *count > 0);
        let parts = [(stored, "stored"), (rejected, "rejected")].into_iter().chain(others);
        let parts: Vec<_> = parts.map(|(count, name)| format!("{} {name}", number(count))).collect();
        format!("{} read = {}", number(read), parts.join(" + "))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sum(|number| number.to_string()))
    }
}

/// A source's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSummary {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    pub read: u64,
    pub stored: u64,
    pub rejected: u64,
    pub left_out: u64,
    pub blank_rows: u64,
}

/// A batch and its job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    pub batch: usize,
    pub resource_type: ResourceType,
    pub job_id: Option<String>,
    pub label: String,
    pub state: String,
    pub records: u64,
    pub stored: u64,
    pub rejected: u64,
    pub reason: Option<String>,
}

/// How often a rule was broken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViolationCount {
    /// Of a text that is no resource nobody knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<ResourceType>,
    pub code: String,
    pub path: String,
    /// As the file calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    pub count: u64,
}

/// Puts all reports together and writes `errors.ndjson`, `rejected.ndjson`, `ids.ndjson`, `summary.json` and
/// `report.html`, which `page` makes of the summary. It only reads what the run has written, so it may be done at any time.
pub fn summarise(
    folder: &StateFolder,
    request: &ImportRequest,
    plan: &Plan,
    journal: &Journal,
    reason: Option<String>,
    page: impl Fn(&Summary) -> String,
) -> Result<Summary> {
    let merge = Merge::new(folder, plan)?;
    let merged = merge.run(journal)?;
    let jobs: Vec<_> = plan
        .batches
        .iter()
        .zip(journal.states())
        .map(|(batch, state)| {
            let (stored, rejected) = state.counts().filter(|_| state.is_done()).unwrap_or_default();
            JobSummary {
                batch: batch.number,
                resource_type: batch.resource_type,
                job_id: state.job_id().map(str::to_owned),
                label: batch_label(request, batch.number),
                state: state.name().to_owned(),
                records: batch.records,
                stored,
                rejected,
                reason: state.trouble(),
            }
        })
        .collect();
    let (started_at, ended_at) = journal.times();
    let summary = Summary {
        run: plan.run.clone(),
        folder: folder.path().to_owned(),
        owner: request.owner.clone(),
        label: request.label.clone(),
        map: request.reading.map.clone(),
        finished: journal.states().iter().all(BatchState::is_done),
        reason,
        figures: Figures::of(plan, journal),
        max_rejected: request.max_rejected,
        files: merged.files,
        jobs,
        violations: merged.violations,
        warnings: plan.warnings.clone(),
        fhir: plan.fhir.clone(),
        planned_at: plan.created_at,
        started_at,
        ended_at,
        rejected_files: merged.rejected_files,
    };
    files::replace(&folder.report(), page(&summary).as_bytes())?;
    // Last: where it says that all is done, the other files are there.
    files::write_json(&folder.summary(), &summary)?;
    files::remove(&folder.rejected_sums())?;
    Ok(summary)
}
