//! Exports: a folder of their own each, whole and verified, or a stream.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clinikapi::{ApiError, Client, Job, JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::events::{Events, Stage};
use crate::failure::Failure;
use crate::files;

pub(crate) mod download;
mod manifest;

pub(crate) use manifest::chain;
pub use manifest::{Manifest, newest};

/// An export that is under way, as its folder keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportState {
    pub version: u32,
    /// The call that starts it.
    pub body: Value,
    /// The same over all tries: it never starts a second job.
    pub key: String,
    pub written_at: Timestamp,
    pub job_id: Option<String>,
    pub url: String,
    pub environment: String,
}

/// The file of an export that is not complete.
const STATE_FILE: &str = "export.json";
/// An idempotency key is good for 24 hours.
const KEY_HOURS: i64 = 23;

/// Whether the folder holds an export that is not complete.
#[must_use]
pub fn is_unfinished(folder: &Path) -> bool {
    folder.join(STATE_FILE).is_file() && !folder.join(manifest::FILE).is_file()
}

impl ExportState {
    pub fn load(folder: &Path) -> Result<Self> {
        files::read_json(&folder.join(STATE_FILE))
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
    /// Starts the job of a state, or finds the one that was started; waits for its end, downloads and verifies.
    pub fn to_folder(&self, folder: &Path, mut state: ExportState) -> Result<Manifest> {
        let job_id = match state.job_id.clone() {
            Some(job_id) => job_id,
            None => {
                if Timestamp::now().duration_since(state.written_at).as_hours() >= KEY_HOURS {
                    // An export of yesterday that nobody has seen is not worth looking for: exports store nothing.
                    state.key = clinikapi::new_key()?;
                    state.written_at = Timestamp::now();
                    state.store(folder)?;
                }
                let job_id = self.start(&state.body, &state.key)?;
                state.job_id = Some(job_id.clone());
                state.store(folder)?;
                job_id
            }
        };
        let job = self.wait(&job_id)?;
        let manifest = self.fetch(folder, &job, &state.url, &state.environment)?;
        files::remove(&folder.join(STATE_FILE))?;
        Ok(manifest)
    }

    /// Starts the export, and waits for a slot if it must.
    pub fn start(&self, body: &Value, key: &str) -> Result<String> {
        loop {
            match self.client.start("/v1/bulk/export", body, key) {
                Ok(job_id) => {
                    self.events.event(&json!({"event": "started", "jobId": job_id}))?;
                    self.events.say(&format!("export started: {job_id}"));
                    return Ok(job_id);
                }
                Err(error) => {
                    let Some(slot) = error.slot_in() else { return Err(error.into()) };
                    let minutes = slot.as_secs().div_ceil(60);
                    self.events.say(&format!("the hourly limit is used up; its next slot is in {minutes} min"));
                    self.events.event(&json!({"event": "waiting", "seconds": slot.as_secs()}))?;
                    std::thread::sleep(slot);
                }
            }
        }
    }

    /// Waits for a job's end. One that has failed is an error.
    pub fn wait(&self, job_id: &str) -> Result<Job> {
        self.events.begin(Stage::Exporting, 0);
        let mut total = 0;
        loop {
            let polled = match self.client.job(job_id) {
                // The client has tried for a while; whoever waits for a job waits for the network too.
                Err(error @ ApiError::Network(_)) => {
                    self.events.say(&format!("{error}; trying again in 20 s"));
                    std::thread::sleep(std::time::Duration::from_secs(20));
                    continue;
                }
                polled => polled?,
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
    pub fn fetch(&self, folder: &Path, job: &Job, url: &str, environment: &str) -> Result<Manifest> {
        let total: u64 = job.files.iter().map(|file| file.bytes).sum();
        self.events.begin(Stage::Downloading, total);
        let mut before = 0;
        for file in &job.files {
            let path = folder.join(safe_name(&file.name)?);
            download::to_file(self.client, &job.id, file, &path, &|done| self.events.advance(before + done))?;
            before += file.bytes;
            self.events.event(&json!({"event": "downloaded", "file": file.name, "bytes": file.bytes}))?;
        }
        let sums: Vec<_> = job.files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
        files::replace(&folder.join("SHA256SUMS"), sums.concat().as_bytes())?;
        let manifest = Manifest::of_job(job, url, environment);
        if job.kind == "export" {
            manifest.store(folder)?;
        }
        Ok(manifest)
    }

    /// Streams the one file of an export, and says at the end whether it was whole.
    pub fn to_writer(&self, job: &Job, writer: &mut dyn std::io::Write) -> Result<()> {
        let started = Instant::now();
        for file in &job.files {
            download::to_writer(self.client, &job.id, file, writer)?;
        }
        let records: u64 = job.files.iter().map(|file| file.records).sum();
        self.events.say(&format!("{records} records in {:.0} s; the hash is right", started.elapsed().as_secs_f64()));
        Ok(())
    }
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
