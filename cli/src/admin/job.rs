//! `clinik-bulk admin job`: what an operator needs to know of a job, and nothing of what is in it.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use domain::ports::{Clock, JobQueue, JobStore};
use domain::{
    Environment, Job, JobId, JobStatus, JobType, Partition, Progress, Segment, SegmentState, Target, TenantId,
    overall_progress,
};
use edge::system::SystemClock;
use jiff::Timestamp;
use serde::Serialize;

use super::Stores;
use crate::output::OutputFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows where a job stands, and who is at it.
    Show {
        #[command(flatten)]
        job: JobArguments,
    },
    /// Sends a job that has not ended to its processors now, which the sweeper would do in its time. Does no
    /// harm to one that is worked on. One that has ended stays as it is: its tenant starts a new one.
    Retry {
        #[command(flatten)]
        job: JobArguments,
    },
}

/// A job, as arguments.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// The tenant's id.
    tenant: TenantId,
    /// The job's id: job_…
    job: JobId,
    /// Whose: the test or the live records'.
    #[arg(long, default_value_t = Environment::Test)]
    environment: Environment,
}

/// A job as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownJob {
    id: JobId,
    partition: String,
    job_type: JobType,
    types: String,
    status: &'static str,
    #[serde(flatten)]
    progress: Progress,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    expires_at: Timestamp,
    #[serde(flatten)]
    attention: Attention,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    segments: Vec<ShownSegment>,
}

/// Who sees to a job or a segment, and when somebody will.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attention {
    /// Until when a worker holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    leased_until: Option<Timestamp>,
    /// How often in a row it was taken over from a dead worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    take_overs: Option<u32>,
    /// How often in a row a dependency was down.
    releases: u32,
    /// When the sweeper sends it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSegment {
    number: u8,
    state: &'static str,
    processed: u64,
    bytes: u64,
    parts: usize,
    #[serde(flatten)]
    attention: Attention,
}

impl ShownJob {
    fn new(job: &Job, segments: &[Segment]) -> Self {
        Self {
            id: job.id().clone(),
            partition: job.partition().to_string(),
            job_type: job.job_type(),
            types: records::ResourceType::names(job.spec().resource_types()),
            status: match job.status() {
                JobStatus::Pending => "pending",
                JobStatus::Processing(phase) => phase.name(),
                JobStatus::Completed => "completed",
                JobStatus::Failed(reason) => reason.code(),
            },
            progress: overall_progress(job, segments),
            created_at: job.created_at(),
            started_at: job.started_at(),
            completed_at: job.completed_at(),
            expires_at: job.expires_at(),
            attention: Attention {
                leased_until: job.lease().map(|lease| lease.expires_at),
                take_overs: job.lease().map(|lease| lease.attempt),
                releases: job.releases(),
                due_at: job.due_at(),
            },
            segments: segments.iter().map(ShownSegment::new).collect(),
        }
    }
}

impl ShownSegment {
    fn new(segment: &Segment) -> Self {
        let checkpoint = segment.checkpoint();
        Self {
            number: segment.number(),
            state: match segment.state() {
                SegmentState::Working(_) => "working",
                SegmentState::Done { .. } => "done",
                SegmentState::Dropped => "dropped",
            },
            processed: checkpoint.processed,
            bytes: checkpoint.bytes,
            parts: checkpoint.parts.len(),
            attention: Attention {
                leased_until: segment.lease().map(|lease| lease.expires_at),
                take_overs: segment.lease().map(|lease| lease.attempt),
                releases: segment.releases(),
                due_at: segment.due_at(),
            },
        }
    }
}

pub(super) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let (Command::Show { job: arguments } | Command::Retry { job: arguments }) = &command;
    let JobArguments { tenant, job: id, environment } = arguments;
    let partition = Partition { tenant: tenant.clone(), environment: *environment };
    let found = stores.jobs()?.with_segments(&partition, id, SystemClock.now()).await?;
    let Some((job, segments)) = found else { bail!("{partition} has no job {id}, or none any more") };
    if matches!(command, Command::Retry { .. }) {
        if job.has_ended() {
            bail!("job {id} has ended, and stays as it is");
        }
        let queue = stores.queue()?;
        // What is done, or under a lease, is left alone by whoever gets the message.
        let working = segments.iter().filter(|segment| segment.due_at().is_some()).map(Segment::target);
        for target in working.chain([Target::from(id)]) {
            queue.send(&partition, &target, job.job_type()).await?;
        }
    }
    output.print(&ShownJob::new(&job, &segments))
}
