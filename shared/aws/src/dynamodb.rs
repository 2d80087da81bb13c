//! The four tables. How an item looks is known here alone; every item carries the version of its form.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Partition;
use domain::ports::PortError;
use jiff::Timestamp;

use crate::error::unreadable;

mod jobs;
mod keys;
mod records;
mod usage;

pub use jobs::DynamoJobs;
pub use keys::DynamoKeys;
pub use records::DynamoRecords;
pub(crate) use records::slice_key;
pub use usage::DynamoUsage;

type Item = HashMap<String, AttributeValue>;

/// The version of every item's form, in its attribute `v`.
const VERSION: u64 = 1;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(format!("{value}"))
}

/// What the table's time to live goes by: whole seconds since the epoch. It deletes late, so whoever
/// reads looks at the time as well.
fn time_to_live(at: Timestamp) -> AttributeValue {
    number(at.as_second())
}

pub(crate) fn partition_key(partition: &Partition) -> AttributeValue {
    text(partition.to_string())
}

fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Refuses items of a form that this version does not know.
fn check_version(operation: &'static str, item: &Item) -> Result<(), PortError> {
    match read_number(item, "v") {
        Some(VERSION) => Ok(()),
        _ => Err(unreadable(operation, "item has an unknown version")),
    }
}
