//! Jobs: `pk` is the partition, `sk` the job's id. Another tenant's job cannot even be asked for.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use jiff::Timestamp;
use model::{Job, JobId, Partition, Settlement};
use ports::{
    AcceptError, Acceptance, AcceptanceStore, Cancellation, DueCursor, DueGroup, DueJob, DuePage, DueStore, JobStore,
    ListedJobs, PortError, UpdateError,
};

use super::cancelled::{CONDITION, CONTENTION, cancellation, other, reasons};
use super::usage::{idempotency_item, refunded, reserved, upload_key, window_item};
use super::{Item, get, key, number, partition_key, text};
use crate::error::{port_error, unreadable, was_made};

mod item;

use item::{LISTED, bucket, job_item, milliseconds, read_job};

/// Finds due jobs: sparse, since only items with work left have its keys.
const BY_DUE: &str = "byDue";

/// Jobs on DynamoDB.
pub struct DynamoJobs {
    pub(crate) client: Client,
    pub(crate) jobs_table: String,
    pub(crate) usage_table: String,
}

impl DynamoJobs {
    /// Puts a job on the condition that its revision is the next one of the stored job.
    fn put_next_revision(&self, job: &Job) -> Result<PutBuilder, PortError> {
        let put = Put::builder().table_name(&self.jobs_table).set_item(Some(job_item(job)?));
        Ok(match job.revision() {
            1 => put.condition_expression("attribute_not_exists(pk)"),
            revision => put
                .condition_expression("revision = :before")
                .expression_attribute_values(":before", number(revision.saturating_sub(1))),
        })
    }

    /// One item needs no transaction, which costs twice as much.
    async fn put_one(&self, put: Put) -> Result<(), UpdateError> {
        let sent = self
            .client
            .put_item()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_values(put.expression_attribute_values)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.as_service_error() {
                Some(
                    PutItemError::ConditionalCheckFailedException(_) | PutItemError::TransactionConflictException(_),
                ) => UpdateError::Conflict,
                _ => port_error("update job", &error).into(),
            }),
        }
    }

    /// How many of a partition's jobs have not ended; and until when workers of the others may still write something.
    pub async fn unfinished(
        &self,
        partition: &Partition,
        now: Timestamp,
    ) -> Result<(u64, Option<Timestamp>), PortError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.jobs_table)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", partition_key(partition))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let (mut working, mut writing_until) = (0, None);
        while let Some(item) = items.try_next().await.map_err(|error| port_error("list jobs", &error))? {
            let job = read_job(item)?;
            if job.has_ended() {
                writing_until = writing_until.max(job.due_at());
            } else {
                working += u64::from(job.expires_at() > now);
            }
        }
        Ok((working, writing_until))
    }
}

fn job_key(partition: &Partition, id: &JobId) -> Item {
    key(partition.to_string(), id.as_str())
}

#[async_trait]
impl AcceptanceStore for DynamoJobs {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { job, window, month_limit, upload, idempotency, request_token } = acceptance;
        let broken = |_| unreadable("accept job", "request cannot be built");
        let put = |item: Item, table: &str| Put::builder().table_name(table).set_item(Some(item));

        let job_item = self.put_next_revision(job)?;
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
                .update_expression("SET usedBy = :job")
                .condition_expression("attribute_exists(pk) AND attribute_not_exists(usedBy)")
                .expression_attribute_values(":job", text(job.id().as_str()));
            items.push(TransactWriteItem::builder().update(used.build().map_err(broken)?).build());
        }
        if let Some(write) = idempotency {
            // No job has an empty id.
            let gone = write.gone.as_ref().map_or("", JobId::as_str);
            let entry = put(idempotency_item(partition, &write.key, &write.entry)?, &self.usage_table)
                .condition_expression("attribute_not_exists(pk) OR expiresAtMs <= :now OR jobId = :gone")
                .expression_attribute_values(":now", number(job.created_at().as_millisecond()))
                .expression_attribute_values(":gone", text(gone));
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
            Err(error) => Err(match reasons(&error) {
                Some(reasons) => cancellation(&reasons, upload.is_some())?,
                None => port_error("accept job", &error).into(),
            }),
        }
    }
}

#[async_trait]
impl JobStore for DynamoJobs {
    async fn read(&self, partition: &Partition, id: &JobId) -> Result<Option<Job>, PortError> {
        let found = get(&self.client, &self.jobs_table, "read job", job_key(partition, id)).await?;
        found.map(read_job).transpose()
    }

