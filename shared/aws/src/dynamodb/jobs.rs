//! Jobs: `pk` is the partition, `sk` the job's id. Another tenant's job cannot even be asked for.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Put, TransactWriteItem, Update};
use domain::ports::{AcceptError, Acceptance, Cancellation, DueJob, JobStore, PortError, Settlement, UpdateError};
use domain::{Job, JobId, JobType, Partition};
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::usage::{idempotency_item, refunded, reserved, upload_key, window_item};
use super::{Item, VERSION, check_version, number, partition_key, read_number, text, time_to_live};
use crate::error::{port_error, unreadable};

/// Finds due jobs: sparse, since only items with work left have its keys.
const BY_DUE: &str = "byDue";

/// Jobs of one type are spread over so many partitions of the index.
const BUCKETS_PER_TYPE: u64 = 2;

/// [`JobStore`] on DynamoDB.
pub struct DynamoJobs {
    client: Client,
    jobs_table: String,
    usage_table: String,
}

impl DynamoJobs {
    pub(crate) fn new(client: Client, jobs_table: String, usage_table: String) -> Self {
        Self { client, jobs_table, usage_table }
    }

    fn item(job: &Job) -> Result<Item, PortError> {
        let content: AttributeValue = serde_dynamo::to_attribute_value(job)
            .map_err(|_| unreadable("store job", "job cannot be put into an item"))?;
        let mut item = Item::from([
            ("pk".to_owned(), partition_key(job.partition())),
            ("sk".to_owned(), text(job.id().as_str())),
            ("v".to_owned(), number(VERSION)),
            ("revision".to_owned(), number(job.revision())),
            ("job".to_owned(), content),
            ("expiresAt".to_owned(), time_to_live(job.expires_at())),
        ]);
        if let Some(due_at) = job.due_at() {
            item.insert("dueBucket".to_owned(), text(bucket_of(job)));
            item.insert("dueAt".to_owned(), number(due_at.as_millisecond()));
        }
        Ok(item)
    }

    fn job(mut item: Item) -> Result<Job, PortError> {
        check_version("read job", &item)?;
        let broken = || unreadable("read job", "item cannot be read");
        let revision = read_number(&item, "revision").ok_or_else(broken)?;
        let due_at = item.get("dueAt").map(|due_at| milliseconds(due_at).ok_or_else(broken)).transpose()?;
        let content = item.remove("job").ok_or_else(broken)?;
        let job: Job = serde_dynamo::from_attribute_value(content).map_err(|_| broken())?;
        Ok(job.restored(revision, due_at))
    }

    async fn due_in(
        &self,
        job_type: JobType,
        bucket: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueJob>, PortError> {
        let found = self
            .client
            .query()
            .table_name(&self.jobs_table)
            .index_name(BY_DUE)
            .key_condition_expression("dueBucket = :bucket AND dueAt <= :now")
            .expression_attribute_values(":bucket", text(bucket_name(job_type, bucket)))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| port_error("find due jobs", &error))?;
        found
            .items()
            .iter()
            .map(|item| {
                let read = |name| item.get(name).and_then(|value| value.as_s().ok());
                let due = || {
                    Some(DueJob {
                        partition: read("pk")?.parse().ok()?,
                        id: read("sk")?.parse().ok()?,
                        job_type,
                        due_at: milliseconds(item.get("dueAt")?)?,
                    })
                };
                due().ok_or_else(|| unreadable("find due jobs", "item cannot be read"))
            })
            .collect()
    }
}

fn milliseconds(value: &AttributeValue) -> Option<Timestamp> {
    Timestamp::from_millisecond(value.as_n().ok()?.parse().ok()?).ok()
}

fn bucket_name(job_type: JobType, bucket: u64) -> String {
    format!("{}#{bucket}", job_type.as_str())
}

fn bucket_of(job: &Job) -> String {
    // The last character of the id is random.
    let last = job.id().as_str().bytes().last().unwrap_or_default();
    bucket_name(job.job_type(), u64::from(last) % BUCKETS_PER_TYPE)
}

#[async_trait]
impl JobStore for DynamoJobs {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { job, window, month_limit, upload, idempotency, request_token } = acceptance;
        let broken = |_| unreadable("accept job", "request cannot be built");
        let put = |item: Item, table: &str| Put::builder().table_name(table).set_item(Some(item));

