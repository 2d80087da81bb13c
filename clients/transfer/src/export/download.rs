//! One file of a job: resumed where it broke off, and verified.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::api::{Api, ApiError, JobFile};
use crate::exit::Failure;
use crate::files;
use crate::output;

/// Tries in a row that may bring nothing, before it is given up.
const ATTEMPTS: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
const CHUNK: usize = 1 << 17;

/// A file that is being read: what has arrived, and its hash.
struct Reading<'a> {
    api: &'a Api,
    job: &'a str,
    file: &'a JobFile,
    hash: Sha256,
    done: u64,
    tag: Option<String>,
}

impl Reading<'_> {
    /// Reads to the end, through as many connections as it takes.
    fn read_all(&mut self, writer: &mut dyn Write, seen: &dyn Fn(u64)) -> Result<()> {
        let mut failures = 0;
        while self.done < self.file.bytes {
            let before = self.done;
            let Err(error) = self.read_on(writer, seen) else { break };
            let is_passing = error.downcast_ref::<ApiError>().is_some_and(|error| {
                // A link that has expired is asked for again.
                error.is_passing() || matches!(error, ApiError::Gone(_))
            });
            failures = if self.done > before { 0 } else { failures + 1 };
            if !is_passing || failures >= ATTEMPTS {
                return Err(error);
            }
            Api::sleep(PAUSE * failures.max(1));
        }
        self.verify()
    }

    /// Reads what one connection brings.
    fn read_on(&mut self, writer: &mut dyn Write, seen: &dyn Fn(u64)) -> Result<()> {
        let mut body = self.api.file(self.job, &self.file.name, self.done, self.tag.as_deref())?;
        if self.tag.is_some() && body.tag != self.tag {
            return Err(ApiError::Changed.into());
        }
        self.tag = body.tag.take();
        let mut to_skip = self.done.saturating_sub(body.from);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match body.reader.read(&mut chunk) {
                Ok(0) if self.done < self.file.bytes => {
                    return Err(ApiError::Network("the connection ended early".to_owned()).into());
                }
                Ok(0) => return Ok(()),
                Ok(read) => read,
                // What the reader reports is the network's failure; the writer's is reported below.
                Err(error) => return Err(ApiError::Network(error.to_string()).into()),
            };
            let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(read);
            to_skip -= skipped as u64;
            let bytes = chunk.get(skipped..read).unwrap_or_default();
            output::written(writer.write_all(bytes))?;
            self.hash.update(bytes);
            self.done += bytes.len() as u64;
            if self.done > self.file.bytes {
                return Err(self.mismatch("it is longer than it should be"));
            }
            seen(self.done);
        }
    }

    fn verify(&mut self) -> Result<()> {
        if self.done != self.file.bytes {
            return Err(self.mismatch("its length is wrong"));
        }
        if files::hex(std::mem::take(&mut self.hash)) != self.file.sha256.to_lowercase() {
            return Err(self.mismatch("its hash is wrong"));
        }
        Ok(())
    }

    fn mismatch(&self, what: &str) -> anyhow::Error {
        Failure::Mismatch(format!("{} of {}: {what}", self.file.name, self.job)).into()
    }
}

/// Downloads a file of a job. It gets its name once it is whole and verified; a part that an earlier try left is
/// gone on with.
pub(crate) fn to_file(api: &Api, job: &str, file: &JobFile, path: &Path, seen: &dyn Fn(u64)) -> Result<()> {
    if path.exists() && files::digest(path)?.0 == file.sha256 {
        seen(file.bytes);
        return Ok(());
    }
    let partial = files::partial(path);
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&partial);
    let mut target = opened.with_context(|| format!("create {}", partial.display()))?;
    let mut reading = Reading { api, job, file, hash: Sha256::new(), done: 0, tag: None };
    rehash(&mut target, &mut reading)?;
    let mut read = reading.read_all(&mut target, seen);
    let is_wrong = |error: &anyhow::Error| {
        matches!(error.downcast_ref(), Some(Failure::Mismatch(_)))
            || matches!(error.downcast_ref(), Some(ApiError::Changed))
    };
    if read.as_ref().is_err_and(is_wrong) && reading.done > 0 {
        // What an earlier try left may be of another file: once more from the start.
        target.set_len(0).context("empty the part")?;
        reading = Reading { api, job, file, hash: Sha256::new(), done: 0, tag: None };
        read = reading.read_all(&mut target, seen);
        if read.as_ref().is_err_and(is_wrong) {
            files::remove(&partial)?;
        }
    }
    read?;
    target.sync_all().with_context(|| format!("write {}", path.display()))?;
    files::publish(path)
}

/// Takes in what is there already.
fn rehash(target: &mut File, reading: &mut Reading<'_>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = target.read(&mut chunk).context("read the part")?;
        if read == 0 {
            return Ok(());
        }
        reading.hash.update(chunk.get(..read).unwrap_or_default());
        reading.done += read as u64;
    }
}

/// Streams a file of a job.
pub(crate) fn to_writer(api: &Api, job: &str, file: &JobFile, writer: &mut dyn Write) -> Result<()> {
    let mut reading = Reading { api, job, file, hash: Sha256::new(), done: 0, tag: None };
    reading.read_all(writer, &|_| {})?;
    output::written(writer.flush())
}
