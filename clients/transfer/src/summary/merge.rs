//! The reports of a run, put together: what was held back and what the service reported, by file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use files::PartialFile;
use records::ResourceType;
use serde::{Deserialize, Serialize};
use sources::SourceViolation;

use super::{FileSummary, ViolationCount};
use crate::place::Place;
use crate::plan::{Plan, source_name};
use crate::run::ResultLine;
use crate::state::{BatchState, HeldRecord, Journal, LineMap, StateFolder};

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

pub(super) struct Merge<'a> {
    folder: &'a StateFolder,
    plan: &'a Plan,
    names: Vec<String>,
    errors: PartialFile,
    ids: PartialFile,
    /// Where the rejected records of each type stand.
    rejected: BTreeMap<ResourceType, Vec<PathBuf>>,
    files: Vec<FileSummary>,
    violations: BTreeMap<(Option<ResourceType>, String, String, Option<String>), u64>,
}

pub(super) struct Merged {
    pub(super) files: Vec<FileSummary>,
    pub(super) violations: Vec<ViolationCount>,
    pub(super) rejected_files: BTreeMap<String, String>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(folder: &'a StateFolder, plan: &'a Plan) -> Result<Self> {
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

    pub(super) fn run(mut self, journal: &Journal) -> Result<Merged> {
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
        let rejected_files = write_rejected(self.folder, &self.rejected)?;
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
        self.rejected.entry(resource_type).or_default().push(records);
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
        if rejected.exists() {
            self.rejected.entry(resource_type).or_default().push(rejected);
        }
        Ok(())
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
}

/// Writes the rejected records, those of several types into a file for each, and returns the files' names and hashes.
fn write_rejected(
    folder: &StateFolder,
    rejected: &BTreeMap<ResourceType, Vec<PathBuf>>,
) -> Result<BTreeMap<String, String>> {
    if rejected.len() > 1 {
        files::create_private_folder(&folder.rejected_folder())?;
    }
    let (mut written, mut sums) = (Vec::new(), BTreeMap::new());
    for (resource_type, parts) in rejected {
        let path = if rejected.len() > 1 { folder.rejected_of(*resource_type) } else { folder.rejected() };
        let mut file = PartialFile::create(&path)?;
        for part in parts {
            let mut part = File::open(part).context("open rejected records")?;
            std::io::copy(&mut part, &mut file).context("write rejected records")?;
        }
        let name = path.strip_prefix(folder.path()).unwrap_or(&path).display().to_string();
        sums.insert(name, file.sha256()?);
        written.push((path, file));
    }
    // Written down before: whoever goes on in between knows that nobody else has written them.
    files::write_json(&folder.rejected_sums(), &sums)?;
    // What an earlier summary has left under the other names must not be taken for these.
    let mut stale: BTreeSet<_> = ResourceType::ALL.iter().map(|known| folder.rejected_of(*known)).collect();
    stale.insert(folder.rejected());
    for (path, file) in written {
        file.publish()?;
        stale.remove(&path);
    }
    stale.iter().try_for_each(|path| files::remove(path))?;
    Ok(sums)
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
