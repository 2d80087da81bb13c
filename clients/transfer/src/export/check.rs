//! What an export's job and manifest say is held against what was asked for, and against what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clinikapi::{Job, JobFile};
use jiff::Timestamp;
use serde_json::Value;
use sources::{Format, unusable};

use super::manifest::{self, Manifest};
use super::{DELETED, STATE_FILE, SUMS};
use crate::failure::mismatch;

/// Whether a completed job is the export that this body asked for. What it says goes into the manifest, and by that a backup is
/// restored and gone on with.
pub fn answer(job: &Job, asked: &Value) -> Result<()> {
    let id = &job.id;
    let wrong = |what: &str| Err(mismatch(format!("job {id} is not the export that was asked for: {what}")));
    let types: BTreeSet<_> =
        asked["resourceTypes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if types != job.resource_types.iter().map(String::as_str).collect() {
        return wrong("its resourceTypes are others");
    }
    // The service tells times in milliseconds.
    let moment = |text: &str| milliseconds(text);
    let since = asked["since"].as_str();
    if since.is_some() != job.since.is_some() || since.and_then(moment) != job.since.as_deref().and_then(moment) {
        return wrong("its since is another");
    }
    if asked["format"].as_str() != job.format.as_deref() {
        return wrong("its format is another");
    }
    let times = [job.transaction_time.as_deref(), Some(&job.created_at), job.completed_at.as_deref()];
    if times.iter().any(|time| time.and_then(moment).is_none()) {
        return wrong("its transactionTime, createdAt or completedAt is missing");
    }
    let ending = if asked["compression"] == "gzip" { ".ndjson.gz" } else { ".ndjson" };
    let records: Vec<_> = job.files.iter().filter(|file| file.name != DELETED).collect();
    if records.iter().any(|file| !file.name.ends_with(ending)) {
        return wrong(&format!("not all of its files end in {ending}"));
    }
    let of_types: Vec<_> = records.iter().filter_map(|file| file.resource_type.as_deref()).collect();
    let is_as_asked = if asked["files"] == "perType" {
        let distinct: BTreeSet<_> = of_types.iter().copied().collect();
        of_types.len() == records.len() && distinct.len() == records.len() && distinct.is_subset(&types)
    } else {
        of_types.is_empty() && records.len() == 1
    };
    if is_as_asked { Ok(()) } else { wrong("its files are not cut as they should be") }
}

/// A moment in milliseconds. The contract takes fractions of any length, and a `Timestamp` has nine digits.
fn milliseconds(text: &str) -> Option<i64> {
    let cut = text.split_once('.').map(|(seconds, rest)| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, zone) = rest.split_at(digits);
        format!("{seconds}.{}{zone}", fraction.get(..9).unwrap_or(fraction))
    });
    cut.as_deref().unwrap_or(text).parse().map(Timestamp::as_millisecond).ok()
}

/// Whether a hash is the one that is told of a file, in letters of either case.
pub(crate) fn has_hash(file: &JobFile, sha256: &str) -> bool {
    file.sha256.eq_ignore_ascii_case(sha256)
}

/// The records of these files; a file of deletions holds none.
pub(super) fn records(files: &[JobFile]) -> u64 {
    let records = files.iter().filter(|file| file.name != DELETED);
    records.fold(0, |sum: u64, file| sum.saturating_add(file.records))
}

/// Whether the files of a complete export are there, and as long as its manifest says.
pub fn sizes(folder: &Path, manifest: &Manifest) -> Result<()> {
    for file in &manifest.files {
        let path = folder.join(super::safe_name(&file.name)?);
        let is_whole = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == file.bytes);
        if !is_whole {
            return Err(mismatch(format!("{} is gone, or not as long as its manifest says", path.display())));
        }
    }
    Ok(())
}

/// The files of a complete export that are not what its manifest says.
pub fn damaged(folder: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let mut damaged = Vec::new();
    for file in &manifest.files {
        let path = folder.join(super::safe_name(&file.name)?);
        let is_told = |(sha256, bytes): (String, u64)| has_hash(file, &sha256) && bytes == file.bytes;
        if !path.is_file() || !is_told(files::digest(&path)?) {
            damaged.push(path);
        }
    }
    Ok(damaged)
}

/// Whether a complete export can be imported: its manifest adds up, and names all that is in its folder. `format` is what its
/// records are said to be.
pub(crate) fn restorable(folder: &Path, manifest: &Manifest, format: Option<Format>) -> Result<()> {
    let path = folder.join(manifest::FILE);
    if manifest.resource_types.is_empty() {
        return Err(mismatch(format!("{}: resourceTypes is empty", path.display())));
    }
    let how = match (&manifest.format, format) {
        (Some(_), Some(Format::Fhir)) | (None, None | Some(Format::Ndjson)) => None,
        (Some(_), _) => Some("as FHIR: add --format fhir"),
        (None, _) => Some("as NDJSON: leave --format out"),
    };
    if let Some(how) = how {
        return Err(unusable(format!("{} is an export of records {how}", folder.display())));
    }
    let held = records(&manifest.files);
    if held != manifest.records {
        let message = format!("{}: records is {}, and those of its files are {held}", path.display(), manifest.records);
        return Err(mismatch(message));
    }
    let own = [manifest::FILE, SUMS, STATE_FILE];
    let named = manifest.files.iter().map(|file| file.name.as_str()).chain(own);
    let named: BTreeSet<_> = named.map(|name| folder.join(name)).collect();
    match files::entries(folder)?.iter().find(|path| !manifest::is_hidden(path) && !named.contains(*path)) {
        None => Ok(()),
        Some(stray) => Err(unusable(format!(
            "{} lies in an export, and its manifest does not name it: move it away",
            stray.display()
        ))),
    }
}
