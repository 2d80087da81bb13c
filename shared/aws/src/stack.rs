//! A deployed stack as it stands: its outputs, and what of its parts can be changed by hand or forgotten by a restore.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{PointInTimeRecoveryStatus, TimeToLiveStatus};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationError as Missing;
use jiff::Timestamp;
use ports::PortError;

use crate::Aws;
use crate::error::{port_error, unreadable};

/// A resource of a stack.
#[derive(Debug, Clone)]
pub struct StackResource {
    pub logical_id: String,
    /// As `AWS::Lambda::Alias`.
    pub kind: String,
    /// A name, an ARN or an id, as the kind has it.
    pub physical_id: String,
}

/// Settings of a table that a restore forgets, and what it was restored from.
#[derive(Debug, Clone)]
pub struct TableSettings {
    pub created_at: Timestamp,
    /// The moment to which it was restored, if it was.
    pub restored_to: Option<Timestamp>,
    pub has_recovery: bool,
    pub is_protected: bool,
    /// The attribute that time to live goes by, if it is switched on.
    pub expires_by: Option<String>,
}

impl Aws {
    /// The outputs of a `CloudFormation` stack, by their keys. A stack that is not there is an error.
    pub async fn stack_outputs(&self, stack: &str) -> Result<HashMap<String, String>, PortError> {
        let client = aws_sdk_cloudformation::Client::new(&self.config);
        let described = client.describe_stacks().stack_name(stack).send().await;
        let described = described.map_err(|error| port_error("describe stack", &error))?;
        let stacks = described.stacks.unwrap_or_default();
        let outputs = stacks.into_iter().flat_map(|stack| stack.outputs.unwrap_or_default());
        Ok(outputs.filter_map(|output| Some((output.output_key?, output.output_value?))).collect())
    }

    /// What a stack is made of.
    pub async fn stack_resources(&self, stack: &str) -> Result<Vec<StackResource>, PortError> {
        let client = aws_sdk_cloudformation::Client::new(&self.config);
        let mut pages = client.list_stack_resources().stack_name(stack).into_paginator().items().send();
        let mut resources = Vec::new();
        while let Some(found) = pages.try_next().await.map_err(|error| port_error("list stack resources", &error))? {
            let (Some(logical_id), Some(kind)) = (found.logical_resource_id, found.resource_type) else { continue };
            let physical_id = found.physical_resource_id.unwrap_or_default();
            resources.push(StackResource { logical_id, kind, physical_id });
        }
        Ok(resources)
    }

    /// A table's settings.
    pub async fn table_settings(&self, table: &str) -> Result<TableSettings, PortError> {
        const OPERATION: &str = "describe table";
        let client = self.dynamodb_client();
        let described = client.describe_table().table_name(table).send().await;
        let described = described.map_err(|error| port_error(OPERATION, &error))?;
        let described = described.table.ok_or_else(|| unreadable(OPERATION, "no table"))?;
        let moment = |at: &aws_smithy_types::DateTime| Timestamp::from_second(at.secs()).ok();
        let created_at = described.creation_date_time().and_then(moment);
        let backups = client.describe_continuous_backups().table_name(table).send().await;
        let backups = backups.map_err(|error| port_error("describe backups", &error))?.continuous_backups_description;
        let recovery = backups.and_then(|backups| backups.point_in_time_recovery_description);
        let recovery = recovery.and_then(|recovery| recovery.point_in_time_recovery_status);
        let living = client.describe_time_to_live().table_name(table).send().await;
        let living = living.map_err(|error| port_error("describe time to live", &error))?.time_to_live_description;
        let is_on =
            |status: &TimeToLiveStatus| matches!(status, TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling);
        Ok(TableSettings {
            created_at: created_at.ok_or_else(|| unreadable(OPERATION, "no moment of creation"))?,
            restored_to: described.restore_summary().and_then(|summary| moment(summary.restore_date_time())),
            has_recovery: recovery == Some(PointInTimeRecoveryStatus::Enabled),
            is_protected: described.deletion_protection_enabled().unwrap_or(false),
            expires_by: living
                .filter(|living| living.time_to_live_status().is_some_and(is_on))
                .and_then(|living| living.attribute_name),
        })
    }

    /// The ids of all event sources that send messages to their functions.
    pub async fn enabled_event_sources(&self) -> Result<BTreeSet<String>, PortError> {
        let client = aws_sdk_lambda::Client::new(&self.config);
        let mut sources = client.list_event_source_mappings().into_paginator().items().send();
        let mut enabled = BTreeSet::new();
        while let Some(source) = sources.try_next().await.map_err(|error| port_error("list event sources", &error))? {
            let is_on = |state: &str| matches!(state, "Enabled" | "Enabling" | "Creating" | "Updating");
            enabled.extend(source.uuid.filter(|_| source.state.as_deref().is_some_and(is_on)));
        }
        Ok(enabled)
    }

    /// The environment of the version that an alias of a function names, if that version is there.
    pub async fn settings_of(&self, function: &str, alias: &str) -> Result<Option<HashMap<String, String>>, PortError> {
        let client = aws_sdk_lambda::Client::new(&self.config);
        let found = client.get_function_configuration().function_name(function).qualifier(alias).send().await;
        match found {
            Ok(found) => Ok(Some(found.environment.and_then(|set| set.variables).unwrap_or_default())),
            Err(error) if error.as_service_error().is_some_and(Missing::is_resource_not_found_exception) => Ok(None),
            Err(error) => Err(port_error("read alias", &error)),
        }
    }
}
