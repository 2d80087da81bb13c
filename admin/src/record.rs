//! `clinik-bulk-admin record`: answers the request of the person a record is about.

use std::io::{Write, stderr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;
use engine::{RecordDeleter, SecondLook};
use jiff::{SignedDuration, Timestamp};
use model::{Environment, Job, JobId, JobSpec, Partition, Stamp, TenantId};
use ports::{Clock, JobStore};
use records::{RecordId, ResourceType};
use runtime::{SystemClock, SystemIds};
use serde::Serialize;

use crate::audit::Change;
use crate::output::OutputFormat;
use crate::stores::Stores;

/// How long the tables' point-in-time recovery keeps what was deleted
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html>).
const BACKUPS: SignedDuration = SignedDuration::from_hours(35 * 24);

/// Jobs that are read at a time.
const PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deletes one record, for good. Exports with `since` name it from now on. Waits six minutes and looks again, since a
    /// write that was on its way may bring the record back; then says which jobs, files and backups may still hold it.
    Delete {
        /// The tenant's id.
        tenant: TenantId,
        /// Whose: the test or the live records'.
        environment: Environment,
        /// The record's type, as Patient.
        #[arg(value_name = "TYPE", value_parser = resource_type)]
        resource_type: ResourceType,
        /// The record's id.
        #[arg(value_parser = record_id)]
        id: RecordId,
        /// Seconds to wait before looking again; with fewer than 360 a late write may come after that.
        #[arg(long, value_name = "SECONDS", default_value_t = 360)]
        wait: u64,
    },
}

fn resource_type(text: &str) -> Result<ResourceType, String> {
    text.parse().map_err(|_| "no such resource type".to_owned())
}

fn record_id(text: &str) -> Result<RecordId, String> {
    RecordId::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// What was done, and what may still hold the record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// When the deleted version was written.
    written_at: Timestamp,
    deleted_at: Timestamp,
    second_look: &'static str,
    /// What may hold the record still.
    held: Vec<PossibleCopy>,
}

/// What may hold a record that was deleted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PossibleCopy {
    what: String,
    until: Timestamp,
}

pub(crate) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let Command::Delete { tenant, environment, resource_type, id, wait } = command;
    let tenant = stores.known_tenant(&tenant).await?.id;
    let partition = Partition { tenant, environment };
    let records = Arc::new(stores.records()?);
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let deleter = RecordDeleter { remover: records.clone(), reader: records, clock, ids };
    let Some(written) = deleter.find(&partition, resource_type, &id).await? else {
        bail!("{partition} has no {resource_type} of this id; nothing was deleted");
    };
    let subject = Some(format!("{resource_type}/{id}"));
    let change =
        Change { action: "record.deleted", tenant: &partition.tenant, environment: Some(environment), subject };
    change.write(stores, None::<&()>).await?;
    let stamp = deleter.delete(&partition, resource_type, &id).await?;
    writeln!(stderr(), "deleted; looks again in {wait} s, since a write may be on its way")?;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let look = deleter.look_again(&partition, resource_type, &id, stamp).await?;
    output.print(&Answer {
        written_at: written.moment(),
        deleted_at: stamp.moment(),
        second_look: told(look),
        held: possible_copies(&partition, resource_type, written, stores).await?,
    })?;
    match look {
        SecondLook::StoredAgain(_) => bail!("an import has stored the record after it was deleted: it is there"),
        SecondLook::Gone | SecondLook::DeletedAgain => Ok(()),
    }
}

fn told(look: SecondLook) -> &'static str {
    match look {
        SecondLook::Gone => "gone",
        SecondLook::DeletedAgain => "a late write had brought it back; deleted again",
        SecondLook::StoredAgain(_) => "stored again by an import",
    }
}

/// Jobs whose work or files may hold the record, and the tables' backups.
async fn possible_copies(
    partition: &Partition,
    resource_type: ResourceType,
    written: Stamp,
    stores: &Stores,
) -> Result<Vec<PossibleCopy>> {
    let (jobs, now) = (stores.jobs()?, SystemClock.now());
    let (mut copies, mut after): (Vec<_>, Option<JobId>) = (Vec::new(), None);
    loop {
        let page = jobs.list(partition, after.as_ref(), now, PAGE).await?;
        let of_type = page.jobs.iter().filter(|job| job.spec().resource_types().contains(&resource_type));
        copies.extend(of_type.filter(|job| may_hold(job, written)).map(|job| PossibleCopy {
            what: format!("{} {} ({})", job.job_type().as_str(), job.id(), job.state().name()),
            until: job.expires_at(),
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    copies.push(PossibleCopy { what: "point-in-time recovery of the records table".to_owned(), until: now + BACKUPS });
    Ok(copies)
}

/// An export that had ended before the record was written does not hold it; an import's source may, whatever became of it.
fn may_hold(job: &Job, written: Stamp) -> bool {
    match job.spec() {
        JobSpec::Import { .. } => true,
        JobSpec::Export(_) => job.completed_at().is_none_or(|ended| ended >= written.moment()),
    }
}
