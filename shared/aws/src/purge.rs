//! Forgetting a partition: an operator's work, with an operator's permissions. No function can do it.

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use domain::ports::{ChangeLog, PortError, Shard};
use domain::{ObjectKey, Partition};
use std::collections::HashMap;
use std::time::Duration;

use crate::dynamodb::{log_key, partition_key, shard_key, tenant_prefixes, text};
use crate::error::{port_error, unreadable};

/// Deletes of one call (`BatchWriteItem`'s limit).
const MAX_BATCH: usize = 25;

/// Deletes what a partition has: records, changes, jobs, idempotency entries, uploads and files.
pub struct Purge {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) jobs_table: String,
    pub(crate) records_table: String,
    pub(crate) usage_table: String,
    pub(crate) bucket: String,
}

impl Purge {
    /// Deletes the records of a shard; returns how many there were.
    pub async fn records(&self, partition: &Partition, shard: Shard) -> Result<u64, PortError> {
        self.items("delete records", &self.records_table, text(shard_key(partition, shard)), "").await
    }

    /// Deletes a log of changes; returns how many items there were.
    pub async fn changes(&self, partition: &Partition, log: ChangeLog) -> Result<u64, PortError> {
        self.items("delete changes", &self.records_table, text(log_key(partition, log)), "").await
    }

    /// Deletes all jobs; returns how many there were.
    pub async fn jobs(&self, partition: &Partition) -> Result<u64, PortError> {
        self.items("delete jobs", &self.jobs_table, partition_key(partition), "").await
    }

    /// Deletes all idempotency entries and uploads; returns how many items there were.
    pub async fn calls(&self, partition: &Partition) -> Result<u64, PortError> {
        let mut deleted = 0;
        for prefix in tenant_prefixes(partition) {
            let tenant = text(partition.tenant.as_str());
            deleted += self.items("delete calls", &self.usage_table, tenant, &prefix).await?;
        }
        Ok(deleted)
    }

    /// Deletes all files and aborts all multipart uploads; returns how many there were.
    pub async fn files(&self, partition: &Partition) -> Result<u64, PortError> {
        let mut deleted = 0;
        for prefix in ObjectKey::prefixes(partition) {
            deleted += self.unfinished(&prefix).await? + self.objects(&prefix).await?;
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

    async fn objects(&self, prefix: &str) -> Result<u64, PortError> {
        const OPERATION: &str = "delete files";
        let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.try_next().await.map_err(|error| port_error(OPERATION, &error))? {
            let keys = page.contents().iter().filter_map(|object| object.key());
            let keys: Result<Vec<_>, _> = keys.map(|key| ObjectIdentifier::builder().key(key).build()).collect();
            let keys = keys.map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
            if keys.is_empty() {
                continue;
            }
            deleted += keys.len() as u64;
            let delete = Delete::builder().set_objects(Some(keys)).quiet(true).build();
            let delete = delete.map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
            let sent = self.s3.delete_objects().bucket(&self.bucket).delete(delete).send().await;
            let sent = sent.map_err(|error| port_error(OPERATION, &error))?;
            if !sent.errors().is_empty() {
                return Err(unreadable(OPERATION, "some were not deleted"));
            }
        }
        Ok(deleted)
    }

    async fn unfinished(&self, prefix: &str) -> Result<u64, PortError> {
        const OPERATION: &str = "abort uploads";
        let mut aborted = 0;
        loop {
            let listed = self.s3.list_multipart_uploads().bucket(&self.bucket).prefix(prefix).send().await;
            let listed = listed.map_err(|error| port_error(OPERATION, &error))?;
            for upload in listed.uploads() {
                let abort = self.s3.abort_multipart_upload().bucket(&self.bucket);
                let abort = abort.set_key(upload.key.clone()).set_upload_id(upload.upload_id.clone());
                abort.send().await.map_err(|error| port_error(OPERATION, &error))?;
                aborted += 1;
            }
            // What was aborted is listed no more.
            if listed.is_truncated() != Some(true) {
                return Ok(aborted);
            }
        }
    }
}
