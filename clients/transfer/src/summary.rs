//! What became of a run: the merged reports, and the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};
use sources::SourceViolation;

use crate::batch::Place;
use crate::export::Owner;
use crate::plan::{FhirPlan, ImportRequest, MaxRejected, Plan, Warning, source_name};
use crate::run::{ResultLine, batch_label};
use crate::state::{BatchState, HeldRecord, Journal, LineMap, StateFolder};
use files::PartialFile;

/// Where a run stands. It holds no value of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub run: String,
    pub folder: PathBuf,
    #[serde(flatten)]
    pub owner: Owner,
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub map: Option<PathBuf>,
    pub finished: bool,
    /// Why it has not finished, or what failed.
    pub reason: Option<String>,
    pub read: u64,
    pub stored: u64,
    pub rejected: u64,
    /// Left out, since the chain of exports says that they were deleted, or are older than others.
    #[serde(default)]
    pub left_out: u64,
    /// Neither stored, rejected nor left out: not sent yet, or of a job that failed.
    pub open: u64,
    pub max_rejected: MaxRejected,
    pub files: Vec<FileSummary>,
    pub jobs: Vec<JobSummary>,
    pub violations: Vec<ViolationCount>,
    /// What is no error, and can hardly be meant.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What became of FHIR's resources, if there were any.
    #[serde(default)]
    pub fhir: Option<FhirPlan>,
    pub planned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of the rejected records, file by file, so that `retry` sees whether anything was fixed.
    pub rejected_files: BTreeMap<String, String>,
}

/// What was read, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub read: u64,
    pub stored: u64,
    pub rejected: u64,
    pub left_out: u64,
    pub open: u64,
}

impl Figures {
    #[must_use]
    pub fn of_plan(plan: &Plan, stored: u64, rejected: u64) -> Self {
        let (read, left_out) = (plan.read(), plan.left_out());
        Self { read, stored, rejected, left_out, open: read.saturating_sub(stored + rejected + left_out) }
    }
}

/// As a sum, for people.
impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, stored, rejected, left_out, open } = self;
        write!(formatter, "{read} read = {stored} stored + {rejected} rejected")?;
        if *left_out > 0 {
            write!(formatter, " + {left_out} left out")?;
        }
        if *open > 0 { write!(formatter, " + {open} open") } else { Ok(()) }
    }
}

impl Summary {
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Self { read, stored, rejected, left_out, open, .. } = *self;
        Figures { read, stored, rejected, left_out, open }
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
    #[serde(default)]
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

/// A line of errors.ndjson.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorLine<'a> {
    file: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<ResourceType>,
    #[serde(flatten)]
    violation: &'a SourceViolation,
}

/// A line of ids.ndjson.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IdLine<'a> {
    file: &'a str,
    line: u64,
    resource_type: ResourceType,
    id: &'a str,
    outcome: &'a str,
}

/// A line of the service's errors.
#[derive(Deserialize)]
struct ReportedError {
    line: u64,
    #[serde(flatten)]
    violation: SourceViolation,
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
    let stored: u64 = jobs.iter().map(|job| job.stored).sum();
    let rejected = plan.rejected() + jobs.iter().map(|job| job.rejected).sum::<u64>();
    let (started_at, ended_at) = journal.times();
    let summary = Summary {
        run: plan.run.clone(),
        folder: folder.path().to_owned(),
        owner: request.owner.clone(),
        label: request.label.clone(),
        map: request.reading.map.clone(),
        finished: journal.states().iter().all(BatchState::is_done),
        reason,
        read: plan.read(),
        stored,
        rejected,
        left_out: plan.left_out(),
        open: plan.read().saturating_sub(stored + rejected + plan.left_out()),
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

struct Merge<'a> {
    folder: &'a StateFolder,
    plan: &'a Plan,
    names: Vec<String>,
    errors: PartialFile,
    ids: PartialFile,
    rejected: BTreeMap<ResourceType, (PathBuf, PartialFile)>,
    files: Vec<FileSummary>,
    violations: BTreeMap<(Option<ResourceType>, String, String, Option<String>), u64>,
}

struct Merged {
    files: Vec<FileSummary>,
    violations: Vec<ViolationCount>,
    rejected_files: BTreeMap<String, String>,
}

impl<'a> Merge<'a> {
    fn new(folder: &'a StateFolder, plan: &'a Plan) -> Result<Self> {
        let files = plan.sources.iter().map(|source| FileSummary {
            file: source_name(&source.path),
            bytes: source.bytes,
            sha256: source.sha256.clone(),
            read: source.records,
            stored: 0,
            rejected: source.rejected,
            left_out: source.left_out,
            blank_rows: source.blank_rows,
        });
        Ok(Self {
            folder,
            plan,
            names: plan.sources.iter().map(|source| source_name(&source.path)).collect(),
            errors: PartialFile::create(&folder.errors())?,
            ids: PartialFile::create(&folder.ids())?,
            rejected: BTreeMap::new(),
            files: files.collect(),
            violations: BTreeMap::new(),
        })
    }

