//! Jobs as items, and back.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Job;
use domain::ports::{DueGroup, PortError, Stage};
use jiff::Timestamp;

use crate::dynamodb::{Item, VERSION, check_version, number, partition_key, read_number, text, time_to_live};
use crate::error::unreadable;

/// The whole job in one attribute, beside it what the store looks at.
pub(super) fn job_item(job: &Job) -> Result<Item, PortError> {
    let content =
        serde_dynamo::to_attribute_value(job).map_err(|_| unreadable("store job", "it cannot be put into an item"))?;
    let mut item = Item::from([
        ("pk".to_owned(), partition_key(job.partition())),
        ("sk".to_owned(), text(job.id().as_str())),
        ("v".to_owned(), number(VERSION)),
        ("revision".to_owned(), number(job.revision())),
        ("job".to_owned(), content),
        ("expiresAt".to_owned(), time_to_live(job.expires_at())),
    ]);
    if let Some(due_at) = job.due_at() {
        item.insert("dueBucket".to_owned(), text(bucket(DueGroup { job_type: job.job_type(), stage: Stage::of(job) })));
        item.insert("dueAt".to_owned(), number(due_at.as_millisecond()));
    }
    Ok(item)
}

pub(super) fn read_job(mut item: Item) -> Result<Job, PortError> {
    check_version("read job", &item)?;
    let broken = || unreadable("read job", "item cannot be read");
    let revision = read_number(&item, "revision").ok_or_else(broken)?;
    let due_at = item.get("dueAt").map(|due_at| milliseconds(due_at).ok_or_else(broken)).transpose()?;
    let content = item.remove("job").ok_or_else(broken)?;
    let job: Job = serde_dynamo::from_attribute_value(content).map_err(|_| broken())?;
    Ok(job.restored(revision, due_at))
}

pub(super) fn milliseconds(value: &AttributeValue) -> Option<Timestamp> {
    Timestamp::from_millisecond(value.as_n().ok()?.parse().ok()?).ok()
}

/// One of the six partitions of the index of due jobs: the sweeper learns from it all that it needs.
pub(super) fn bucket(DueGroup { job_type, stage }: DueGroup) -> String {
    let stage = match stage {
        Stage::Pending => "pending",
        Stage::Started => "started",
        Stage::Ended => "ended",
    };
    format!("{}#{stage}", job_type.as_str())
}
