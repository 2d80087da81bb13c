//! Records and their change log, in one table without an index.
//!
//! A record: `pk` is partition, type and shard, `sk` the record's id, `t` its stamp. A change item: `pk` is partition,
//! type and log, `sk` the stamp, `n` how many ids it names, `e` its time to live. A deletion: `pk` is partition and type,
//! `sk` the record's id, `t` the stamp. The stored line, or the ids, are in `b` as text or in `z` deflated, in bytes both.
//! The names are short, since DynamoDB bills them.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, Select, WriteRequest,
};
use model::{CHANGE_RETENTION, ChangeGroup, ChangeItem, ChangeLog, Deletion, Partition, Shard, Stamp, after, shard_of};
use ports::{
    BatchOutcome, CountPage, FoundRecords, MAX_GROUP, Page, PortError, RecordReader, RecordRemover, RecordWriter,
    StoredRecord,
};
use records::{PackedLine, Packer, RecordId, ResourceType, StoredLine, Unpacker};

use super::{Item, key, number, read_number, text, time_to_live};
use crate::error::{port_error, unreadable, was_made};

/// What a number of 25 digits takes, with the attribute's name: two digits a byte, and one
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
const STAMP_BYTES: usize = 1 + 14;

/// What `n` and `e` take.
const CHANGE_BYTES: usize = 1 + 3 + 1 + 6;

/// `pk` and `sk` themselves, and the name of `b` or `z`.
const NAME_BYTES: usize = 2 + 2 + 1;

/// Change items of one page: their ids are looked up one item after the other.
const CHANGES_PER_PAGE: i32 = 100;

/// Records and their change log on DynamoDB.
pub struct DynamoRecords {
    pub(crate) reader: Client,
    /// Tries of 3 s, and no retries of its own: no try may start under an old stamp.
    pub(crate) writer: Client,
    pub(crate) table: String,
    pub(crate) packer: Mutex<Packer>,
}

impl DynamoRecords {
    /// The line as the attribute that takes fewer write units, the rest of the item being of `other` bytes.
    fn pack(&self, line: &str, other: usize) -> (String, AttributeValue) {
        match self.packer.lock().unwrap_or_else(PoisonError::into_inner).pack(line, other) {
            // As bytes: the SDK writes them as base64, where a string would be escaped, every quote of it.
            PackedLine::Text(line) => ("b".to_owned(), AttributeValue::B(Blob::new(line))),
            PackedLine::Deflated(deflated) => ("z".to_owned(), AttributeValue::B(Blob::new(deflated))),
        }
    }

    fn put(&self, partition: &Partition, group: &ChangeGroup, line: &mut StoredLine) -> Option<WriteRequest> {
        line.stamp(group.stamp.moment());
        let pk = record_key(partition, group.log.resource_type, line.id());
        let other = NAME_BYTES + pk.len() + line.id().as_str().len() + STAMP_BYTES;
        let (name, packed) = self.pack(line.as_str(), other);
        let put = PutRequest::builder()
            .item("pk", text(pk))
            .item("sk", text(line.id().as_str()))
            .item("t", number(group.stamp))
            .item(name, packed)
            .build()
            .ok()?;
        Some(WriteRequest::builder().put_request(put).build())
    }

