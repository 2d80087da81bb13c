//! Forgetting a partition: an operator's work, with an operator's permissions. No function can do it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use model::{ChangeLog, KeyPrefix, Partition, Shard};
use ports::{FileRemover, MAX_BATCH, PortError};
use records::ResourceType;

use crate::S3Objects;
use crate::dynamodb::{deletions_key, log_key, partition_key, shard_key, tenant_prefixes, text, usage_of};
use crate::error::{port_error, unreadable};

/// Deletes what a partition has: records, changes, jobs, idempotency entries, uploads and files.
pub struct Purge {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) files: S3Objects,
    pub(crate) jobs_table: String,
    pub(crate) records_table: String,
    pub(crate) usage_table: String,
    /// Whether nothing is deleted, and the first of what there is is counted.
    pub(crate) only_looks: bool,
}

impl Purge {
    /// One that deletes nothing: its counts are zero where nothing is left, and no more than that.
    #[must_use]
    pub fn looking(self) -> Self {
        Self { only_looks: true, ..self }
    }

    /// Deletes the records of a shard; returns how many there were.
    pub async fn records(&self, partition: &Partition, shard: Shard) -> Result<u64, PortError> {
        self.items("delete records", &self.records_table, text(shard_key(partition, shard)), "").await
    }

    /// Deletes a log of changes; returns how many items there were.
    pub async fn changes(&self, partition: &Partition, log: ChangeLog) -> Result<u64, PortError> {
        self.items("delete changes", &self.records_table, text(log_key(partition, log)), "").await
    }

    /// Deletes what says which records of a type were deleted; returns how many items there were.
    pub async fn deletions(&self, partition: &Partition, of: ResourceType) -> Result<u64, PortError> {
        self.items("delete deletions", &self.records_table, text(deletions_key(partition, of)), "").await
    }

    /// Deletes all jobs; returns how many there were.
    pub async fn jobs(&self, partition: &Partition) -> Result<u64, PortError> {
        self.items("delete jobs", &self.jobs_table, partition_key(partition), "").await
    }

    /// Deletes all idempotency entries and uploads; returns how many items there were.
    pub async fn calls(&self, partition: &Partition) -> Result<u64, PortError> {
        let mut deleted = 0;
        for prefix in tenant_prefixes(partition) {
            let tenant = text(usage_of(&partition.tenant));
            deleted += self.items("delete calls", &self.usage_table, tenant, &prefix).await?;
        }
        Ok(deleted)
    }

    /// Deletes all files and aborts all multipart uploads; returns how many there were.
    pub async fn files(&self, partition: &Partition) -> Result<u64, PortError> {
        let mut deleted = 0;
        for prefix in KeyPrefix::of_partition(partition) {
            if self.only_looks {
                deleted += u64::from(self.files.has_any(&prefix).await?);
                continue;
            }
            deleted += self.files.remove(partition, &prefix, &[]).await?;
        }
        Ok(deleted)
    }

    async fn items(
        &self,
        operation: &'static str,
        table: &str,
        hash: AttributeValue,
        prefix: &str,
    ) -> Result<u64, PortError> {
        let mut query = self
            .dynamodb
            .query()
            .table_name(table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", hash)
            .projection_expression("pk, sk")
            .consistent_read(true);
        if !prefix.is_empty() {
            query = query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text(prefix));
        }
        if self.only_looks {
            let found = query.limit(1).send().await.map_err(|error| port_error(operation, &error))?;
            return Ok(found.count.unsigned_abs().into());
        }
        let mut pages = query.into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.try_next().await.map_err(|error| port_error(operation, &error))? {
            for keys in page.items.unwrap_or_default().chunks(MAX_BATCH) {
                deleted += keys.len() as u64;
                let requests: Result<Vec<_>, _> = keys
                    .iter()
                    .map(|key| DeleteRequest::builder().set_key(Some(key.clone())).build())
                    .map(|delete| delete.map(|delete| WriteRequest::builder().delete_request(delete).build()))
                    .collect();
                let requests = requests.map_err(|_| unreadable(operation, "request cannot be built"))?;
                let mut left = HashMap::from([(table.to_owned(), requests)]);
                while !left.is_empty() {
                    let sent = self.dynamodb.batch_write_item().set_request_items(Some(left)).send().await;
                    left = sent.map_err(|error| port_error(operation, &error))?.unprocessed_items.unwrap_or_default();
                    if !left.is_empty() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        }
        Ok(deleted)
    }
}
