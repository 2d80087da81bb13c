//! Jobs as items, and back.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use model::Job;
use ports::{DueGroup, PortError, Stage};

use crate::dynamodb::{Item, VERSION, check_version, number, partition_key, read_number, text, time_to_live};
use crate::error::unreadable;

/// The whole job in one attribute, beside it what the store looks at.
pub(super) fn job_item(job: &Job) -> Result<Item, PortError> {
    let mut content =
        serde_dynamo::to_attribute_value(job).map_err(|_| unreadable("store job", "it cannot be put into an item"))?;
    let violations = violations_in(&mut content).and_then(|result| result.remove(VIOLATIONS));
    let mut item = Item::from([
        ("pk".to_owned(), partition_key(job.partition())),
        ("sk".to_owned(), text(job.id().as_str())),
        ("v".to_owned(), number(VERSION)),
        ("revision".to_owned(), number(job.revision())),
        ("job".to_owned(), content),
        ("expiresAt".to_owned(), time_to_live(job.expires_at())),
    ]);
    if let Some(violations) = violations {
        item.insert(VIOLATIONS.to_owned(), violations);
    }
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
    let mut content = item.remove("job").ok_or_else(broken)?;
    if let Some((result, violations)) = violations_in(&mut content).zip(item.remove(VIOLATIONS)) {
        result.insert(VIOLATIONS.to_owned(), violations);
    }
    let job: Job = serde_dynamo::from_attribute_value(content).map_err(|_| broken())?;
    Ok(job.with_revision(revision, due_at))
}

/// The violations of an import lie beside the job, so that lists need not read them.
const VIOLATIONS: &str = "violations";

/// What a list reads of each job.
pub(super) const LISTED: &str = "pk, sk, v, revision, job, dueAt";

/// What of a stored job holds the violations: the result of an import that has completed.
fn violations_in(job: &mut AttributeValue) -> Option<&mut Item> {
    let mut inner = job;
    for name in ["state", "completed", "import"] {
        let AttributeValue::M(members) = inner else { return None };
        inner = members.get_mut(name)?;
    }
    match inner {
        AttributeValue::M(members) => Some(members),
        _ => None,
    }
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