    fn run(mut self, journal: &Journal) -> Result<Merged> {
        for resource_type in ResourceType::ALL {
            self.held(*resource_type)?;
        }
        self.violations_of(None, &self.folder.refusals())?;
        for (batch, state) in self.plan.batches.iter().zip(journal.states()) {
            match state {
                BatchState::Collected { .. } => self.collected(batch.number, batch.resource_type)?,
                BatchState::Unreported { rejected: 0, .. } => self.all_stored(batch.number, batch.records)?,
                _ => {}
            }
        }
        self.errors.publish()?;
        self.ids.publish()?;
        let is_alone = self.rejected.len() <= 1;
        let mut rejected_files = BTreeMap::new();
        for (path, file) in self.rejected.values_mut() {
            let target = if is_alone { &self.folder.rejected() } else { &*path };
            let name = target.strip_prefix(self.folder.path()).unwrap_or(target).display().to_string();
            rejected_files.insert(name, file.sha256()?);
        }
        // Written down before: whoever goes on in between knows that nobody else has written them.
        files::write_json(&self.folder.rejected_sums(), &rejected_files)?;
        // What an earlier summary has left under the other names must not be taken for these.
        let mut stale: BTreeSet<_> = ResourceType::ALL.iter().map(|known| self.folder.rejected_of(*known)).collect();
        stale.insert(self.folder.rejected());
        for (path, file) in self.rejected.into_values() {
            file.publish()?;
            let target = self.folder.rejected();
            let path = if is_alone {
                std::fs::rename(&path, &target).context("write rejected records")?;
                target
            } else {
                path
            };
            stale.remove(&path);
        }
        stale.iter().try_for_each(|path| files::remove(path))?;
        let violations = self.violations.into_iter().map(|((resource_type, code, path, column), count)| {
            ViolationCount { resource_type, code, path, column, count }
        });
        let mut violations: Vec<_> = violations.collect();
        violations.sort_by_key(|violation| std::cmp::Reverse(violation.count));
        Ok(Merged { files: self.files, violations, rejected_files })
    }

    /// What was never sent.
    fn held(&mut self, resource_type: ResourceType) -> Result<()> {
        let records = self.folder.held(resource_type, "records");
        if !records.exists() {
            return Ok(());
        }
        self.rejected_lines(resource_type, &records)?;
        self.violations_of(Some(resource_type), &self.folder.held(resource_type, "violations"))
    }

    fn violations_of(&mut self, resource_type: Option<ResourceType>, path: &Path) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        each_line(path, |held: HeldRecord| {
            let (place, of) = (Place { source: held.source, line: held.line }, resource_type.or(held.resource_type));
            held.violations.iter().try_for_each(|violation| self.error(place, of, violation))
        })
    }

    /// What the service reported on a batch.
    fn collected(&mut self, number: usize, resource_type: ResourceType) -> Result<()> {
        let lines = LineMap::load(&self.folder.lines(number))?;
        let place = |line| lines.place(line).context("the service reports on a line that was not sent");
        each_line(&self.folder.reported(number, "results"), |result: ResultLine| {
            let Place { source, line } = place(result.line)?;
            let Some(file) = self.files.get_mut(source) else { return Ok(()) };
            if result.outcome == "rejected" {
                file.rejected += 1;
                return Ok(());
            }
            file.stored += 1;
            let id = result.id.as_deref().unwrap_or_default();
            write_line(&mut self.ids, &IdLine { file: &file.file, line, resource_type, id, outcome: &result.outcome })
        })?;
        let errors = self.folder.reported(number, "errors");
        if errors.exists() {
            each_line(&errors, |error: ReportedError| {
                self.error(place(error.line)?, Some(resource_type), &error.violation)
            })?;
        }
        let rejected = self.folder.reported(number, "rejected");
        if rejected.exists() { self.rejected_lines(resource_type, &rejected) } else { Ok(()) }
    }

    /// The reports are gone, and all of the batch is stored: by which ids is not known any more.
    fn all_stored(&mut self, number: usize, records: u64) -> Result<()> {
        let lines = LineMap::load(&self.folder.lines(number))?;
        for place in (1..=records).filter_map(|line| lines.place(line)) {
            if let Some(file) = self.files.get_mut(place.source) {
                file.stored += 1;
            }
        }
        Ok(())
    }

    fn error(&mut self, place: Place, resource_type: Option<ResourceType>, violation: &SourceViolation) -> Result<()> {
        // Items of an array count as one place: `contact/0/phone` and `contact/1/phone` are the same mistake.
        let steps = violation
            .path
            .split('/')
            .map(|step| if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) { "*" } else { step });
        let path = steps.collect::<Vec<_>>().join("/");
        let kind = (resource_type, violation.code.clone(), path, violation.column.clone());
        *self.violations.entry(kind).or_default() += 1;
        let file = self.names.get(place.source).map(String::as_str).unwrap_or_default();
        write_line(&mut self.errors, &ErrorLine { file, line: place.line, resource_type, violation })
    }

    fn rejected_lines(&mut self, resource_type: ResourceType, from: &Path) -> Result<()> {
        let (_, file) = match self.rejected.entry(resource_type) {
            std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                files::create_private_folder(&self.folder.rejected_folder())?;
                let path = self.folder.rejected_of(resource_type);
                let file = PartialFile::create(&path)?;
                new.insert((path, file))
            }
        };
        let mut from = File::open(from).context("open rejected records")?;
        std::io::copy(&mut from, file).context("write rejected records").map(|_| ())
    }
}

fn write_line(file: &mut PartialFile, line: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text).context("write report")
}

/// Reads the lines of a report.
fn each_line<T: serde::de::DeserializeOwned>(path: &Path, mut each: impl FnMut(T) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    for line in BufReader::new(file).lines() {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        // The parser's own message may quote the line.
        let parsed = serde_json::from_str(&line).map_err(|_| anyhow::anyhow!("{} is not readable", path.display()))?;
        each(parsed)?;
    }
    Ok(())
}
