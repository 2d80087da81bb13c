//! Tables: items by partition and sort key, an index by `lastUpdated`, pages of 1 MiB, units by size.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, State};

/// The most bytes of one page.
const PAGE: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Tables {
    partitions: HashMap<(String, String), Partition>,
}

#[derive(Default)]
struct Partition {
    items: BTreeMap<String, Arc<Item>>,
    by_last_updated: BTreeMap<(String, String), Arc<Item>>,
    /// Write units that may be taken at once, and when that was.
    tokens: Option<(f64, Instant)>,
}

/// An item as it came.
struct Item {
    raw: Box<str>,
    /// Where in it the text of `body` stands, quotes included.
    body: Option<std::ops::Range<usize>>,
    last_updated: Option<String>,
    size: usize,
}

#[derive(Default, Deserialize)]
struct Text<'a> {
    #[serde(rename = "S", borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "S", borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    pk: Text<'a>,
    #[serde(borrow, default)]
    sk: Text<'a>,
    #[serde(rename = "lastUpdated", borrow)]
    last_updated: Option<Text<'a>>,
    #[serde(borrow)]
    body: Option<Body<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put<'a> {
    #[serde(borrow)]
    item: &'a RawValue,
    table_name: Option<String>,
    #[serde(default)]
    expression_attribute_values: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WriteRequest<'a> {
    #[serde(borrow)]
    put_request: Put<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchWrite<'a> {
    #[serde(borrow)]
    request_items: HashMap<String, Vec<WriteRequest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction<'a> {
    #[serde(borrow)]
    transact_items: Vec<TransactItem<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransactItem<'a> {
    #[serde(borrow)]
    put: Option<Put<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get<'a> {
    table_name: String,
    #[serde(borrow)]
    key: Keys<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query<'a> {
    table_name: String,
    index_name: Option<String>,
    select: Option<String>,
    projection_expression: Option<String>,
    #[serde(default)]
    consistent_read: bool,
    #[serde(borrow)]
    expression_attribute_values: HashMap<String, Text<'a>>,
    #[serde(borrow)]
    exclusive_start_key: Option<Keys<'a>>,
}

