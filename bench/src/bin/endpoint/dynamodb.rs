//! Tables: items by partition and sort key, pages of 1 MiB, units by size as AWS bills them.

use std::collections::btree_map::Range as ItemRange;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Bound;
use std::time::Instant;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Limits, State};

mod items;

use items::{BatchGet, BatchWrite, Get, Item, Keys, NAMES, Put, Query, Transaction, WriteRequest};

/// The most bytes of one page, and of one partition key's items in one answer to `BatchGetItem`.
const PAGE: usize = 1 << 20;

/// The most bytes of one answer to `BatchGetItem`.
const MAX_ANSWER: usize = 16 << 20;

/// Bytes that one unit covers.
const WRITE_UNIT: usize = 1_024;
const READ_UNIT: usize = 4_096;

/// The tables whose calls are counted, as the benchmarks name them.
const RECORDS: &str = "records";
const JOBS: &str = "jobs";

const THROTTLED: &str = "ProvisionedThroughputExceededException";

#[derive(Default)]
pub(super) struct Tables {
    by_name: HashMap<String, HashMap<String, Partition>>,
    /// Bytes of all items in the table of records.
    record_bytes: usize,
    change_bytes: usize,
}

#[derive(Default)]
struct Partition {
    items: BTreeMap<String, Item>,
    writes: Bucket,
    reads: Bucket,
}

impl Tables {
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.record_bytes, self.change_bytes)
    }

    fn partition(&mut self, table: &str, pk: &str) -> &mut Partition {
        self.by_name.entry(table.to_owned()).or_default().entry(pk.to_owned()).or_default()
    }

    fn get(&self, table: &str, pk: &str, sk: &str) -> Option<&Item> {
        self.by_name.get(table)?.get(pk)?.items.get(sk)
    }

    fn put(&mut self, table: &str, key: &Keys<'_>, item: Item) {
        let (size, is_change) = (item.size, item.is_change());
        let old = self.partition(table, &key.pk.text).items.insert(key.sk.text.to_string(), item);
        if table == RECORDS {
            let bytes = if is_change { &mut self.change_bytes } else { &mut self.record_bytes };
            *bytes += size;
            *bytes -= old.map_or(0, |old| old.size);
        }
    }
}

/// Units that a partition key has left. Empty when the limits were set; it holds those of one second.
#[derive(Default)]
struct Bucket {
    units: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// What there is now.
    fn filled(&mut self, rate: f64, limits: &Limits, now: Instant) -> &mut f64 {
        let (units, at) = match self.at {
            Some(at) if at >= limits.since => (self.units, at),
            _ => (0.0, limits.since),
        };
        self.units = (units + (now - at).as_secs_f64() * rate).min(rate);
        self.at = Some(now);
        &mut self.units
    }

    /// Takes the units of a write; false when they are not there.
    fn take_write(&mut self, units: f64, limits: &Limits, now: Instant) -> bool {
        if limits.write_units <= 0.0 {
            return true;
        }
        let left = self.filled(limits.write_units, limits, now);
        let is_enough = *left >= units;
        if is_enough {
            *left -= units;
        }
        is_enough
    }

    /// A read's units are known when it is done: it may leave a debt.
    fn may_read(&mut self, limits: &Limits, now: Instant) -> bool {
        limits.read_units <= 0.0 || *self.filled(limits.read_units, limits, now) > 0.0
    }
}

