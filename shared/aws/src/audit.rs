//! What operators have done: an item for each change, written before the change is made. No function writes or reads it.
//!
//! In the usage table: `pk` is [`PARTITION`], `sk` the moment and random digits.

use jiff::Timestamp;
use ports::{IdSource, PortError};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::Aws;
use crate::dynamodb::{Item, VERSION, check_version, number, text};
use crate::error::{port_error, unreadable};

/// No tenant's: ids of tenants have no such character.
const PARTITION: &str = "#operators";

/// A change that an operator makes.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorAction {
    pub at: Timestamp,
    /// The caller's ARN, as STS says it.
    pub who: String,
    /// As `key.revoked`.
    pub action: String,
    pub tenant: String,
    pub environment: Option<String>,
    /// The key, job or record.
    pub subject: Option<String>,
    /// What was set, as it is shown.
    pub details: Option<String>,
}

/// The actions of operators.
pub struct OperatorAudit {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl Aws {
    /// The actions of operators, in the usage table.
    #[must_use]
    pub fn operator_audit(&self, usage_table: String) -> OperatorAudit {
        OperatorAudit { client: self.dynamodb_client(), table: usage_table }
    }

    /// The ARN of whoever calls.
    pub async fn caller(&self) -> Result<String, PortError> {
        const OPERATION: &str = "ask who calls";
        let identity = aws_sdk_sts::Client::new(&self.config).get_caller_identity().send().await;
        let identity = identity.map_err(|error| port_error(OPERATION, &error))?;
        identity.arn.ok_or_else(|| unreadable(OPERATION, "answer names nobody"))
    }
}

impl OperatorAudit {
    /// Writes an action down. One that cannot be written must not be done.
    pub async fn write(&self, action: &OperatorAction, ids: &dyn IdSource) -> Result<(), PortError> {
        const OPERATION: &str = "write audit item";
        let item: Item =
            serde_dynamo::to_item(action).map_err(|_| unreadable(OPERATION, "cannot be put into an item"))?;
        let sk = format!("{:.3}#{:016x}", action.at, ids.random() >> 64);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.item("pk", text(PARTITION))
            .item("sk", text(sk))
            .item("v", number(VERSION))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| port_error(OPERATION, &error))
    }

    /// The actions since a moment, oldest first.
    pub async fn since(&self, moment: Timestamp) -> Result<Vec<OperatorAction>, PortError> {
        const OPERATION: &str = "read audit items";
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk >= :from")
            .expression_attribute_values(":pk", text(PARTITION))
            .expression_attribute_values(":from", text(format!("{moment:.3}")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = items.try_next().await.map_err(|error| port_error(OPERATION, &error))? {
            check_version(OPERATION, &item)?;
            found.push(serde_dynamo::from_item(item).map_err(|_| unreadable(OPERATION, "item cannot be read"))?);
        }
        Ok(found)
    }
}
