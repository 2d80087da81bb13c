//! Fetches what the service reports on a batch, and checks that it adds up.

use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, Result};
use clinikapi::{Client, Job};
use ndjson::InflatingReader;
use serde::Deserialize;

use crate::backoff::ask_thrice;
use crate::export::download;
use crate::failure::mismatch;
use crate::plan::BatchPlan;
use crate::state::StateFolder;
use files::PartialFile;

/// A line of the service's results.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultLine {
    pub line: u64,
    pub outcome: String,
    pub id: Option<String>,
}

/// What became of a batch's records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) rejected: u64,
}

/// Fetches the reports of a completed job. Doing it twice does no harm.
pub(super) fn collect(client: &Client, folder: &StateFolder, batch: &BatchPlan, job: &Job) -> Result<Counts> {
    for report in ["results", "errors"] {
        let name = format!("{report}.ndjson");
        let file = job.files.iter().find(|file| file.name == name);
        let path = folder.reported(batch.number, report);
        match file {
            Some(file) => ask_thrice(|| download::to_file(client, &job.id, file, &path, &|_| {}))?,
            // Only the errors are optional: they are there when something was rejected.
            None if report == "errors" && job.failed_records == 0 => {}
            None => return Err(of_batch(batch, &format!("the job has no {name}"))),
        }
    }
    let counts = take_rejected(folder, batch)?;
    let said = Counts { stored: job.succeeded_records, rejected: job.failed_records };
    if counts != said {
        return Err(of_batch(batch, &format!("its reports say {counts:?}, and the job {said:?}")));
    }
    Ok(counts)
}

/// Whether a completed job tells of just the records that were sent.
pub(super) fn check_counts(batch: &BatchPlan, job: &Job) -> Result<()> {
    for told in [job.succeeded_records.saturating_add(job.failed_records), job.total_records] {
        if told != batch.records {
            return Err(of_batch(batch, &format!("{} records were sent, and the job tells of {told}", batch.records)));
        }
    }
    Ok(())
}

fn of_batch(batch: &BatchPlan, message: &str) -> anyhow::Error {
    mismatch(format!("batch {}: {message}", batch.number))
}

/// Copies the rejected lines out of the batch, and counts the results.
fn take_rejected(folder: &StateFolder, batch: &BatchPlan) -> Result<Counts> {
    let results = std::fs::File::open(folder.reported(batch.number, "results")).context("open results")?;
    let mut counts = Counts::default();
    let mut rejected = Vec::new();
    for line in BufReader::new(results).lines() {
        let line = line.context("read results")?;
        let Ok(result) = serde_json::from_str::<ResultLine>(&line) else {
            return Err(of_batch(batch, "its results are not readable"));
        };
        if result.outcome == "rejected" {
            counts.rejected += 1;
            rejected.push(result.line);
        } else {
            counts.stored += 1;
        }
    }
    if rejected.is_empty() {
        return Ok(counts);
    }
    rejected.sort_unstable();
    let mut file = PartialFile::create(&folder.reported(batch.number, "rejected"))?;
    let sent = std::fs::File::open(folder.batch(batch.number)).context("open batch")?;
    let mut sent = BufReader::new(InflatingReader::new(sent));
    let (mut line, mut number) = (Vec::new(), 0u64);
    let mut wanted = rejected.into_iter().peekable();
    while wanted.peek().is_some() {
        line.clear();
        if sent.read_until(b'\n', &mut line).context("read batch")? == 0 {
            return Err(of_batch(batch, "its results tell of more lines than were sent"));
        }
        number += 1;
        if wanted.next_if_eq(&number).is_some() {
            file.write_all(&line).context("write rejected records")?;
        }
    }
    file.publish()?;
    Ok(counts)
}
