//! The journal: what is about to be done, on the disk before it is done.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a batch is: at the step that was written down last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum BatchState {
    /// It is to begin; what was tried before has stored nothing, or what it stored is replaced.
    Planned,
    /// Its records are uploaded.
    Uploaded { upload_id: String },
    /// The import is started with this key, now. The upload and the key belong together: another upload under the
    /// same key is a conflict.
    Starting { upload_id: String, key: String },
    /// The import is this job.
    Started { job_id: String },
    /// The job has completed; the service may forget it before its reports are here.
    Completed { job_id: String, stored: u64, rejected: u64 },
    /// The job has failed.
    Failed { job_id: String, failure: JobFailure },
    /// The service does not know the job any more. What it has stored cannot be told.
    Gone { job_id: String },
    /// Its reports are here.
    Collected { job_id: String, stored: u64, rejected: u64 },
    /// It has completed, and its reports are gone.
    Unreported { job_id: String, stored: u64, rejected: u64 },
}

/// How a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobFailure {
    /// The service's code.
    pub code: String,
    /// For people.
    pub reason: String,
    /// Records that it has stored, by its last word.
    pub stored: u64,
}

impl BatchState {
    /// The job, once there is one.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        match self {
            Self::Started { job_id }
            | Self::Completed { job_id, .. }
            | Self::Failed { job_id, .. }
            | Self::Gone { job_id }
            | Self::Collected { job_id, .. }
            | Self::Unreported { job_id, .. } => Some(job_id),
            Self::Planned | Self::Uploaded { .. } | Self::Starting { .. } => None,
        }
    }

    /// What its job has stored and rejected, once it has completed.
    #[must_use]
    pub fn counts(&self) -> Option<(u64, u64)> {
        match self {
            Self::Completed { stored, rejected, .. }
            | Self::Collected { stored, rejected, .. }
            | Self::Unreported { stored, rejected, .. } => Some((*stored, *rejected)),
            _ => None,
        }
    }

    /// Whether nothing is left to do for it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Collected { .. } | Self::Unreported { .. })
    }

    /// Why its records cannot be accounted for, if they cannot.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Failed { failure, .. } => Some(failure.reason.clone()),
            Self::Gone { .. } => Some("the job is gone, and what it has stored cannot be told".to_owned()),
            Self::Unreported { rejected: 0, .. } => Some("its reports are gone; all its records are stored".to_owned()),
            Self::Unreported { rejected, .. } => {
                Some(format!("its reports are gone; which {rejected} of its records were rejected cannot be told"))
            }
            _ => None,
        }
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Uploaded { .. } => "uploaded",
            Self::Starting { .. } => "starting",
            Self::Started { .. } => "running",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Gone { .. } => "gone",
            Self::Collected { .. } => "done",
            Self::Unreported { .. } => "unreported",
        }
    }
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    batch: usize,
    #[serde(flatten)]
    state: BatchState,
}

/// A journal, and where every batch is by it.
pub struct Journal {
    /// `None` for one that is only looked at.
    file: Option<File>,
    states: Vec<BatchState>,
    /// Every job that it tells of.
    jobs: BTreeSet<String>,
    started_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl Journal {
    /// Begins a journal without steps, unless there is one.
    pub fn begin(path: &Path) -> Result<()> {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        opened.and_then(|file| file.sync_all()).with_context(|| format!("begin journal {}", path.display()))?;
        files::sync_folder(path)
    }

    /// Opens the journal of a run with so many batches.
    pub fn open(path: &Path, batches: usize) -> Result<Self> {
        let context = || format!("open journal {}", path.display());
        let opened = OpenOptions::new().read(true).append(true).open(path);
        let file = opened.with_context(context)?;
        let text = std::fs::read(path).with_context(context)?;
        let whole = whole_lines(&text);
        if whole.len() < text.len() {
            file.set_len(whole.len() as u64).with_context(context)?;
        }
        Ok(Self { file: Some(file), ..Self::replay(path, whole, batches)? })
    }

    /// Looks at a journal that another process may be writing.
    pub fn read(path: &Path, batches: usize) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("read journal {}", path.display()))?;
        Self::replay(path, whole_lines(&text), batches)
    }

    fn replay(path: &Path, text: &[u8], batches: usize) -> Result<Self> {
        let states = vec![BatchState::Planned; batches];
        let mut journal = Self { file: None, states, jobs: BTreeSet::new(), started_at: None, last_at: None };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(Entry { at, batch, state }) = serde_json::from_slice(line) else {
                bail!("{} is damaged", path.display());
            };
            journal.apply(batch, at, state)?;
        }
        Ok(journal)
    }

    /// Where every batch is.
    #[must_use]
    pub fn states(&self) -> &[BatchState] {
        &self.states
    }

    /// Where a batch, from 1, is.
    #[must_use]
    pub fn state(&self, batch: usize) -> Option<&BatchState> {
        self.states.get(batch.checked_sub(1)?)
    }

    /// Whether it tells of a job, now or at an earlier step.
    #[must_use]
    pub fn names(&self, job_id: &str) -> bool {
        self.jobs.contains(job_id)
    }

    /// When the first and the last step were taken.
    #[must_use]
    pub fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.started_at, self.last_at)
    }

    fn apply(&mut self, batch: usize, at: Timestamp, new: BatchState) -> Result<()> {
        self.started_at.get_or_insert(at);
        self.last_at = Some(at);
        let state = batch.checked_sub(1).and_then(|index| self.states.get_mut(index));
        let state = state.context("the journal names a batch that the plan does not have")?;
        *state = new;
        self.jobs.extend(state.job_id().map(str::to_owned));
        Ok(())
    }

    /// Writes a step down. Once this returns, it is on the disk.
    pub fn record(&mut self, batch: usize, state: BatchState) -> Result<()> {
        let at = Timestamp::now();
        let mut line = serde_json::to_vec(&Entry { at, batch, state: state.clone() })?;
        line.push(b'\n');
        let file = self.file.as_mut().context("the journal is only looked at")?;
        file.write_all(&line).and_then(|()| file.sync_data()).context("write journal")?;
        self.apply(batch, at, state)
    }
}

/// A line without an end was being written when everything stopped: its step has not been taken.
fn whole_lines(text: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'\n', text).map_or(0, |end| end + 1);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_a_step_that_was_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert!(Journal::open(&path, 2).is_err(), "a journal that is missing is not begun anew");
        Journal::begin(&path).unwrap();
        let mut journal = Journal::open(&path, 2).unwrap();
        journal.record(1, BatchState::Uploaded { upload_id: "u".to_owned() }).unwrap();
        journal.record(1, BatchState::Starting { upload_id: "u".to_owned(), key: "k".to_owned() }).unwrap();
        drop(journal);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(&path, 2).unwrap();
        assert!(matches!(journal.state(1), Some(BatchState::Uploaded { .. })));
        journal.record(2, BatchState::Started { job_id: "j".to_owned() }).unwrap();
        let journal = Journal::open(&path, 2).unwrap();
        assert_eq!(journal.state(2).unwrap().job_id(), Some("j"));
        assert!(journal.names("j") && !journal.names("u"));
        assert!(Journal::open(&path, 1).is_err());
    }
}
