//! `clinik-bulk-admin job`: what an operator needs to know of a job, and nothing of what is in it.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{Checkpoint, Environment, Job, JobId, JobState, JobType, Partition, Progress, TenantId};
use ports::{Clock, JobQueue, JobStore};
use runtime::SystemClock;
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::audit::Change;
use crate::output::OutputFormat;
use crate::stores::Stores;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists a tenant's newest jobs, and what is to be expected of each.
    List {
        /// The tenant's id.
        tenant: TenantId,
        /// Whose: the test or the live records'.
        #[arg(long, default_value_t = Environment::Test)]
        environment: Environment,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Shows where a job stands, and who is at it.
    Show(JobArguments),
    /// Sends the message about a job that has not ended now, without waiting for the sweeper. Harmless while a worker
    /// holds the job. One that has ended stays as it is: its tenant starts a new one.
    Redrive(JobArguments),
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
#[skip_serializing_none]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownJob {
    id: JobId,
    partition: String,
    job_type: JobType,
    types: String,
    status: &'static str,
    /// Who is at it, and what happens next.
    now: String,
    #[serde(flatten)]
    progress: Progress,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    expires_at: Timestamp,
    /// Until when a worker holds the lease.
    leased_until: Option<Timestamp>,
    /// How often in a row it was taken over from a dead worker.
    takeovers: Option<u32>,
    /// How often in a row it was deferred.
    deferrals: u32,
    /// When the sweeper redrives it.
    due_at: Option<Timestamp>,
    /// Why it failed.
    failure: Option<&'static str>,
    /// Files that are whole.
    files: usize,
    /// Bytes in the chunks of the file that is being written.
    open_bytes: u64,
}

impl ShownJob {
    fn new(job: &Job, now: Timestamp) -> Self {
        let checkpoint = job.checkpoint().and_then(Checkpoint::export);
        Self {
            id: job.id().clone(),
            partition: job.partition().to_string(),
            job_type: job.job_type(),
            types: records::ResourceType::names(job.spec().resource_types()),
            status: job.state().name(),
            now: judged(job, now),
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
            open_bytes: checkpoint.and_then(|checkpoint| checkpoint.open.as_ref()).map_or(0, |open| open.bytes),
        }
    }
}

/// Who is at a job, and what happens next, in a sentence.
fn judged(job: &Job, now: Timestamp) -> String {
    let waits = |since: &str| match job.due_at() {
        Some(due) if due > now => format!("{since}; the sweeper sends it at {due:.0}"),
        Some(_) => format!("{since}; the sweeper sends it within a minute, if it runs"),
        None => format!("{since}, and nothing will send it: redrive it, and keep its item as evidence of a bug"),
    };
    match (job.has_ended(), job.lease()) {
        (true, _) => "it has ended".to_owned(),
        (false, Some(lease)) if lease.expires_at > now => {
            format!("a worker holds it until {:.0}, and renews that while it lives", lease.expires_at)
        }
        (false, Some(_)) => waits("its worker has not renewed its lease: it is dead, and another takes over"),
        (false, None) if job.deferrals() > 0 => waits(&format!(
            "nobody holds it; it was deferred {} times: something is down, or refuses it",
            job.deferrals()
        )),
        (false, None) => waits("nobody holds it; its message is in the queue, or lost"),
    }
}

async fn list(partition: &Partition, count: u16, stores: &Stores, output: OutputFormat) -> Result<()> {
    let (jobs, now) = (stores.jobs()?, SystemClock.now());
    let (mut shown, mut after): (Vec<_>, Option<JobId>) = (Vec::new(), None);
    while shown.len() < usize::from(count) {
        let page = jobs.list(partition, after.as_ref(), now, usize::from(count) - shown.len()).await?;
        shown.extend(page.jobs.iter().map(|job| ShownJob::new(job, now)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    output.print(&shown)
}

pub(crate) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let arguments = match &command {
        Command::List { tenant, environment, count } => {
            let tenant = stores.known_tenant(tenant).await?.id;
            return list(&Partition { tenant, environment: *environment }, *count, stores, output).await;
        }
        Command::Show(arguments) | Command::Redrive(arguments) => arguments,
    };
    let JobArguments { tenant, job: id, environment } = arguments;
    let partition = Partition { tenant: tenant.clone(), environment: *environment };
    let now = SystemClock.now();
    let found = stores.jobs()?.get(&partition, id, now).await?;
    let Some(job) = found else { bail!("{partition} has no job {id}, or it has expired") };
    if matches!(command, Command::Redrive(_)) {
        if job.has_ended() {
            bail!("job {id} has ended, and stays as it is");
        }
        let subject = Some(id.to_string());
        let change = Change { action: "job.redriven", tenant, environment: Some(*environment), subject };
        change.write(stores, None::<&()>).await?;
        stores.queue(job.job_type())?.send(&partition, id).await?;
    }
    output.print(&ShownJob::new(&job, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use in_process::jobs::{acquired, an_export};
    use in_process::{Service, job_id, test_partition};
    use model::{Month, NewJob, Pool, Reservation};

    #[test]
    fn who_is_at_a_job_is_said_with_until_when() {
        let job = Job::new(NewJob {
            partition: test_partition(),
            id: job_id(),
            spec: an_export(),
            label: None,
            total: 1,
            counted: true,
            reservation: Reservation { pool: Pool::Test, month: Month::of(Service::at(0)), requests: 1 },
            created_at: Service::at(0),
            expires_at: Service::at(86_400),
            due_at: Service::at(300),
        });
        let at = |seconds: i64| format!("{:.0}", Service::at(seconds));
        let expected = format!("the queue, or lost; the sweeper sends it at {}", at(300));
        assert!(judged(&job, Service::at(10)).ends_with(&expected), "{}", judged(&job, Service::at(10)));
        assert!(judged(&job, Service::at(301)).ends_with("the sweeper sends it within a minute, if it runs"));
        // Its lease lasts until 600, and it is due ten seconds later.
        let held = job.apply(acquired(), Service::at(10)).unwrap();
        assert!(judged(&held, Service::at(20)).starts_with(&format!("a worker holds it until {}", at(600))));
        let dead = judged(&held, Service::at(605));
        assert!(
            dead.contains("it is dead") && dead.ends_with(&format!("the sweeper sends it at {}", at(610))),
            "{dead}"
        );
    }
}
