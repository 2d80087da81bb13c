//! An import: read NDJSON, judge every line, write the valid records, account for the others.

use futures::stream::{FuturesUnordered, StreamExt};
use records::{ResourceType, StoredLine};
use std::time::Duration;
use tokio::time::Instant;

use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{FailureReason, Job, JobResult, Progress};
use crate::object_key::ObjectKey;
use crate::ports::PortError;
use crate::retry::pause;
use crate::worker::{WorkError, Worker};

mod frontier;
mod intake;

use frontier::Frontier;
use intake::{Batch, Intake};

/// Batches that are being written at a time.
const BATCHES_IN_FLIGHT: usize = 8;

/// Tries of one batch without any of it getting through before the job rests.
const MAX_TRIES: u32 = 10;

impl Worker {
    /// Does an import, a pure function of the object and the job but for the stamps: done twice it
    /// stores the same records. A take-over reads from the start again and writes on from where the
    /// last worker's progress ended.
    pub(super) async fn import(
        &self,
        hold: &Hold,
        job: &Job,
        resource_type: ResourceType,
        source: &ObjectKey,
        deadline: Instant,
    ) -> Result<(JobResult, Progress), WorkError> {
        let partition = job.partition();
        let written_before = job.progress().processed;
        let content = self.objects.get(partition, source).await?;
        let mut content = content.ok_or(WorkError::Impossible(FailureReason::SourceMissing))?;
        let schema = resource_type
            .schema()
            .map_err(|error| PortError::Defect { operation: "prepare schema", cause: Box::new(error) })?;
        let mut intake = Intake::new(&schema, partition, job.id());
        let mut frontier = Frontier::default();
        let mut writes = FuturesUnordered::new();
        let mut at_end = false;
        loop {
            while writes.len() < BATCHES_IN_FLIGHT {
                let Some(Batch { lines, upto }) = intake.next_batch() else { break };
                let ticket = frontier.begin(upto);
                if lines.is_empty() || upto.processed <= written_before {
                    frontier.end(ticket);
                } else {
                    writes
                        .push(async move { self.write(hold, partition, resource_type, lines).await.map(|()| ticket) });
                }
            }
            if at_end && writes.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(WorkError::OutOfTime);
            }
            tokio::select! {
                Some(written) = writes.next(), if !writes.is_empty() => {
                    frontier.end(written?);
                }
                chunk = content.next(), if !at_end && writes.len() < BATCHES_IN_FLIGHT => match chunk {
                    Some(chunk) => intake.push(&chunk?),
                    None => {
                        intake.finish();
                        at_end = true;
                    }
                },
            }
            if let Some(done) = frontier.reached() {
                hold.report(Progress { total: job.progress().total, ..done }).await?;
            }
        }
        Ok(intake.into_result())
    }

    /// Writes one batch, as often as it takes; what got through is not sent again. Every try carries its
    /// own stamp, so that a record is visible within seconds of it.
    async fn write(
        &self,
        hold: &Hold,
        partition: &Partition,
        resource_type: ResourceType,
        mut lines: Vec<StoredLine>,
    ) -> Result<(), WorkError> {
        let mut tries = 0;
        loop {
            hold.check()?;
            let outcome = self.records.write_batch(partition, resource_type, &mut lines, self.clock.now()).await;
            tries += 1;
            match outcome {
                Ok(outcome) if outcome.unwritten.is_empty() => return Ok(()),
                Ok(outcome) => {
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