        let job_item = put(Self::item(job)?, &self.jobs_table).condition_expression("attribute_not_exists(pk)");
        let window_item = put(window_item(&partition.tenant, window), &self.usage_table);
        let window_item = if window.version == 1 {
            window_item.condition_expression("attribute_not_exists(pk)")
        } else {
            window_item
                .condition_expression("version = :before")
                .expression_attribute_values(":before", number(window.version - 1))
        };
        let Some(month) = reserved(partition, job.reservation(), *month_limit, &self.usage_table) else {
            return Err(AcceptError::Cancelled(Cancellation { month_full: true, ..Cancellation::default() }));
        };
        let mut items = vec![
            TransactWriteItem::builder().put(job_item.build().map_err(broken)?).build(),
            TransactWriteItem::builder().put(window_item.build().map_err(broken)?).build(),
            TransactWriteItem::builder().update(month.build().map_err(broken)?).build(),
        ];
        if let Some(upload) = upload {
            let used = Update::builder()
                .table_name(&self.usage_table)
                .set_key(Some(upload_key(partition, upload)))
                .update_expression("SET used = :used")
                .condition_expression("attribute_exists(pk) AND used = :unused")
                .expression_attribute_values(":used", AttributeValue::Bool(true))
                .expression_attribute_values(":unused", AttributeValue::Bool(false));
            items.push(TransactWriteItem::builder().update(used.build().map_err(broken)?).build());
        }
        if let Some((key, entry)) = idempotency {
            let entry = put(idempotency_item(partition, key, entry), &self.usage_table)
                .condition_expression("attribute_not_exists(pk) OR expiresAtMs <= :now")
                .expression_attribute_values(":now", number(job.created_at().as_millisecond()));
            items.push(TransactWriteItem::builder().put(entry.build().map_err(broken)?).build());
        }
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(request_token)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(match cancellation_reasons(&error) {
                Some(reasons) => cancellation(reasons, upload.is_some())?,
                None => port_error("accept job", &error).into(),
            }),
        }
    }

    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.jobs_table)
            .key("pk", partition_key(partition))
            .key("sk", text(id.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| port_error("read job", &error))?;
        let job = found.item.map(Self::job).transpose()?;
        Ok(job.filter(|job| job.expires_at() > now))
    }

    async fn update(&self, partition: &Partition, job: &Job, settlement: Settlement) -> Result<(), UpdateError> {
        const FOLLOWS: &str = "revision = :before";
        let item = Self::item(job)?;
        let before = number(job.revision().saturating_sub(1));
        let month = match &settlement {
            Settlement::None => None,
            Settlement::Reserve { reservation, limit } => {
                Some(reserved(partition, reservation, *limit, &self.usage_table).ok_or(UpdateError::MonthFull)?)
            }
            Settlement::Refund(reservation) => Some(refunded(partition, reservation, &self.usage_table)),
        };
        let Some(month) = month else {
            let put = self
                .client
                .put_item()
                .table_name(&self.jobs_table)
                .set_item(Some(item))
                .condition_expression(FOLLOWS)
                .expression_attribute_values(":before", before);
            return match put.send().await {
                Ok(_) => Ok(()),
                Err(error)
                    if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) =>
                {
                    Err(UpdateError::Conflict)
                }
                Err(error) => Err(port_error("update job", &error).into()),
            };
        };
        let broken = |_| unreadable("update job", "request cannot be built");
        let put = Put::builder()
            .table_name(&self.jobs_table)
            .set_item(Some(item))
            .condition_expression(FOLLOWS)
            .expression_attribute_values(":before", before);
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put.build().map_err(broken)?).build())
            .transact_items(TransactWriteItem::builder().update(month.build().map_err(broken)?).build())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(match cancellation_reasons(&error) {
                Some(reasons) if reason(reasons, 0) == Reason::Condition => UpdateError::Conflict,
                Some(reasons) if reason(reasons, 1) == Reason::Condition => UpdateError::MonthFull,
                Some(_) => UpdateError::Port(PortError::Unavailable {
                    operation: "update job",
                    cause: "transaction was cancelled".into(),
                }),
                None => UpdateError::Port(port_error("update job", &error)),
            }),
        }
    }

    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<DueJob>, PortError> {
        let buckets: FuturesUnordered<_> =
            (0..BUCKETS_PER_TYPE).map(|bucket| self.due_in(job_type, bucket, now, limit)).collect();
        let mut due: Vec<_> = buckets.try_concat().await?;
        due.sort_by_key(|due| due.due_at);
        due.truncate(limit);
        Ok(due)
    }

    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError> {
        let moved = self
            .client
            .update_item()
            .table_name(&self.jobs_table)
            .key("pk", partition_key(&due.partition))
            .key("sk", text(due.id.as_str()))
            .update_expression("SET dueAt = :until")
            .condition_expression("dueAt = :found")
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":found", number(due.due_at.as_millisecond()))
            .send()
            .await;
        match moved {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(port_error("postpone job", &error)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    None,
    Condition,
    Contention,
    Other,
}

fn cancellation_reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// Why the transaction's item of that index was refused.
fn reason(reasons: &[CancellationReason], index: usize) -> Reason {
    match reasons.get(index).and_then(CancellationReason::code) {
        None | Some("None") => Reason::None,
        Some("ConditionalCheckFailed") => Reason::Condition,
        Some("TransactionConflict") => Reason::Contention,
        Some(_) => Reason::Other,
    }
}

/// The conditions that failed, by the order of the items in `accept`. A cancellation for another
/// reason (throttling, say) is a port's error.
fn cancellation(reasons: &[CancellationReason], with_upload: bool) -> Result<AcceptError, PortError> {
    let all: Vec<_> = (0..reasons.len()).map(|index| reason(reasons, index)).collect();
    let failed = |index: usize| all.get(index) == Some(&Reason::Condition);
    let cancellation = Cancellation {
        job_exists: failed(0),
        window_changed: failed(1),
        month_full: failed(2),
        upload_unusable: with_upload && failed(3),
        idempotency_key_used: failed(if with_upload { 4 } else { 3 }),
        contention: all.contains(&Reason::Contention),
    };
    if cancellation == Cancellation::default() {
        return Err(PortError::Unavailable { operation: "accept job", cause: "transaction was cancelled".into() });
    }
    Ok(AcceptError::Cancelled(cancellation))
}