    fn query(&self, pk: String) -> QueryFluentBuilder {
        let query = self.reader.query().table_name(&self.table);
        let query = query.expression_attribute_values(":pk", text(pk));
        query.return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// What lies under a key by ids of records, from the beginning or after one.
    fn query_ids(&self, pk: String, after: Option<&RecordId>) -> QueryFluentBuilder {
        let start = after.map(|id| key(pk.clone(), id.as_str()));
        self.query(pk).key_condition_expression("pk = :pk").set_exclusive_start_key(start)
    }

    fn query_log(&self, partition: &Partition, log: ChangeLog, from: Stamp, until: Stamp) -> QueryFluentBuilder {
        self.query(log_key(partition, log))
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :until")
            .expression_attribute_values(":from", text(from.to_string()))
            .expression_attribute_values(":until", text(until.to_string()))
    }
}

pub(crate) fn shard_key(partition: &Partition, Shard { resource_type, number }: Shard) -> String {
    format!("{partition}#{resource_type}#{number:02}")
}

pub(crate) fn log_key(partition: &Partition, ChangeLog { resource_type, number }: ChangeLog) -> String {
    format!("{partition}#{resource_type}#changes#{number}")
}

pub(crate) fn deletions_key(partition: &Partition, resource_type: ResourceType) -> String {
    format!("{partition}#{resource_type}#deleted")
}

fn record_key(partition: &Partition, resource_type: ResourceType, id: &RecordId) -> String {
    shard_key(partition, Shard { resource_type, number: shard_of(id) })
}

fn read_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn read_packed(item: &mut Item) -> Option<PackedLine> {
    match (item.remove("b"), item.remove("z")) {
        (Some(AttributeValue::B(line)), None) => String::from_utf8(line.into_inner()).ok().map(PackedLine::Text),
        (None, Some(AttributeValue::B(deflated))) => Some(PackedLine::Deflated(deflated.into_inner())),
        _ => None,
    }
}

fn read_record(mut item: Item) -> Option<StoredRecord> {
    let stamp = item.get("t")?.as_n().ok()?.parse().ok()?;
    let line = read_packed(&mut item)?;
    let Some(AttributeValue::S(id)) = item.remove("sk") else { return None };
    Some(StoredRecord { id: RecordId::try_from(id).ok()?, stamp, line })
}

fn read_deletion(item: &Item) -> Option<Deletion> {
    Some(Deletion { id: read_id(item)?, stamp: item.get("t")?.as_n().ok()?.parse().ok()? })
}

fn read_change(mut item: Item, unpacker: &mut Unpacker) -> Option<ChangeItem> {
    let packed = read_packed(&mut item)?;
    let ids = std::str::from_utf8(unpacker.unpack(&packed).ok()?).ok()?;
    let ids: Option<Vec<_>> = ids.split(',').map(|id| RecordId::try_from(id.to_owned()).ok()).collect();
    Some(ChangeItem { stamp: read_text(&item, "sk")?.parse().ok()?, ids: ids? })
}

fn read_id(item: &Item) -> Option<RecordId> {
    RecordId::try_from(read_text(item, "sk")?.to_owned()).ok()
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0)
}

/// A page of what a query finds, as the last writes have left it.
async fn page<T>(
    operation: &'static str,
    query: QueryFluentBuilder,
    read: impl FnMut(Item) -> Option<T> + Send,
) -> Result<Page<T>, PortError> {
    let page = query.consistent_read(true).send().await.map_err(|error| port_error(operation, &error))?;
    let (has_more, units) = (page.last_evaluated_key.is_some(), units(page.consumed_capacity.as_ref()));
    let items: Option<Vec<_>> = page.items.unwrap_or_default().into_iter().map(read).collect();
    Ok(Page { items: items.ok_or_else(|| unreadable(operation, "item cannot be read"))?, has_more, units })
}

#[async_trait]
impl RecordWriter for DynamoRecords {
    async fn log_changes(&self, partition: &Partition, group: &ChangeGroup, ids: &[RecordId]) -> Result<(), PortError> {
        let (pk, sk) = (log_key(partition, group.log), group.stamp.to_string());
        let other = NAME_BYTES + pk.len() + sk.len() + CHANGE_BYTES;
        let ids: Vec<_> = ids.iter().map(RecordId::as_str).collect();
        let (name, packed) = self.pack(&ids.join(","), other);
        self.writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key(pk, sk)))
            .item("n", number(ids.len()))
            .item("e", time_to_live(after(group.stamp.moment(), CHANGE_RETENTION)))
            .item(name, packed)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| port_error("log changes", &error))
    }

    async fn write_batch(
        &self,
        partition: &Partition,
        group: &ChangeGroup,
        batch: &mut [StoredLine],
    ) -> Result<BatchOutcome, PortError> {
        const OPERATION: &str = "write records";
        let requests: Option<Vec<_>> = batch.iter_mut().map(|line| self.put(partition, group, line)).collect();
        let requests = requests.ok_or_else(|| unreadable(OPERATION, "request cannot be built"))?;
        let written = self
            .writer
            .batch_write_item()
            .request_items(&self.table, requests)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let unwritten = written.unprocessed_items.unwrap_or_default();
        let id_of = |request: &WriteRequest| read_id(request.put_request()?.item());
        let ids: Option<Vec<_>> = unwritten.values().flatten().map(id_of).collect();
        let unwritten = ids.ok_or_else(|| unreadable(OPERATION, "unprocessed item cannot be read"))?;
        Ok(BatchOutcome { unwritten })
    }
}

