//! Exports: a folder of their own each, whole and verified, or a stream.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clinikapi::{Client, Job, JobFile, JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sources::unusable;

use crate::VERSION;
use crate::backoff::{Backoff, ask_thrice, is_not_found, job_of_kind};
use crate::events::{Events, Stage};
use crate::failure::{Failure, mismatch};

pub(crate) mod check;
pub(crate) mod download;
mod lines;
mod manifest;

pub use check::{answer as check_answer, damaged, sizes as check_sizes};
pub use manifest::{Export, Manifest, Owner, first_within, newest};
pub(crate) use manifest::{Link, chain, is_hidden, overlap, restorable};

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

    /// Takes it out of the folder: there is nothing left to go on with.
    pub fn remove(folder: &Path) -> Result<()> {
        files::remove(&folder.join(STATE_FILE))
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
        let manifest = match done {
            Err(error) if is_resumed && is_not_found(&error) => {
                self.events.warn("the export's job is gone: deleted, or older than 7 days; a new one begins");
                (state.job_id, state.key) = (None, clinikapi::new_key()?);
                clear(folder)?;
                state.store(folder)?;
                self.follow(folder, &mut state)?
            }
            done => done?,
        };
        ExportState::remove(folder)?;
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
        let is_single = state.body.get("files").is_none_or(|files| files != "perType");
        if is_single && job.files.is_empty() {
            return Err(mismatch(format!("job {job_id} has completed, and names no file")));
        }
        check::answer(&job, &state.body)?;
        match self.fetch(folder, &job, &state.owner) {
            Err(error) if is_not_found(&error) => {
                // The job itself tells whether it is gone.
                self.wait(&job_id)?;
                Err(mismatch(format!("job {job_id} names a file that is not there")))
            }
            fetched => fetched,
        }
    }

    /// Starts the export, and waits for a slot if it must.
    pub fn start(&self, body: &Value, key: &str) -> Result<String> {
        let job_id = Backoff::until_done(self.events, || Ok(self.client.start("/v1/bulk/export", body, key)?))?;
        self.events.event(&json!({"event": "started", "jobId": job_id}))?;
        self.events.say(&format!("export started: {job_id}"));
        Ok(job_id)
    }

    /// Waits for a job's end. One that has failed is an error.
    pub fn wait(&self, job_id: &str) -> Result<Job> {
        self.events.begin(Stage::Exporting, 0);
        let mut total = 0;
        loop {
            let polled = Backoff::until_done(self.events, || job_of_kind(self.client, job_id, "export"))?;
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
        check_records(job)?;
        let total = job.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        self.events.begin(Stage::Downloading, total);
        let mut before: u64 = 0;
        for file in &job.files {
            let path = folder.join(safe_name(&file.name)?);
            let seen = |done: u64| self.events.advance(done.saturating_add(before));
            let get = || ask_thrice(|| download::to_file(self.client, &job.id, file, &path, &seen));
            Backoff::until_done(self.events, get)?;
            before = file.bytes.saturating_add(before);
            self.events.event(&json!({"event": "downloaded", "file": file.name, "bytes": file.bytes}))?;
        }
        write_sums(folder, &job.files)?;
        let manifest = Manifest::of_job(job, owner);
        if job.kind == "export" {
            manifest.store(folder)?;
        }
        Ok(manifest)
    }

    /// Downloads a job's files into a folder that may hold them already, or those of nobody else.
    pub fn download(&self, folder: &Path, job: &Job, owner: &Owner) -> Result<Manifest> {
        let other = folder.join(SUMS);
        if other.exists() && std::fs::read(&other).context("read SHA256SUMS")? != sums(&job.files).as_bytes() {
            return Err(unusable(format!("{} holds the files of another job: name another folder", folder.display())));
        }
        for file in &job.files {
            let path = folder.join(safe_name(&file.name)?);
            if path.exists() && !check::has_hash(file, &files::digest(&path)?.0) {
                return Err(unusable(format!("{} exists and is another file: name another folder", path.display())));
            }
        }
        self.fetch(folder, job, owner)
    }

    /// Fetches the files of a complete export anew that are not what its manifest says.
    pub fn mend(&self, folder: &Path, manifest: &Manifest) -> Result<()> {
        let id = &manifest.job_id;
        let lost = |why: &str| {
            let message =
                format!("the files cannot be fetched anew, {why} {id}: export anew, and move this export away");
            Err(mismatch(message))
        };
        match self.wait(id) {
            Err(error) if is_not_found(&error) => lost("for the service does not know its job any more:"),
            Ok(job) if job.files != manifest.files => lost("for the manifest names others than its job"),
            Ok(job) => self.fetch(folder, &job, &manifest.owner).map(|_| ()),
            Err(error) => Err(error),
        }
    }

    /// Streams the one file of an export, and says at the end whether it was whole.
    pub fn to_writer(&self, job: &Job, writer: &mut dyn std::io::Write) -> Result<()> {
        let started = Instant::now();
        check_records(job)?;
        for file in &job.files {
            if file.name == DELETED {
                let count = file.records;
                self.events
                    .warn(&format!("{count} deleted records are not told here; an export to a folder names them"));
                continue;
            }
            download::to_writer(self.client, self.events, &job.id, file, writer)?;
        }
        let records = job.total_records;
        self.events.say(&format!("{records} records in {:.0} s; the hash is right", started.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// The file of an export that names deleted records, and holds none.
pub(crate) const DELETED: &str = "deleted.ndjson";

/// Whether an export's files hold just the records that the job tells of.
fn check_records(job: &Job) -> Result<()> {
    let held = check::records(&job.files);
    if job.kind != "export" || held == job.total_records {
        return Ok(());
    }
    let Job { id, total_records, .. } = job;
    Err(mismatch(format!("job {id} tells of {total_records} records, and its files of {held}")))
}

/// Takes away what an earlier job has left in an export's own folder: patients' data that no manifest names.
fn clear(folder: &Path) -> Result<()> {
    for path in files::entries(folder)? {
        let is_kept = path.file_name().is_some_and(|name| name == STATE_FILE || name == files::LOCK);
        if !is_kept {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// The files' hashes, as `sha256sum -c` reads them.
const SUMS: &str = "SHA256SUMS";

fn sums(files: &[JobFile]) -> String {
    let sums: Vec<_> = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    sums.concat()
}

/// Writes the files' hashes, where they do not stand already.
pub fn write_sums(folder: &Path, files: &[JobFile]) -> Result<()> {
    let (path, sums) = (folder.join(SUMS), sums(files));
    if std::fs::read(&path).is_ok_and(|found| found == sums.as_bytes()) {
        return Ok(());
    }
    files::replace(&path, sums.as_bytes())
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
    let (now, random) = (Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), clinikapi::new_key()?);
    let folder = out.join(format!("export-{now}-{}", random.get(..6).unwrap_or_default()));
    files::create_private_folder(&folder)?;
    files::sync_folder(&folder).context("make the export's folder")?;
    Ok(folder)
}
