//! API keys: `pk` is the SHA-256 of the key; the index `byTenant` lists a tenant's keys for operators.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use model::{ApiKeyHash, StoredKey, TenantId};
use ports::{KeyStore, PortError};

use super::changing::Holder;
use super::{Item, check_version, text};
use crate::error::{port_error, unreadable};

const BY_TENANT: &str = "byTenant";

/// [`KeyStore`] on DynamoDB.
pub struct DynamoKeys {
    client: Client,
    table: String,
}

impl DynamoKeys {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Every key of every tenant: for operators.
    pub async fn all(&self) -> Result<Vec<StoredKey>, PortError> {
        let mut items = self.client.scan().table_name(&self.table).into_paginator().items().send();
        let mut keys = Vec::new();
        while let Some(item) = items.try_next().await.map_err(|error| port_error("list keys", &error))? {
            keys.push(Self::key(item)?);
        }
        Ok(keys)
    }

    fn key(mut item: Item) -> Result<StoredKey, PortError> {
        check_version("read key", &item)?;
        let broken = || unreadable("read key", "item cannot be read");
        let content = item.remove("key").ok_or_else(broken)?;
        serde_dynamo::from_attribute_value(content).map_err(|_| broken())
    }
}

#[async_trait]
impl KeyStore for DynamoKeys {
    async fn find(&self, hash: &ApiKeyHash) -> Result<Option<StoredKey>, PortError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(hash.as_str()))
            // A key that was revoked is found revoked: what then still lets it in is the functions' cache alone.
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| port_error("read key", &error))?;
        found.item.map(Self::key).transpose()
    }

    async fn save(&self, key: &StoredKey, before: Option<&StoredKey>) -> Result<bool, PortError> {
        let of_key = Item::from([("pk".to_owned(), text(key.hash.as_str()))]);
        let listed = Item::from([("tenant".to_owned(), text(key.partition.tenant.as_str()))]);
        let (client, table) = (&self.client, self.table.as_str());
        let holder = Holder { client, table, operation: "save key", attribute: "key", key: of_key };
        holder.change(key, before, listed).await
    }

    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, PortError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_TENANT)
            .key_condition_expression("tenant = :tenant")
            .expression_attribute_values(":tenant", text(tenant.as_str()));
        let mut keys = Vec::new();
        let mut pages = query.into_paginator().send();
        while let Some(page) = pages.try_next().await.map_err(|error| port_error("list keys", &error))? {
            for item in page.items.unwrap_or_default() {
                keys.push(Self::key(item)?);
            }
        }
        Ok(keys)
    }
}