pub(super) fn answer(state: &mut State, operation: &str, body: &[u8]) -> Answer {
    let answered = std::str::from_utf8(body).ok().and_then(|body| match operation {
        "BatchWriteItem" => batch_write(state, body),
        "Query" => query(state, body),
        "BatchGetItem" => batch_get(state, body),
        "GetItem" => get(state, body),
        "PutItem" => put_item(state, body),
        "TransactWriteItems" => transact(state, body),
        // Every counter stands at one.
        "UpdateItem" => Some(done(r#"{"Attributes":{"used":{"N":"1"}}}"#)),
        _ => None,
    });
    answered.unwrap_or_else(|| refusal("ValidationException"))
}

/// Whether a `PutItem` goes to the table of records.
pub(super) fn is_put_of_records(body: &[u8]) -> bool {
    const TABLE: &[u8] = br#""TableName":"records""#;
    body.windows(TABLE.len()).any(|window| window == TABLE)
}

fn done(text: impl Into<String>) -> Answer {
    Answer::new(text.into()).header("content-type", "application/x-amz-json-1.0")
}

pub(super) fn refusal(kind: &str) -> Answer {
    done(json!({"__type": kind, "message": kind}).to_string()).with_status(StatusCode::BAD_REQUEST)
}

fn units(size: usize, of: usize) -> f64 {
    u32::try_from(size.div_ceil(of)).unwrap_or(u32::MAX).into()
}

/// Which of [`NAMES`] are projected; `None` for whole items.
fn projected(expression: Option<&str>) -> Option<Vec<usize>> {
    let names = expression?.split(',').map(str::trim);
    Some(names.filter_map(|wanted| NAMES.iter().position(|name| *name == wanted)).collect())
}

/// Whether the write of a job, or of a window, follows a revision that is no longer the stored one.
fn is_overtaken(state: &State, put: &Put<'_>) -> bool {
    let Some(before) = put.expression_attribute_values.pointer("/:before/N") else { return false };
    let (Some(table), Some(keys)) = (&put.table_name, put.keys()) else { return false };
    let stored = state.tables.get(table, &keys.pk.text, &keys.sk.text);
    let stored = stored.and_then(|item| serde_json::from_str::<Value>(&item.raw).ok());
    let is_other =
        |stored: Value| ["/revision/N", "/version/N"].iter().all(|name| stored.pointer(name) != Some(before));
    stored.is_some_and(is_other)
}

fn put_item(state: &mut State, body: &str) -> Option<Answer> {
    let put: Put<'_> = serde_json::from_str(body).ok()?;
    if put.table_name.as_deref() == Some(RECORDS) {
        return put_change(state, &put);
    }
    if is_overtaken(state, &put) {
        return Some(refusal("ConditionalCheckFailedException"));
    }
    put_other(state, &put)?;
    Some(done("{}"))
}

fn put_change(state: &mut State, put: &Put<'_>) -> Option<Answer> {
    let State { tables, stats, limits, .. } = state;
    let (keys, item) = (put.keys()?, Item::new(put.item)?);
    let units = units(item.size, WRITE_UNIT);
    stats.change_puts += 1;
    if !tables.partition(RECORDS, &keys.pk.text).writes.take_write(units, limits, Instant::now()) {
        stats.change_puts_refused += 1;
        return Some(refusal(THROTTLED));
    }
    stats.change_units += units;
    tables.put(RECORDS, &keys, item);
    Some(done("{}"))
}

fn transact(state: &mut State, body: &str) -> Option<Answer> {
    let transaction: Transaction<'_> = serde_json::from_str(body).ok()?;
    let puts: Vec<_> = transaction.transact_items.iter().filter_map(|item| item.put.as_ref()).collect();
    if puts.iter().any(|put| is_overtaken(state, put)) {
        let kind = "TransactionCanceledException";
        let text = json!({"__type": kind, "CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}).to_string();
        return Some(done(text).with_status(StatusCode::BAD_REQUEST));
    }
    for put in puts {
        put_other(state, put)?;
    }
    Some(done("{}"))
}

/// Puts an item of any table but that of records.
fn put_other(state: &mut State, put: &Put<'_>) -> Option<()> {
    let table = put.table_name.as_deref()?;
    state.tables.put(table, &put.keys()?, Item::new(put.item)?);
    state.stats.job_writes += u64::from(table == JOBS);
    Some(())
}

fn get(state: &mut State, body: &str) -> Option<Answer> {
    let Get { table_name, key } = serde_json::from_str(body).ok()?;
    state.stats.job_reads += u64::from(table_name == JOBS);
    let item = state.tables.get(&table_name, &key.pk.text, &key.sk.text);
    Some(item.map_or_else(|| done("{}"), |item| done(format!(r#"{{"Item":{}}}"#, item.raw))))
}

fn batch_write(state: &mut State, body: &str) -> Option<Answer> {
    let batch: BatchWrite<'_> = serde_json::from_str(body).ok()?;
    let State { tables, stats, limits, .. } = state;
    let now = Instant::now();
    stats.batch_writes += 1;
    let mut refused = String::new();
    for (table, requests) in batch.request_items {
        let mut refused_here = Vec::new();
        for WriteRequest { put_request: put } in requests {
            let (keys, item) = (put.keys()?, Item::new(put.item)?);
            let units = units(item.size, WRITE_UNIT);
            if tables.partition(&table, &keys.pk.text).writes.take_write(units, limits, now) {
                stats.items_written += 1;
                stats.write_units += units;
                tables.put(&table, &keys, item);
            } else {
                stats.items_refused += 1;
                refused_here.push(format!(r#"{{"PutRequest":{{"Item":{}}}}}"#, put.item.get()));
            }
        }
        if !refused_here.is_empty() {
            refused = format!(r#""{table}":[{}]"#, refused_here.join(","));
        }
    }
    Some(done(format!(r#"{{"UnprocessedItems":{{{refused}}}}}"#)))
}

/// Answers in no order that helps, and leaves keys out where the answer would become too large, as AWS does.
fn batch_get(state: &mut State, body: &str) -> Option<Answer> {
    let batch: BatchGet<'_> = serde_json::from_str(body).ok()?;
    let State { tables, stats, .. } = state;
    // What is looked up in other tables, nobody has stored.
    let Some(wanted) = batch.request_items.get(RECORDS) else {
        return Some(done(r#"{"Responses":{},"UnprocessedKeys":{}}"#));
    };
    let projection = projected(wanted.projection_expression.as_deref());
    let share = if wanted.consistent_read { 1.0 } else { 0.5 };
    stats.batch_gets += 1;
    stats.keys_asked += wanted.keys.len() as u64;
    let mut bytes_of_keys: HashMap<String, usize> = HashMap::new();
    let (mut bytes, mut items, mut left) = (0, String::new(), Vec::new());
    for raw in wanted.keys.iter().rev() {
        let keys: Keys<'_> = serde_json::from_str(raw.get()).ok()?;
        let Some(item) = tables.get(RECORDS, &keys.pk.text, &keys.sk.text) else {
            stats.read_units += share;
            continue;
        };
        let of_key = bytes_of_keys.entry(keys.pk.text.into_owned()).or_default();
        if bytes + item.size > MAX_ANSWER || *of_key > 0 && *of_key + item.size > PAGE {
            left.push(raw.get());
            continue;
        }
        bytes += item.size;
        *of_key += item.size;
        stats.read_units += units(item.size, READ_UNIT) * share;
        if !items.is_empty() {
            items.push(',');
        }
        item.write(projection.as_deref(), &mut items);
    }
    stats.keys_unprocessed += left.len() as u64;
    let mut unprocessed = String::new();
    if !left.is_empty() {
        let expression = wanted.projection_expression.as_ref();
        let expression = expression.map(|names| format!(r#","ProjectionExpression":"{names}""#)).unwrap_or_default();
        let (keys, consistent) = (left.join(","), wanted.consistent_read);
        unprocessed = format!(r#""{RECORDS}":{{"Keys":[{keys}],"ConsistentRead":{consistent}{expression}}}"#);
    }
    Some(done(format!(r#"{{"UnprocessedKeys":{{{unprocessed}}},"Responses":{{"{RECORDS}":[{items}]}}}}"#)))
}

fn query(state: &mut State, body: &str) -> Option<Answer> {
    let query: Query<'_> = serde_json::from_str(body).ok()?;
    let State { tables, stats, limits, .. } = state;
    let value = |name: &str| query.expression_attribute_values.get(name).map(|value| value.text.as_ref());
    let pk = value(":pk")?;
    let (now, partition) = (Instant::now(), tables.partition(&query.table_name, pk));
    if !partition.reads.may_read(limits, now) {
        stats.queries_refused += 1;
        return Some(refusal(THROTTLED));
    }
    let from = match &query.exclusive_start_key {
        Some(key) => Bound::Excluded(key.sk.text.as_ref()),
        None => Bound::Included(value(":from").unwrap_or_default()),
    };
    let until = value(":until").map_or(Bound::Unbounded, Bound::Included);
    // The map does not take a range that ends before it begins.
    let mut range = match (from, until) {
        (Bound::Excluded(from), Bound::Included(until)) if from >= until => ItemRange::default(),
        (Bound::Included(from), Bound::Included(until)) if from > until => ItemRange::default(),
        bounds => partition.items.range::<str, _>(bounds),
    };
    let is_counting = query.select.as_deref() == Some("COUNT");
    let projection = projected(query.projection_expression.as_deref());
    let most = query.limit.unwrap_or(usize::MAX);
    let capacity = if is_counting || query.limit.is_some() { 1_024 } else { PAGE + PAGE / 2 };
    let mut text = String::with_capacity(capacity);
    text.push_str(if is_counting { "{" } else { r#"{"Items":["# });
    let (mut size, mut count, mut has_more, mut last) = (0, 0, false, None);
    loop {
        if count == most {
            has_more = true;
            break;
        }
        let next = if query.scan_index_forward == Some(false) { range.next_back() } else { range.next() };
        let Some((sk, item)) = next else { break };
        if size > 0 && size + item.size > PAGE {
            has_more = true;
            break;
        }
        if !is_counting {
            if count > 0 {
                text.push(',');
            }
            item.write(projection.as_deref(), &mut text);
        }
        (size, count, last) = (size + item.size, count + 1, Some(sk));
    }
    let units = units(size, READ_UNIT).max(1.0) * if query.consistent_read { 1.0 } else { 0.5 };
    text.push_str(if is_counting { "" } else { "]," });
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#""Count":{count},"ScannedCount":{count},"ConsumedCapacity":{{"TableName":"t","CapacityUnits":{units:.1}}}"#
    );
    if let Some(sk) = last.filter(|_| has_more) {
        let _ = write!(text, r#","LastEvaluatedKey":{{"pk":{{"S":"{pk}"}},"sk":{{"S":"{sk}"}}}}"#);
    }
    text.push('}');
    partition.reads.units -= units;
    if is_counting {
        stats.counts += 1;
        stats.count_units += units;
    } else {
        stats.read_units += units;
        if pk.contains("#changes#") {
            stats.log_queries += 1;
        } else {
            stats.queries += 1;
            stats.query_bytes += size;
        }
    }
    Some(done(text))
}
