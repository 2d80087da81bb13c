//! The four tables. How an item looks is known here alone; every item carries the version of its form.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use model::Partition;
use ports::PortError;
use serde::de::DeserializeOwned;

use crate::error::{port_error, unreadable};

mod cancelled;
mod changing;
mod jobs;
mod keys;
mod records;
mod usage;

pub use jobs::DynamoJobs;
pub use keys::DynamoKeys;
pub use records::DynamoRecords;
pub(crate) use records::{deletions_key, log_key, shard_key};
pub use usage::DynamoUsage;
pub(crate) use usage::{tenant_prefixes, usage_of};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The version of every item's form, in its attribute `v`.
pub(crate) const VERSION: u64 = 1;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(format!("{value}"))
}

/// What the table's time to live goes by: whole seconds since the epoch. It deletes late, so whoever
/// reads looks at the time as well.
fn time_to_live(at: Timestamp) -> AttributeValue {
    number(at.as_second())
}

fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

pub(crate) fn partition_key(partition: &Partition) -> AttributeValue {
    text(partition.to_string())
}

fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// An item as the last write has left it, if there is one.
async fn get(client: &Client, table: &str, operation: &'static str, key: Item) -> Result<Option<Item>, PortError> {
    let found = client.get_item().table_name(table).set_key(Some(key)).consistent_read(true).send().await;
    Ok(found.map_err(|error| port_error(operation, &error))?.item)
}

/// What an attribute holds, which is taken out of its item.
fn read<T: DeserializeOwned>(operation: &'static str, item: &mut Item, name: &str) -> Result<T, PortError> {
    let content = item.remove(name).and_then(|content| serde_dynamo::from_attribute_value(content).ok());
    content.ok_or_else(|| unreadable(operation, "item cannot be read"))
}

/// Refuses items of a form that this version does not know.
pub(crate) fn check_version(operation: &'static str, item: &Item) -> Result<(), PortError> {
    match read_number(item, "v") {
        Some(VERSION) => Ok(()),
        _ => Err(unreadable(operation, "item has an unknown version")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::records::ResourceType;
    use model::{ChangeLog, Shard};
    use model::{Compression, IdempotencyKey, JobId, KeyPrefix, ObjectKey, Token, UploadId};
    use proptest::prelude::*;

    use super::*;

    fn partition() -> impl Strategy<Value = Partition> {
        // Names that are nearly each other's, and those that look like keys.
        ("[a-b_-]{1,3}|test|live|[A-Za-z0-9_-]{1,64}", "test|live")
            .prop_map(|(tenant, environment)| format!("{tenant}#{environment}").parse().unwrap())
    }

    /// Every key under which something of a partition is stored, with the table it is in.
    fn keys(partition: &Partition, id: u128) -> BTreeSet<(&'static str, String)> {
        let job = JobId::new(Timestamp::UNIX_EPOCH, id);
        let upload = UploadId::new(Timestamp::UNIX_EPOCH, id);
        let client_key = IdempotencyKey::parse(b"test#nightly").unwrap();
        let text_of = |item: Item, name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap();
        let usage = |item: Item| ("usage", format!("{}\n{}", text_of(item.clone(), "pk"), text_of(item, "sk")));
        let shards = ResourceType::ALL.iter().copied().flat_map(Shard::all).map(|shard| shard_key(partition, shard));
        let logs = ResourceType::ALL.iter().copied().flat_map(ChangeLog::all).map(|log| log_key(partition, log));
        let objects = KeyPrefix::of_partition(partition)
            .map(|prefix| prefix.as_str().to_owned())
            .chain([
                ObjectKey::import(partition, &job).as_str().to_owned(),
                ObjectKey::export(partition, &job, &Token::new(id), 0, Compression::None).as_str().to_owned(),
                ObjectKey::upload(partition, &upload).as_str().to_owned(),
            ])
            .map(|key| ("objects", key));
        let deletions = ResourceType::ALL.iter().map(|of| deletions_key(partition, *of));
        shards
            .chain(logs)
            .chain(deletions)
            .map(|key| ("records", key))
            .chain(objects)
            .chain([("jobs", partition.to_string())])
            .chain([
                usage(usage::upload_key(partition, &upload)),
                usage(usage::idempotency_key(partition, &client_key)),
            ])
            .collect()
    }

    proptest! {
        #[test]
        fn no_two_partitions_share_a_key(one in partition(), other in partition(), id: u128) {
            let (ones, others) = (keys(&one, id), keys(&other, id));
            prop_assert_eq!(ones.len(), 62 * (16 + 4 + 1) + 8 + 1 + 2);
            prop_assert_eq!(ones.is_disjoint(&others), one != other);
            if one != other {
                // A prefix is a tool of deleting: it never reaches into another's.
                for prefix in KeyPrefix::of_partition(&one) {
                    let reaches = |key: &str| key.starts_with(prefix.as_str());
                    prop_assert!(!others.iter().any(|(table, key)| *table == "objects" && reaches(key)));
                }
            }
        }
    }
}
