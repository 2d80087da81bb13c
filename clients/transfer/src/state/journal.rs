//! The journal: what is about to be done, on the disk before it is done.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files;

/// A step of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Step {
    /// There is an upload for it.
    UploadCreated { upload_id: String },
    /// Its records are there.
    Uploaded { upload_id: String },
    /// The import is started with this key, now. The upload and the key belong together: another upload under the
    /// same key is a conflict.
    Starting { upload_id: String, key: String },
    /// The import is this job.
    Started { job_id: String },
    /// The job has ended.
    Ended { job_id: String, completed: bool, reason: String },
    /// Its reports are here.
    Collected { job_id: String, stored: u64, rejected: u64 },
    /// It begins anew: what was tried before has stored nothing, or what it stored is replaced.
    Restarted,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    batch: usize,
    #[serde(flatten)]
    step: Step,
}

/// Where a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    Planned,
    Uploaded { upload_id: String, at: Timestamp },
    Starting { upload_id: String, key: String, at: Timestamp },
    Started { job_id: String },
    Ended { job_id: String, completed: bool, reason: String },
    Collected { job_id: String, stored: u64, rejected: u64 },
}

impl BatchState {
    fn apply(&mut self, at: Timestamp, step: Step) {
        *self = match step {
            // An upload without content is of no use to a later process: its URL is not written down.
            Step::UploadCreated { .. } | Step::Restarted => Self::Planned,
            Step::Uploaded { upload_id } => Self::Uploaded { upload_id, at },
            Step::Starting { upload_id, key } => Self::Starting { upload_id, key, at },
            Step::Started { job_id } => Self::Started { job_id },
            Step::Ended { job_id, completed, reason } => Self::Ended { job_id, completed, reason },
            Step::Collected { job_id, stored, rejected } => Self::Collected { job_id, stored, rejected },
        };
    }

    /// The job, once there is one.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        match self {
            Self::Started { job_id } | Self::Ended { job_id, .. } | Self::Collected { job_id, .. } => Some(job_id),
            Self::Planned | Self::Uploaded { .. } | Self::Starting { .. } => None,
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
            Self::Ended { completed: true, .. } => "completed",
            Self::Ended { completed: false, .. } => "failed",
            Self::Collected { .. } => "done",
        }
    }
}

/// A journal, and where every batch is by it.
pub struct Journal {
    /// `None` for one that is only looked at.
    file: Option<File>,
    states: Vec<BatchState>,
    started_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl Journal {
    /// Opens or begins the journal of a run with so many batches.
    pub fn open(path: &Path, batches: usize) -> Result<Self> {
        let context = || format!("open journal {}", path.display());
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = opened.with_context(context)?;
        let text = std::fs::read(path).with_context(context)?;
        let whole = whole_lines(&text);
        if whole.len() < text.len() {
            file.set_len(whole.len() as u64).with_context(context)?;
        }
        files::sync_folder(path)?;
        Ok(Self { file: Some(file), ..Self::replay(path, whole, batches)? })
    }

    /// Looks at a journal that another process may be writing.
    pub fn read(path: &Path, batches: usize) -> Result<Self> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            text => text.with_context(|| format!("read journal {}", path.display()))?,
        };
        Self::replay(path, whole_lines(&text), batches)
    }

    fn replay(path: &Path, text: &[u8], batches: usize) -> Result<Self> {
        let states = vec![BatchState::Planned; batches];
        let mut journal = Self { file: None, states, started_at: None, last_at: None };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(Entry { at, batch, step }) = serde_json::from_slice(line) else {
                bail!("{} is damaged", path.display());
            };
            journal.apply(batch, at, step)?;
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

    /// When the first and the last step were taken.
    #[must_use]
    pub fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.started_at, self.last_at)
    }

    fn apply(&mut self, batch: usize, at: Timestamp, step: Step) -> Result<()> {
        self.started_at.get_or_insert(at);
        self.last_at = Some(at);
        let state = batch.checked_sub(1).and_then(|index| self.states.get_mut(index));
        state.context("the journal names a batch that the plan does not have")?.apply(at, step);
        Ok(())
    }

    /// Writes a step down. Once this returns, it is on the disk.
    pub fn record(&mut self, batch: usize, step: Step) -> Result<()> {
        let at = Timestamp::now();
        let mut line = serde_json::to_vec(&Entry { at, batch, step: step.clone() })?;
        line.push(b'\n');
        let file = self.file.as_mut().context("the journal is only looked at")?;
        file.write_all(&line).and_then(|()| file.sync_data()).context("write journal")?;
        self.apply(batch, at, step)
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
        let mut journal = Journal::open(&path, 2).unwrap();
        journal.record(1, Step::Uploaded { upload_id: "u".to_owned() }).unwrap();
        journal.record(1, Step::Starting { upload_id: "u".to_owned(), key: "k".to_owned() }).unwrap();
        drop(journal);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(&path, 2).unwrap();
        assert!(matches!(journal.state(1), Some(BatchState::Uploaded { .. })));
        journal.record(2, Step::Started { job_id: "j".to_owned() }).unwrap();
        let journal = Journal::open(&path, 2).unwrap();
        assert_eq!(journal.state(2).unwrap().job_id(), Some("j"));
        assert!(Journal::open(&path, 1).is_err());
    }
}
