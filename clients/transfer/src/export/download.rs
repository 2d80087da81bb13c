//! Files of jobs on the disk, and in streams.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clinikapi::{ApiError, Client, Download, DownloadError, JobFile};

use super::check::has_hash;
use super::lines::FileLines;
use crate::backoff::Backoff;
use crate::events::Events;
use crate::failure::{Failure, mismatch};

const CHUNK: usize = 1 << 17;

/// Downloads a file of a job. It gets its name once it is whole and verified; a part that an earlier try left is
/// gone on with.
pub(crate) fn to_file(client: &Client, job: &str, file: &JobFile, path: &Path, seen: &dyn Fn(u64)) -> Result<()> {
    if path.exists() {
        let (sha256, _, lines) = look_at(path, file)?;
        if has_hash(file, &sha256) {
            seen(file.bytes);
            return check_lines(job, file, lines);
        }
    }
    let partial = files::partial(path);
    let target = files::open_partial(&partial)?;
    let keep = |piece: &[u8], done: u64| -> Result<()> {
        (&target).write_all(piece).context("write output")?;
        seen(done);
        Ok(())
    };
    let mut download = Download::new(client, job, file);
    continue_behind(&target, &mut download)?;
    let mut read = read_all(&mut download, keep);
    let is_wrong = |error: &anyhow::Error| {
        matches!(error.downcast_ref(), Some(Failure::Mismatch(_)))
            || matches!(error.downcast_ref(), Some(ApiError::Changed))
    };
    if read.as_ref().is_err_and(is_wrong) && download.done() > 0 {
        // What an earlier try left may be of another file: once more from the start.
        target.set_len(0).context("empty the part")?;
        read = read_all(&mut Download::new(client, job, file), keep);
        if read.as_ref().is_err_and(is_wrong) {
            files::remove(&partial)?;
        }
    }
    read?;
    target.sync_all().with_context(|| format!("write {}", path.display()))?;
    // As it stands on the disk, and not as it came.
    let (sha256, bytes, lines) = look_at(&partial, file)?;
    if !has_hash(file, &sha256) || bytes != file.bytes {
        files::remove(&partial)?;
        return Err(mismatch(format!("{} was changed while it was written", path.display())));
    }
    if let Err(wrong) = check_lines(job, file, lines) {
        files::remove(&partial)?;
        return Err(wrong);
    }
    files::publish(path)
}

/// Streams a file of a job.
pub(crate) fn to_writer(
    client: &Client,
    events: &dyn Events,
    job: &str,
    file: &JobFile,
    writer: &mut dyn Write,
) -> Result<()> {
    // It knows how far it is: what has been written is not written again.
    let mut download = Download::new(client, job, file);
    let mut lines = FileLines::new(&file.name);
    Backoff::until_done(events, || {
        read_all(&mut download, |piece, _| {
            lines.push(piece);
            writer.write_all(piece).context("write output")
        })
    })?;
    writer.flush().context("write output")?;
    check_lines(job, file, lines.finish())
}

/// The hash, the bytes and the lines of what stands on the disk.
fn look_at(path: &Path, file: &JobFile) -> Result<(String, u64, Option<u64>)> {
    let on_disk = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut lines = FileLines::new(&file.name);
    let digest = files::digest_by(on_disk, |piece| lines.push(piece));
    let (sha256, bytes) = digest.with_context(|| format!("read {}", path.display()))?;
    Ok((sha256, bytes, lines.finish()))
}

/// Whether a file has as many lines as its job tells; `None` are those of a file that cannot be inflated.
fn check_lines(job: &str, file: &JobFile, lines: Option<u64>) -> Result<()> {
    let JobFile { name, records, .. } = file;
    match lines {
        Some(lines) if lines == *records => Ok(()),
        Some(lines) => Err(mismatch(format!("{name} of {job}: it has {lines} lines, and the job tells of {records}"))),
        None => Err(mismatch(format!("{name} of {job}: it is no valid gzip"))),
    }
}

/// Takes in what is there already.
fn continue_behind(mut target: &File, download: &mut Download<'_>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = target.read(&mut chunk).context("read the part")?;
        if read == 0 {
            return Ok(());
        }
        download.continue_behind(chunk.get(..read).unwrap_or_default());
    }
}

/// Hands every piece to `each`, with how many bytes there are by then.
fn read_all(download: &mut Download<'_>, mut each: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = download.next(&mut chunk).map_err(|error| match error {
            DownloadError::Api(error) => anyhow::Error::from(error),
            DownloadError::Mismatch(what) => mismatch(what),
        })?;
        if read == 0 {
            return Ok(());
        }
        each(chunk.get(..read).unwrap_or_default(), download.done())?;
    }
}
