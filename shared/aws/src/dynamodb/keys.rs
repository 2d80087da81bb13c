//! API keys: `pk` is the SHA-256 of the key; the index `byTenant` lists a tenant's keys for operators.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use model::{ApiKeyHash, StoredKey, TenantId};
use ports::{KeyStore, PortError};

use super::changing::ContentItem;
use super::{Item, check_version, get, read, text};
use crate::error::port_error;

const BY_TENANT: &str = "byTenant";

/// [`KeyStore`] on DynamoDB.
pub struct DynamoKeys {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl DynamoKeys {
    /// Every key of every tenant: for operators.
    pub async fn all(&self) -> Result<Vec<StoredKey>, PortError> {
        let items = self.client.scan().table_name(&self.table).into_paginator().items().send().try_collect().await;
        items.map_err(|error| port_error("list keys", &error))?.into_iter().map(read_key).collect()
    }
}

fn key_of(hash: &ApiKeyHash) -> Item {
    Item::from([("pk".to_owned(), text(hash.as_str()))])
}

fn read_key(mut item: Item) -> Result<StoredKey, PortError> {
    check_version("read key", &item)?;
    read("read key", &mut item, "key")
}

#[async_trait]
impl KeyStore for DynamoKeys {
    async fn find(&self, hash: &ApiKeyHash) -> Result<Option<StoredKey>, PortError> {
        // A key that was revoked is found revoked: what then still lets it in is the functions' cache alone.
        let found = get(&self.client, &self.table, "read key", key_of(hash)).await?;
        found.map(read_key).transpose()
    }

    async fn save(&self, key: &StoredKey, before: Option<&StoredKey>) -> Result<bool, PortError> {
        let listed = Item::from([("tenant".to_owned(), text(key.partition.tenant.as_str()))]);
        let (client, table) = (&self.client, self.table.as_str());
        let item = ContentItem { client, table, operation: "save key", attribute: "key", key: key_of(&key.hash) };
        item.change(key, before, listed).await
    }

    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, PortError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_TENANT)
            .key_condition_expression("tenant = :tenant")
            .expression_attribute_values(":tenant", text(tenant.as_str()));
        let items = query.into_paginator().items().send().try_collect().await;
        items.map_err(|error| port_error("list keys", &error))?.into_iter().map(read_key).collect()
    }
}