#[async_trait]
impl RecordReader for DynamoRecords {
    async fn read(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<Page<StoredRecord>, PortError> {
        let query = self.query_ids(shard_key(partition, shard), after).projection_expression("sk, t, b, z");
        page("read records", query, read_record).await
    }

    async fn count(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<CountPage<RecordId>, PortError> {
        const OPERATION: &str = "count records";
        let query = self.query_ids(shard_key(partition, shard), after).select(Select::Count);
        let page = query.send().await.map_err(|error| port_error(OPERATION, &error))?;
        let broken = || unreadable(OPERATION, "page key cannot be read");
        let next = page.last_evaluated_key().map(|key| read_id(key).ok_or_else(broken)).transpose()?;
        Ok(CountPage { count: u64::try_from(page.count()).unwrap_or(0), next, units: units(page.consumed_capacity()) })
    }

    async fn newest_change(&self, partition: &Partition, log: ChangeLog) -> Result<Option<Stamp>, PortError> {
        const OPERATION: &str = "read newest change";
        let query = self.query(log_key(partition, log)).key_condition_expression("pk = :pk");
        let page = query
            .consistent_read(true)
            .scan_index_forward(false)
            .projection_expression("sk")
            .limit(1)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let stamp = |item: &Item| read_text(item, "sk")?.parse().ok();
        let newest = page.items().first();
        newest.map(|item| stamp(item).ok_or_else(|| unreadable(OPERATION, "item cannot be read"))).transpose()
    }

    async fn changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<Page<ChangeItem>, PortError> {
        let query = self.query_log(partition, log, from, until).limit(CHANGES_PER_PAGE);
        let mut unpacker = Unpacker::default();
        let page = page("read changes", query, |item| read_change(item, &mut unpacker)).await?;
        Ok(Page { has_more: page.has_more && !page.items.is_empty(), ..page })
    }

    async fn count_changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<CountPage<Stamp>, PortError> {
        const OPERATION: &str = "count changes";
        let query = self.query_log(partition, log, from, until).projection_expression("n");
        let page = query.send().await.map_err(|error| port_error(OPERATION, &error))?;
        let broken = || unreadable(OPERATION, "item cannot be read");
        let counts: Option<Vec<_>> = page.items().iter().map(|item| read_number(item, "n")).collect();
        let last = |key: &Item| read_text(key, "sk")?.parse().ok().map(Stamp::next);
        let next = page.last_evaluated_key().map(|key| last(key).ok_or_else(broken)).transpose()?;
        let count = counts.ok_or_else(broken)?.iter().sum();
        Ok(CountPage { count, next, units: units(page.consumed_capacity()) })
    }

    async fn deletions(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        after: Option<&RecordId>,
    ) -> Result<Page<Deletion>, PortError> {
        let query = self.query_ids(deletions_key(partition, resource_type), after);
        let query = query.limit(i32::try_from(MAX_GROUP).unwrap_or(i32::MAX));
        let page = page("read deletions", query, |item| read_deletion(&item)).await?;
        Ok(Page { has_more: page.has_more && !page.items.is_empty(), ..page })
    }

    async fn find(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        ids: &[RecordId],
    ) -> Result<FoundRecords, PortError> {
        const OPERATION: &str = "find records";
        let keys = ids.iter().map(|id| key(record_key(partition, resource_type, id), id.as_str())).collect();
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .projection_expression("sk, t, b, z")
            .build()
            .map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
        let found = self
            .reader
            .batch_get_item()
            .request_items(&self.table, wanted)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let broken = || unreadable(OPERATION, "item cannot be read");
        let unprocessed = found.unprocessed_keys.unwrap_or_default();
        let unprocessed = unprocessed.values().flat_map(KeysAndAttributes::keys);
        let unprocessed: Option<Vec<_>> = unprocessed.map(read_id).collect();
        let items = found.responses.unwrap_or_default().into_values().flatten();
        let records: Option<Vec<_>> = items.map(read_record).collect();
        Ok(FoundRecords { records: records.ok_or_else(broken)?, unprocessed: unprocessed.ok_or_else(broken)? })
    }
}

#[async_trait]
impl RecordRemover for DynamoRecords {
    async fn log_deletion(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError> {
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key(deletions_key(partition, resource_type), deletion.id.as_str())))
            .item("t", number(deletion.stamp))
            // A try that arrives late must not put an earlier moment in place of a later one.
            .condition_expression("attribute_not_exists(pk) OR t < :t")
            .expression_attribute_values(":t", number(deletion.stamp));
        was_made("log deletion", put.send().await).map(|_| ())
    }

    async fn delete_record(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        Deletion { id, stamp }: &Deletion,
    ) -> Result<(), PortError> {
        let delete = self
            .writer
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(record_key(partition, resource_type, id), id.as_str())))
            .condition_expression("attribute_not_exists(pk) OR t <= :t")
            .expression_attribute_values(":t", number(stamp));
        was_made("delete record", delete.send().await).map(|_| ())
    }
}