pub(super) fn answer(state: &mut State, operation: &str, body: &[u8]) -> Answer {
    if is_overtaken(state, operation, body) {
        let refusal = if operation == "PutItem" {
            json!({"__type": "ConditionalCheckFailedException"})
        } else {
            json!({"__type": "TransactionCanceledException", "CancellationReasons": [{"Code": "ConditionalCheckFailed"}]})
        };
        return Answer { status: hyper::StatusCode::BAD_REQUEST, ..Answer::new(refusal.to_string()) };
    }
    let answered = std::str::from_utf8(body).ok().and_then(|body| match operation {
        "BatchWriteItem" => batch_write(state, body),
        "Query" => query(state, body),
        "PutItem" => {
            let put: Put<'_> = serde_json::from_str(body).ok()?;
            put_job(state, &put)?;
            Some("{}".to_owned())
        }
        "TransactWriteItems" => {
            let transaction: Transaction<'_> = serde_json::from_str(body).ok()?;
            for put in transaction.transact_items.iter().filter_map(|item| item.put.as_ref()) {
                put_job(state, put)?;
            }
            Some("{}".to_owned())
        }
        "GetItem" => get(state, body),
        "BatchGetItem" => Some(r#"{"Responses":{}}"#.to_owned()),
        // Every counter stands at one.
        "UpdateItem" => Some(r#"{"Attributes":{"used":{"N":"1"}}}"#.to_owned()),
        _ => None,
    });
    match answered {
        Some(text) => Answer::new(text).header("content-type", "application/x-amz-json-1.0"),
        None => Answer { status: hyper::StatusCode::BAD_REQUEST, ..Answer::new(r#"{"__type":"ValidationException"}"#) },
    }
}

fn item(raw: &RawValue, keys: &Keys<'_>) -> Item {
    let raw = raw.get();
    let text = keys.body.as_ref().and_then(|body| body.text).map(RawValue::get);
    let body = text.map(|text| {
        let start = text.as_ptr() as usize - raw.as_ptr() as usize;
        start..start + text.len()
    });
    let last_updated = keys.last_updated.as_ref().map(|text| text.text.clone().into_owned());
    // Names and values, as DynamoDB counts them; escapes make the text longer than it is.
    let size = match text {
        Some(text) => text.len() - text.matches('\\').count() + keys.pk.text.len() + keys.sk.text.len() + 24 + 19,
        None => raw.len() * 4 / 5,
    };
    Item { raw: raw.into(), body, last_updated, size }
}

fn units(size: usize, of: usize) -> f64 {
    u32::try_from(size.div_ceil(of)).unwrap_or(u32::MAX).into()
}

/// Whether a write of jobs and segments follows a revision that is no longer the stored one.
fn is_overtaken(state: &State, operation: &str, body: &[u8]) -> bool {
    let puts = match operation {
        "PutItem" => serde_json::from_slice(body).map(|put| vec![put]),
        "TransactWriteItems" => serde_json::from_slice(body).map(|transaction: Transaction<'_>| {
            transaction.transact_items.into_iter().filter_map(|item| item.put).collect()
        }),
        _ => return false,
    };
    puts.unwrap_or_default().iter().any(|put: &Put<'_>| {
        let Some(before) = put.expression_attribute_values.pointer("/:before/N") else { return false };
        let Ok(keys) = serde_json::from_str::<Keys<'_>>(put.item.get()) else { return false };
        let key = (put.table_name.clone().unwrap_or_default(), keys.pk.text.into_owned());
        let stored = state.tables.partitions.get(&key).and_then(|partition| partition.items.get(keys.sk.text.as_ref()));
        let stored = stored.and_then(|item| serde_json::from_str::<Value>(&item.raw).ok());
        stored.is_some_and(|stored| stored.pointer("/revision/N") != Some(before))
    })
}

fn put_job(state: &mut State, put: &Put<'_>) -> Option<()> {
    let keys: Keys<'_> = serde_json::from_str(put.item.get()).ok()?;
    let key = (put.table_name.clone()?, keys.pk.text.clone().into_owned());
    let item = Arc::new(item(put.item, &keys));
    state.tables.partitions.entry(key).or_default().items.insert(keys.sk.text.clone().into_owned(), item);
    state.stats.job_writes += 1;
    Some(())
}

fn get(state: &mut State, body: &str) -> Option<String> {
    let get: Get<'_> = serde_json::from_str(body).ok()?;
    state.stats.job_reads += 1;
    let partition = state.tables.partitions.get(&(get.table_name, get.key.pk.text.into_owned()));
    let item = partition.and_then(|partition| partition.items.get(get.key.sk.text.as_ref()));
    Some(item.map_or_else(|| "{}".to_owned(), |item| format!(r#"{{"Item":{}}}"#, item.raw)))
}

fn batch_write(state: &mut State, body: &str) -> Option<String> {
    let batch: BatchWrite<'_> = serde_json::from_str(body).ok()?;
    let now = Instant::now();
    let rate = state.limits.write_units;
    state.stats.batch_writes += 1;
    let mut refused = String::new();
    for (table, requests) in batch.request_items {
        let mut refused_here = Vec::new();
        for WriteRequest { put_request } in requests {
            let keys: Keys<'_> = serde_json::from_str(put_request.item.get()).ok()?;
            let item = item(put_request.item, &keys);
            let units = units(item.size, 1_024);
            let partition =
                state.tables.partitions.entry((table.clone(), keys.pk.text.clone().into_owned())).or_default();
            if rate > 0.0 {
                let (tokens, at) = partition.tokens.unwrap_or((rate, now));
                let tokens = (tokens + (now - at).as_secs_f64() * rate).min(rate);
                let fits = tokens >= units;
                partition.tokens = Some((if fits { tokens - units } else { tokens }, now));
                if !fits {
                    state.stats.items_refused += 1;
                    refused_here.push(put_request.item.get());
                    continue;
                }
            }
            state.stats.items_written += 1;
            state.stats.write_units += units;
            let (id, item) = (keys.sk.text.clone().into_owned(), Arc::new(item));
            if let Some(old) = partition.items.insert(id.clone(), item.clone())
                && let Some(stamp) = &old.last_updated
            {
                partition.by_last_updated.remove(&(stamp.clone(), id.clone()));
            }
            if let Some(stamp) = item.last_updated.clone() {
                partition.by_last_updated.insert((stamp, id), item);
            }
        }
        if !refused_here.is_empty() {
            let items: Vec<_> =
                refused_here.iter().map(|item| format!(r#"{{"PutRequest":{{"Item":{item}}}}}"#)).collect();
            refused = format!(r#""{table}":[{}]"#, items.join(","));
        }
    }
    Some(format!(r#"{{"UnprocessedItems":{{{refused}}}}}"#))
}

fn query(state: &mut State, body: &str) -> Option<String> {
    let query: Query<'_> = serde_json::from_str(body).ok()?;
    let value = |name: &str| query.expression_attribute_values.get(name).map(|value| value.text.as_ref());
    let counting = query.select.as_deref() == Some("COUNT");
    let hash = value(":slice").or_else(|| value(":partition"))?;
    let key = (query.table_name.clone(), hash.to_owned());
    let after = query.exclusive_start_key.as_ref();
    let empty = Partition::default();
    let partition = state.tables.partitions.get(&key).unwrap_or(&empty);
    let mut size = 0;
    let mut items = Vec::new();
    let mut last: Option<(Option<&str>, &str)> = None;
    let mut more = false;
    let mut take = |item: &Arc<Item>| {
        if size > 0 && size + item.size > PAGE {
            return false;
        }
        size += item.size;
        items.push(item.clone());
        true
    };
    if query.index_name.is_some() {
        let from = match after {
            Some(key) => Bound::Excluded((key.last_updated.as_ref()?.text.to_string(), key.sk.text.to_string())),
            None => Bound::Included((value(":since")?.to_owned(), String::new())),
        };
        let until = value(":until")?;
        for ((stamp, id), item) in partition.by_last_updated.range((from, Bound::Unbounded)) {
            if stamp.as_str() > until {
                break;
            }
            if !take(item) {
                more = true;
                break;
            }
            last = Some((Some(stamp), id));
        }
    } else {
        let prefix = value(":job").unwrap_or_default();
        let from = match after {
            Some(key) => Bound::Excluded(key.sk.text.to_string()),
            None => Bound::Included(prefix.to_owned()),
        };
        for (id, item) in partition.items.range((from, Bound::Unbounded)) {
            if !id.starts_with(prefix) {
                break;
            }
            if !take(item) {
                more = true;
                break;
            }
            last = Some((None, id));
        }
    }
    let units = units(size, 4_096).max(1.0) * if query.consistent_read { 1.0 } else { 0.5 };
    let mut text = String::with_capacity(if counting { 256 } else { size + size / 4 + 256 });
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"{{"Count":{0},"ScannedCount":{0},"ConsumedCapacity":{{"TableName":"t","CapacityUnits":{units:.1}}}"#,
        items.len()
    );
    if !counting {
        text.push_str(r#","Items":["#);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            match item.body.clone().and_then(|body| item.raw.get(body)) {
                Some(body) if query.projection_expression.is_some() => {
                    let _ = write!(text, r#"{{"body":{{"S":{body}}}}}"#);
                }
                _ => text.push_str(&item.raw),
            }
        }
        text.push(']');
    }
    if let Some((stamp, id)) = last.filter(|_| more) {
        let stamp = stamp.map(|stamp| format!(r#","lastUpdated":{{"S":"{stamp}"}}"#)).unwrap_or_default();
        let _ = write!(text, r#","LastEvaluatedKey":{{"pk":{{"S":"{hash}"}},"sk":{{"S":"{id}"}}{stamp}}}"#);
    }
    text.push('}');
    if query.expression_attribute_values.contains_key(":partition") {
        state.stats.job_reads += 1;
    } else if counting {
        state.stats.counts += 1;
    } else {
        state.stats.queries += 1;
        state.stats.read_units += units;
    }
    Some(text)
}