    async fn update(&self, partition: &Partition, job: &Job, settlement: &Settlement) -> Result<(), UpdateError> {
        let broken = |_| unreadable("update job", "request cannot be built");
        let put = self.put_next_revision(job)?.build().map_err(broken)?;
        let month = match settlement {
            Settlement::None => return self.put_one(put).await,
            Settlement::Reserve { limit } => {
                let reserved = reserved(partition, job.reservation(), *limit, &self.usage_table);
                reserved.ok_or(UpdateError::MonthFull)?
            }
            Settlement::Refund(reservation) => refunded(partition, reservation, &self.usage_table),
        };
        let month = month.build().map_err(broken)?;
        let transaction = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(month).build());
        let Err(error) = transaction.send().await else { return Ok(()) };
        let Some(reasons) = reasons(&error) else { return Err(port_error("update job", &error).into()) };
        Err(if reasons.first() == Some(&CONDITION) || reasons.contains(&CONTENTION) {
            UpdateError::Conflict
        } else if reasons.get(1) == Some(&CONDITION) {
            UpdateError::MonthFull
        } else {
            other("update job", &reasons).into()
        })
    }
    async fn list(
        &self,
        partition: &Partition,
        after: Option<&JobId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListedJobs, PortError> {
        const OPERATION: &str = "list jobs";
        let listed = self
            .client
            .query()
            .table_name(&self.jobs_table)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", partition_key(partition))
            .scan_index_forward(false)
            .consistent_read(true)
            .projection_expression(LISTED)
            .set_exclusive_start_key(after.map(|after| job_key(partition, after)))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let next = listed.last_evaluated_key().map(|key| key.get("sk").and_then(|id| id.as_s().ok()?.parse().ok()));
        let next = next.map(|id| id.ok_or_else(|| unreadable(OPERATION, "key names no job"))).transpose()?;
        let items = listed.items.unwrap_or_default().into_iter();
        // One that cannot be read is in no other's way; whoever works on it or asks for it is told.
        let jobs =
            items.filter_map(|item| read_job(item).inspect_err(|error| tracing::error!(%error, "list jobs")).ok());
        Ok(ListedJobs { jobs: jobs.filter(|job| job.is_shown(now)).collect(), next })
    }

    async fn delete(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        let delete = self.client.delete_item().table_name(&self.jobs_table);
        let deleted = delete.set_key(Some(job_key(partition, id))).send().await;
        deleted.map(|_| ()).map_err(|error| port_error("delete job", &error))
    }
}

#[async_trait]
impl DueStore for DynamoJobs {
    async fn due(
        &self,
        group: DueGroup,
        now: Timestamp,
        after: Option<&DueCursor>,
        limit: usize,
    ) -> Result<DuePage, PortError> {
        let bucket = text(bucket(group));
        let after = after.map(|after| {
            let due_at = number(after.due_at.as_millisecond());
            let keys = [("pk", text(after.partition.as_str())), ("sk", text(after.job_id.as_str())), ("dueAt", due_at)];
            let keys = keys.into_iter().chain([("dueBucket", bucket.clone())]);
            keys.map(|(name, value)| (name.to_owned(), value)).collect()
        });
        let found = self
            .client
            .query()
            .table_name(&self.jobs_table)
            .index_name(BY_DUE)
            .key_condition_expression("dueBucket = :bucket AND dueAt <= :now")
            .expression_attribute_values(":bucket", bucket)
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .set_exclusive_start_key(after)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| port_error("find due jobs", &error))?;
        let place = |item: &Item| {
            let read = |name| item.get(name)?.as_s().ok().cloned();
            let due_at = milliseconds(item.get("dueAt")?)?;
            Some(DueCursor { due_at, partition: read("pk")?, job_id: read("sk")? })
        };
        let due = |item: &Item| {
            let DueCursor { due_at, partition, job_id } = place(item)?;
            Some(DueJob { partition: partition.parse().ok()?, job_id: job_id.parse().ok()?, group, due_at })
        };
        let jobs: Vec<_> = found.items().iter().filter_map(due).collect();
        let unreadable = (found.items().len() - jobs.len()) as u64;
        if unreadable > 0 {
            tracing::error!(unreadable, "due items name no job");
        }
        Ok(DuePage { jobs, unreadable, next: found.last_evaluated_key().and_then(place) })
    }

    async fn oldest(&self, group: DueGroup) -> Result<Option<Timestamp>, PortError> {
        const OPERATION: &str = "look at oldest job";
        let mut items = self
            .client
            .query()
            .table_name(&self.jobs_table)
            .index_name(BY_DUE)
            .key_condition_expression("dueBucket = :bucket")
            .expression_attribute_values(":bucket", text(bucket(group)))
            .projection_expression("sk")
            .into_paginator()
            .items()
            .send();
        let mut oldest: Option<JobId> = None;
        while let Some(item) = items.try_next().await.map_err(|error| port_error(OPERATION, &error))? {
            // Ids sort by time. Keys that name no job are told where due jobs are read.
            let id: Option<JobId> = item.get("sk").and_then(|id| id.as_s().ok()?.parse().ok());
            if let Some(id) = id.filter(|id| oldest.as_ref().is_none_or(|oldest| id < oldest)) {
                oldest = Some(id);
            }
        }
        Ok(oldest.map(|id| id.created_at()))
    }

    async fn postpone(&self, due: &DueJob, until: Timestamp) -> Result<bool, PortError> {
        let moved = self
            .client
            .update_item()
            .table_name(&self.jobs_table)
            .key("pk", partition_key(&due.partition))
            .key("sk", text(due.job_id.as_str()))
            .update_expression("SET dueAt = :until")
            .condition_expression("dueAt = :found OR dueAt = :until")
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":found", number(due.due_at.as_millisecond()))
            .send()
            .await;
        was_made("postpone job", moved)
    }
}
