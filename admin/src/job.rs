//! `clinik-bulk-admin job`: what an operator needs to know of a job, and nothing of what is in it.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{Checkpoint, Environment, Job, JobId, JobState, JobType, OpenFile, Partition, Progress, TenantId};
use ports::{Clock, JobQueue, JobStore};
use runtime::SystemClock;
use serde::Serialize;

use crate::audit::Change;
use crate::output::OutputFormat;
use crate::stores::Stores;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows where a job stands, and who is at it.
    Show {
        #[command(flatten)]
        job: JobArguments,
    },
    /// Sends the message about a job that has not ended now, without waiting for the sweeper. Harmless while a worker
    /// holds the job. One that has ended stays as it is: its tenant starts a new one.
    Redrive {
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
    /// Until when a worker holds the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    leased_until: Option<Timestamp>,
    /// How often in a row it was taken over from a dead worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    takeovers: Option<u32>,
    /// How often in a row it was deferred.
    deferrals: u32,
    /// When the sweeper redrives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    /// Files that are whole.
    files: usize,
    /// Bytes in the chunks of the file that is being written.
    open_bytes: u64,
}

impl ShownJob {
    fn new(job: &Job) -> Self {
        let checkpoint = job.checkpoint().and_then(Checkpoint::export);
        Self {
            id: job.id().clone(),
            partition: job.partition().to_string(),
            job_type: job.job_type(),
            types: records::ResourceType::names(job.spec().resource_types()),
            status: job.state().name(),
            progress: job.progress(),
            created_at: job.created_at(),
            started_at: job.started_at(),
            completed_at: job.completed_at(),
            expires_at: job.expires_at(),
            leased_until: job.lease().map(|lease| lease.expires_at),
            takeovers: job.lease().map(|lease| lease.attempt),
            deferrals: job.deferrals(),
            due_at: job.due_at(),
            failure: match job.state() {
                JobState::Failed(reason) => Some(reason.code()),
                JobState::Pending | JobState::Processing { .. } | JobState::Completed(_) => None,
            },
            files: match (job.result(), checkpoint) {
                (Some(result), _) => result.files().len(),
                (None, Some(checkpoint)) => checkpoint.files.len(),
                (None, None) => 0,
            },
            open_bytes: checkpoint.and_then(|checkpoint| checkpoint.open.as_ref()).map_or(0, OpenFile::bytes),
        }
    }
}

pub(crate) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let (Command::Show { job: arguments } | Command::Redrive { job: arguments }) = &command;
    let JobArguments { tenant, job: id, environment } = arguments;
    let partition = Partition { tenant: tenant.clone(), environment: *environment };
    let found = stores.jobs()?.get(&partition, id, SystemClock.now()).await?;
    let Some(job) = found else { bail!("{partition} has no job {id}, or it has expired") };
    if matches!(command, Command::Redrive { .. }) {
        if job.has_ended() {
            bail!("job {id} has ended, and stays as it is");
        }
        let subject = Some(id.to_string());
        let change = Change { action: "job.redriven", tenant, environment: Some(*environment), subject };
        change.write(stores, None::<&()>).await?;
        stores.queue(job.job_type())?.send(&partition, id).await?;
    }
    output.print(&ShownJob::new(&job))
}
