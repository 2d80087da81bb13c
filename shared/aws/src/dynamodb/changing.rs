//! Writes of operators: on condition that nobody else has written meanwhile.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use ports::PortError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Item, VERSION, get, number};
use crate::error::{unreadable, was_made};

/// An item whose one attribute holds all of its content.
pub(super) struct ContentItem<'a> {
    pub(super) client: &'a Client,
    pub(super) table: &'a str,
    pub(super) operation: &'static str,
    /// The attribute.
    pub(super) attribute: &'static str,
    pub(super) key: Item,
}

impl ContentItem<'_> {
    /// Writes new content, on condition that the content is what it was before: none, or this. What is compared in the write
    /// is the attribute as it stands, in whatever form an earlier version has written it.
    pub(super) async fn change<T>(self, new: &T, before: Option<&T>, others: Item) -> Result<bool, PortError>
    where
        T: Serialize + DeserializeOwned + PartialEq + Sync,
    {
        let Some(stored) = self.stored_as(before).await? else { return Ok(false) };
        let Self { client, table, operation, attribute, key } = self;
        let content =
            serde_dynamo::to_attribute_value(new).map_err(|_| unreadable(operation, "cannot be put into an item"))?;
        let put = client
            .put_item()
            .table_name(table)
            .set_item(Some(key.into_iter().chain(others).collect()))
            .item("v", number(VERSION))
            .item(attribute, content);
        let put = match stored {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(stored) => put
                .condition_expression("#content = :stored")
                .expression_attribute_names("#content", attribute)
                .expression_attribute_values(":stored", stored),
        };
        was_made(operation, put.send().await)
    }

    /// Deletes the item, on condition that its content is this.
    #[cfg(feature = "operators")]
    pub(super) async fn delete<T: DeserializeOwned + PartialEq + Sync>(self, before: &T) -> Result<bool, PortError> {
        let Some(Some(stored)) = self.stored_as(Some(before)).await? else { return Ok(false) };
        let Self { client, table, operation, attribute, key } = self;
        let delete = client
            .delete_item()
            .table_name(table)
            .set_key(Some(key))
            .condition_expression("#content = :stored")
            .expression_attribute_names("#content", attribute)
            .expression_attribute_values(":stored", stored);
        was_made(operation, delete.send().await)
    }

    /// The attribute as it stands, where its content is what it was before; `None` where it is another.
    async fn stored_as<T: DeserializeOwned + PartialEq + Sync>(
        &self,
        before: Option<&T>,
    ) -> Result<Option<Option<AttributeValue>>, PortError> {
        let Self { client, table, operation, attribute, key } = self;
        let stored = get(client, table, operation, key.clone()).await?.and_then(|mut item| item.remove(*attribute));
        let known: Option<T> = stored
            .clone()
            .map(serde_dynamo::from_attribute_value)
            .transpose()
            .map_err(|_| unreadable(operation, "item cannot be read"))?;
        Ok((known.as_ref() == before).then_some(stored))
    }
}
