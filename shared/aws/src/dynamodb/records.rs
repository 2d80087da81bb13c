//! Records: `pk` is partition, type and shard, `sk` the record's id; `body` is the stored line, byte for
//! byte what an export writes.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, PutRequest, ReturnConsumedCapacity, Select, WriteRequest,
};
use domain::Partition;
use domain::ports::{
    BatchOutcome, CountPage, IndexProbe, Page, PageKey, PortError, ReadRange, RecordStore, Slice, shard_of,
};
use jiff::Timestamp;
use records::{RecordId, ResourceType, StoredLine};

use super::{Item, text};
use crate::error::{port_error, unreadable};

/// What an eventually consistent read takes one unit for: two items of 4 KB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>).
const BYTES_PER_UNIT: f64 = 8_192.0;

/// The same hash key as the table, sorted by `lastUpdated`, with all attributes.
const BY_LAST_UPDATED: &str = "byLastUpdated";

/// The hash key of the index's mark. No partition's begins with `#`: a tenant has a name.
const MARK: &str = "#index-mark";

/// [`RecordStore`] on DynamoDB.
pub struct DynamoRecords {
    reader: Client,
    writer: Client,
    table: String,
}

impl DynamoRecords {
    pub(crate) fn new(reader: Client, writer: Client, table: String) -> Self {
        Self { reader, writer, table }
    }

    fn query(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> QueryFluentBuilder {
        let hash = text(slice_key(partition, slice));
        let query = self.reader.query().table_name(&self.table).expression_attribute_values(":slice", hash.clone());
        let start = |names: &[(&str, &str)]| {
            let mut key = Item::from([("pk".to_owned(), hash.clone())]);
            key.extend(names.iter().map(|(name, value)| ((*name).to_owned(), text(*value))));
            key
        };
        match range {
            ReadRange::All => {
                let from = from.map(|PageKey { id, .. }| start(&[("sk", id)]));
                query.key_condition_expression("pk = :slice").set_exclusive_start_key(from)
            }
            ReadRange::Updated { since, until } => {
                let from = from.map(|PageKey { id, last_updated }| start(&[("lastUpdated", last_updated), ("sk", id)]));
                query
                    .index_name(BY_LAST_UPDATED)
                    .key_condition_expression("pk = :slice AND lastUpdated BETWEEN :since AND :until")
                    .expression_attribute_values(":since", text(format!("{since:.3}")))
                    .expression_attribute_values(":until", text(format!("{until:.3}")))
                    .set_exclusive_start_key(from)
            }
        }
    }
}

pub(crate) fn slice_key(partition: &Partition, slice: Slice) -> String {
    format!("{partition}#{}#{:02}", slice.resource_type, slice.shard)
}

/// Where a page ended, as [`DynamoRecords::query`] reads it.
fn page_key(range: ReadRange, last: Option<&Item>) -> Result<Option<PageKey>, PortError> {
    let Some(last) = last else { return Ok(None) };
    let read = |name| last.get(name).and_then(|value| value.as_s().ok());
    let last_updated = match range {
        // The table's order knows no stamp.
        ReadRange::All => Some(String::new()),
        ReadRange::Updated { .. } => read("lastUpdated").cloned(),
    };
    let key = read("sk").zip(last_updated).map(|(id, last_updated)| PageKey { id: id.clone(), last_updated });
    key.map(Some).ok_or_else(|| unreadable("read records", "page key cannot be read"))
}

fn put(
    partition: &Partition,
    resource_type: ResourceType,
    line: &mut StoredLine,
    stamp: Timestamp,
) -> Option<WriteRequest> {
    let stamp = line.stamp(stamp);
    let slice = Slice { resource_type, shard: shard_of(line.id()) };
    let put = PutRequest::builder()
        .item("pk", text(slice_key(partition, slice)))
        .item("sk", text(line.id().as_str()))
        .item("lastUpdated", text(stamp))
        .item("body", text(line.as_str()))
        .build()
        .ok()?;
    Some(WriteRequest::builder().put_request(put).build())
}

fn id_of(request: &WriteRequest) -> Option<RecordId> {
    let id = request.put_request()?.item().get("sk")?.as_s().ok()?;
    RecordId::try_from(id.clone()).ok()
}

#[async_trait]
impl RecordStore for DynamoRecords {
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError> {
        const OPERATION: &str = "write records";
        let requests = batch.iter_mut().map(|line| put(partition, resource_type, line, stamp));
        let requests: Option<Vec<_>> = requests.collect();
        let requests = requests.ok_or_else(|| unreadable(OPERATION, "request cannot be built"))?;
        let written = self
            .writer
            .batch_write_item()
            .request_items(&self.table, requests)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let unwritten = written.unprocessed_items.unwrap_or_default();
        let ids: Option<Vec<_>> = unwritten.values().flatten().map(id_of).collect();
        let unwritten = ids.ok_or_else(|| unreadable(OPERATION, "unprocessed item cannot be read"))?;
        Ok(BatchOutcome { unwritten })
    }

    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError> {
        const OPERATION: &str = "read records";
        let page = self
            .query(partition, slice, range, from)
            .projection_expression("body")
            // An index cannot be read strongly.
            .consistent_read(range == ReadRange::All)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let next = page_key(range, page.last_evaluated_key())?;
        let body = |mut item: Item| match item.remove("body") {
            Some(AttributeValue::S(line)) => Some(line),
            _ => None,
        };
        let lines: Option<Vec<_>> = page.items.unwrap_or_default().into_iter().map(body).collect();
        Ok(Page { lines: lines.ok_or_else(|| unreadable(OPERATION, "item cannot be read"))?, next })
    }

    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError> {
        const OPERATION: &str = "count records";
        let query = self.query(partition, slice, range, from).select(Select::Count);
        let query = query.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let page = query.send().await.map_err(|error| port_error(OPERATION, &error))?;
        let next = page_key(range, page.last_evaluated_key())?;
        let units = page.consumed_capacity().and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole pages of a megabyte")]
        let bytes = (units * BYTES_PER_UNIT) as u64;
        Ok(CountPage { count: u64::try_from(page.count()).unwrap_or(0), bytes, next })
    }
}

#[async_trait]
impl IndexProbe for DynamoRecords {
    async fn mark(&self, at: Timestamp) -> Result<(), PortError> {
        self.writer
            .put_item()
            .table_name(&self.table)
            .item("pk", text(MARK))
            .item("sk", text(MARK))
            .item("lastUpdated", text(format!("{at:.3}")))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| port_error("mark index", &error))
    }

    async fn latest_mark(&self) -> Result<Option<Timestamp>, PortError> {
        const OPERATION: &str = "look for mark";
        let page = self
            .reader
            .query()
            .table_name(&self.table)
            .index_name(BY_LAST_UPDATED)
            .key_condition_expression("pk = :mark")
            .expression_attribute_values(":mark", text(MARK))
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let Some(item) = page.items().first() else { return Ok(None) };
        let mark = item.get("lastUpdated").and_then(|at| at.as_s().ok()).and_then(|at| at.parse().ok());
        mark.map(Some).ok_or_else(|| unreadable(OPERATION, "item cannot be read"))
    }
}
