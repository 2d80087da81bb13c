//! Exports: a folder of their own each, whole and verified, or a stream.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clinikapi::{ApiError, Client, Job, JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sources::unusable;

use crate::events::{Events, Stage};
use crate::failure::Failure;
use crate::files;
use crate::patience::{AFTER_MISS, Misses, Patience};
use crate::plan::VERSION;

pub(crate) mod download;
mod manifest;

pub(crate) use manifest::chain;
pub use manifest::{Manifest, Owner, newest};

/// An export that is under way, as its folder keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportState {
    pub version: u32,
    /// The call that starts it.
    pub body: Value,
    /// The same over all tries: it never starts a second job.
    pub key: String,
    pub job_id: Option<String>,
    #[serde(flatten)]
    pub owner: Owner,
}

/// The file of an export that is not complete.
const STATE_FILE: &str = "export.json";

/// Whether the folder holds an export that is not complete.
#[must_use]
pub fn is_unfinished(folder: &Path) -> bool {
    folder.join(STATE_FILE).is_file() && !folder.join(manifest::FILE).is_file()
}

impl ExportState {
    pub fn load(folder: &Path) -> Result<Self> {
        let state: Self = files::read_json(&folder.join(STATE_FILE))?;
        anyhow::ensure!(state.version == VERSION, "{} was written by another version", folder.display());
        Ok(state)
    }

    pub fn store(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(STATE_FILE), self)
    }
}

/// What an export needs.
pub struct Exporter<'a> {
    pub client: &'a Client,
    pub events: &'a dyn Events,
}

impl Exporter<'_> {
    /// Starts the job of a state, or finds the one that was started; waits for its end, downloads and verifies. A job that
    /// is gone is followed by a new one, once: exports store nothing.
    pub fn to_folder(&self, folder: &Path, mut state: ExportState) -> Result<Manifest> {
        let is_resumed = state.job_id.is_some();
        let done = self.follow(folder, &mut state);
        let is_gone = |error: &anyhow::Error| error.downcast_ref().is_some_and(ApiError::is_not_found);
        let manifest = match done {
            Err(error) if is_resumed && is_gone(&error) => {
                self.events.warn("the export's job is gone: deleted, or older than 7 days; a new one begins");
                (state.job_id, state.key) = (None, clinikapi::new_key()?);
                state.store(folder)?;
                self.follow(folder, &mut state)?
            }
            done => done?,
        };
        files::remove(&folder.join(STATE_FILE))?;
        Ok(manifest)
    }

    fn follow(&self, folder: &Path, state: &mut ExportState) -> Result<Manifest> {
        let job_id = match &state.job_id {
            Some(job_id) => job_id.clone(),
            None => {
                let job_id = self.start(&state.body, &state.key)?;
                state.job_id = Some(job_id.clone());
                state.store(folder)?;
                job_id
            }
        };
        let job = self.wait(&job_id)?;
        self.fetch(folder, &job, &state.owner)
    }

    /// Starts the export, and waits for a slot if it must.
    pub fn start(&self, body: &Value, key: &str) -> Result<String> {
        let job_id = Patience::until_done(self.events, || Ok(self.client.start("/v1/bulk/export", body, key)?))?;
        self.events.event(&json!({"event": "started", "jobId": job_id}))?;
        self.events.say(&format!("export started: {job_id}"));
        Ok(job_id)
    }

    /// Waits for a job's end. One that has failed is an error.
    pub fn wait(&self, job_id: &str) -> Result<Job> {
        self.events.begin(Stage::Exporting, 0);
        let mut total = 0;
        let mut misses = Misses::default();
        loop {
            let found = Patience::until_done(self.events, || Ok(misses.look(self.client.job(job_id))?))?;
            let Some(polled) = found else {
                std::thread::sleep(AFTER_MISS);
                continue;
            };
            let job = polled.job;
            if job.total_records != total {
                total = job.total_records;
                self.events.set_total(total);
            }
            self.events.advance(job.processed_records);
            self.events.event(&json!({"event": "progress", "jobId": job_id, "status": job.status,
                "processedRecords": job.processed_records, "totalRecords": job.total_records}))?;
            match job.status {
                JobStatus::Completed => return Ok(job),
                JobStatus::Failed => {
                    return Err(Failure::JobFailed(format!("job {job_id} failed: {}", job.reason())).into());
                }
                JobStatus::Pending | JobStatus::Processing => std::thread::sleep(polled.retry_after),
            }
        }
    }

    /// Downloads all files of a job into a folder, verifies them, and writes `SHA256SUMS` and the manifest, which
    /// comes last: where it is, everything is.
    pub fn fetch(&self, folder: &Path, job: &Job, owner: &Owner) -> Result<Manifest> {
        let total: u64 = job.files.iter().map(|file| file.bytes).sum();
        self.events.begin(Stage::Downloading, total);
        let mut before = 0;
        for file in &job.files {
            let path = folder.join(safe_name(&file.name)?);
            let seen = |done| self.events.advance(before + done);
            Patience::until_done(self.events, || download::to_file(self.client, &job.id, file, &path, &seen))?;
            before += file.bytes;
            self.events.event(&json!({"event": "downloaded", "file": file.name, "bytes": file.bytes}))?;
        }
        files::replace(&folder.join(SUMS), sums(job).as_bytes())?;
        let manifest = Manifest::of_job(job, owner);
        if job.kind == "export" {
            manifest.store(folder)?;
        }
        Ok(manifest)
    }

    /// Downloads a job's files into a folder that may hold them already, or those of nobody else.
    pub fn download(&self, folder: &Path, job: &Job, owner: &Owner) -> Result<Manifest> {
        let other = folder.join(SUMS);
        if other.exists() && std::fs::read(&other).context("read SHA256SUMS")? != sums(job).as_bytes() {
            return Err(unusable(format!("{} holds the files of another job: name another folder", folder.display())));
        }
        for file in &job.files {
            let path = folder.join(safe_name(&file.name)?);
            if path.exists() && files::digest(&path)?.0 != file.sha256 {
                return Err(unusable(format!("{} exists and is another file: name another folder", path.display())));
            }
        }
        self.fetch(folder, job, owner)
    }

    /// Streams the one file of an export, and says at the end whether it was whole.
    pub fn to_writer(&self, job: &Job, writer: &mut dyn std::io::Write) -> Result<()> {
        let started = Instant::now();
        for file in &job.files {
            download::to_writer(self.client, self.events, &job.id, file, writer)?;
        }
        let records: u64 = job.files.iter().map(|file| file.records).sum();
        self.events.say(&format!("{records} records in {:.0} s; the hash is right", started.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// The files' hashes, as `sha256sum -c` reads them.
const SUMS: &str = "SHA256SUMS";

fn sums(job: &Job) -> String {
    let sums: Vec<_> = job.files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    sums.concat()
}

/// A name from outside must not lead out of the folder.
fn safe_name(name: &str) -> Result<&str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    anyhow::ensure!(
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed),
        "the service names a file that cannot be written"
    );
    Ok(name)
}

/// A new folder for an export in `out`, named after the moment.
pub fn new_folder(out: &Path) -> Result<PathBuf> {
    let now = Timestamp::now().to_string();
    let digits: String = now.chars().take(19).filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    let random = clinikapi::new_key()?;
    let folder = out.join(format!("export-{digits}Z-{}", random.get(..6).unwrap_or_default()));
    files::create_private_folder(&folder)?;
    files::sync_folder(&folder).context("make the export's folder")?;
    Ok(folder)
}
