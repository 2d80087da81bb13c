//! An import: read NDJSON, judge every line, write the valid records, account for the others.

use futures::stream::{FuturesUnordered, StreamExt};
use ndjson::LineCounter;
use records::{ResourceType, StoredLine};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{FailureReason, ImportSource, Job, JobResult, Progress};
use crate::metrics::METRICS;
use crate::object_key::ObjectKey;
use crate::ports::PortError;
use crate::retry::pause;
use crate::worker::{WorkError, Worker};

mod frontier;
mod intake;
mod pacer;
mod reports;
mod source;

use frontier::Frontier;
use intake::{Batch, Intake, Outcome};
use pacer::Pacer;
use reports::{ReportKeys, Reports};

/// The most batches that are being written at a time. Fewer are, once the store sets the pace.
const BATCHES_IN_FLIGHT: usize = 16;

/// No further batch begins while so many bytes of records are being written.
const BYTES_IN_FLIGHT: usize = 4 << 20;

/// Tries of one batch without any of it getting through before the job rests.
const MAX_TRIES: u32 = 10;

/// The most records of one batch (contract, section 3).
const MAX_RECORDS: u64 = 10_000;

impl Worker {
    /// Does an import, a pure function of the object and the job but for the stamps: done twice it
    /// stores the same records. A take-over reads from the start again, which rebuilds the reports, and
    /// writes on from where the last worker's progress ended.
    pub(super) async fn import(
        &self,
        hold: &Hold<Job>,
        job: &Job,
        resource_type: ResourceType,
        source: &ImportSource,
        deadline: Instant,
    ) -> Result<(JobResult, Progress), WorkError> {
        let partition = job.partition();
        if let (false, ImportSource::Upload { month_limit, .. }) = (job.is_counted(), source) {
            let records = self.count_lines(partition, source, deadline).await?;
            hold.count(records, *month_limit).await?;
        }
        let schema = resource_type
            .schema()
            .map_err(|error| PortError::Defect { operation: "prepare schema", cause: Box::new(error) })?;
        let keys = ReportKeys::new(|report| ObjectKey::report(partition, job.id(), hold.token(), report));
        let mut reports = Reports::new(self.objects.as_ref(), partition, &keys);
        let mut intake = Intake::new(&schema, partition, job.id());
        let run = self.run(hold, resource_type, source, deadline, &mut intake, &mut reports);
        if let Err(error) = run.await {
            reports.abort().await;
            return Err(error);
        }
        let Outcome { faults, fault_count, progress } = intake.into_outcome();
        hold.check()?;
        reports.finish(progress.failed > 0).await?;
        let ReportKeys { errors, rejected, results } = keys;
        let (errors, rejected) = if progress.failed > 0 { (Some(errors), Some(rejected)) } else { (None, None) };
        Ok((JobResult::Import { faults, fault_count, errors, rejected, results }, progress))
    }

    /// The first pass over an upload: how many lines it has, before any of them is stored.
    async fn count_lines(
        &self,
        partition: &Partition,
        source: &ImportSource,
        deadline: Instant,
    ) -> Result<u64, WorkError> {
        let mut content = self.open(partition, source).await?;
        let mut lines = LineCounter::default();
        while let Some(piece) = content.next().await? {
            lines.push(&piece);
            if Instant::now() >= deadline {
                return Err(WorkError::OutOfTime);
            }
        }
        if lines.count() > MAX_RECORDS {
            return Err(WorkError::Impossible(FailureReason::TooManyRecords));
        }
        Ok(lines.count())
    }

    /// Reading, judging and writing, side by side.
    async fn run(
        &self,
        hold: &Hold<Job>,
        resource_type: ResourceType,
        source: &ImportSource,
        deadline: Instant,
        intake: &mut Intake<'_>,
        reports: &mut Reports<'_>,
    ) -> Result<(), WorkError> {
        let job = hold.current().await;
        let (partition, before) = (job.partition(), job.progress());
        let mut content = self.open(partition, source).await?;
        let mut frontier = Frontier::default();
        let pacer = Mutex::new(Pacer::new(Instant::now()));
        let mut writes = FuturesUnordered::new();
        let mut bytes_in_flight = 0;
        let mut at_end = false;
        loop {
            while writes.len() < BATCHES_IN_FLIGHT && bytes_in_flight < BYTES_IN_FLIGHT {
                let Some(Batch { lines, bytes, upto }) = intake.next_batch() else { break };
                let ticket = frontier.begin(upto);
                if lines.is_empty() || upto.processed <= before.processed {
                    frontier.end(ticket);
                } else {
                    bytes_in_flight += bytes;
                    let pacer = &pacer;
                    writes.push(async move {
                        self.write(hold, pacer, partition, resource_type, lines).await.map(|()| (ticket, bytes))
                    });
                }
            }
            reports.write(intake.reports()).await?;
            if at_end && writes.is_empty() {
                tracing::info!(target: METRICS, job_type = "import", job_id = %job.id(), imported_bytes = content.size());
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(WorkError::OutOfTime);
            }
            tokio::select! {
                biased;
                Some(written) = writes.next(), if !writes.is_empty() => {
                    let (ticket, bytes) = written?;
                    frontier.end(ticket);
                    bytes_in_flight -= bytes;
                }
                piece = content.next(), if !at_end && writes.len() < BATCHES_IN_FLIGHT
                    && bytes_in_flight < BYTES_IN_FLIGHT => match piece? {
                    Some(piece) => intake.push(&piece),
                    None => {
                        intake.finish();
                        at_end = true;
                    }
                },
            }
            if let Some(done) = frontier.reached() {
                hold.report(Progress { total: before.total, ..done }).await?;
            }
        }
    }

    /// Writes one batch, as often as it takes; what got through is not sent again. Every try carries its
    /// own stamp, so that a record is visible within seconds of it.
    async fn write(
        &self,
        hold: &Hold<Job>,
        pacer: &Mutex<Pacer>,
        partition: &Partition,
        resource_type: ResourceType,
        mut lines: Vec<StoredLine>,
    ) -> Result<(), WorkError> {
        let mut tries = 0;
        loop {
            let paced = || pacer.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = paced().slot(lines.len(), Instant::now());
            tokio::time::sleep_until(slot).await;
            hold.check()?;
            let outcome = self.records.write_batch(partition, resource_type, &mut lines, self.clock.now()).await;
            let refused = match &outcome {
                Ok(outcome) => outcome.unwritten.len(),
                Err(_) => lines.len(),
            };
            paced().ended(lines.len() - refused, refused, Instant::now());
            tries += 1;
            match outcome {
                Ok(outcome) if outcome.unwritten.is_empty() => return Ok(()),
                Ok(outcome) => {
                    tracing::info!(target: METRICS, job_type = "import", throttled_writes = refused);
                    if outcome.unwritten.len() < lines.len() {
                        tries = 0;
                    }
                    lines.retain(|line| outcome.unwritten.contains(line.id()));
                    if tries >= MAX_TRIES {
                        let cause = "no record was taken".into();
                        return Err(PortError::Unavailable { operation: "write records", cause }.into());
                    }
                }
                Err(error @ PortError::Unavailable { .. }) if tries >= MAX_TRIES => return Err(error.into()),
                Err(PortError::Unavailable { .. }) => {}
                Err(error @ PortError::Defect { .. }) => return Err(error.into()),
            }
            let (base, most) = (Duration::from_millis(50), Duration::from_secs(5));
            pause(self.ids.as_ref(), tries.max(1), base, most).await;
        }
    }
}
