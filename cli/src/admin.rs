//! `clinik-bulk admin`: tenants and keys, on the real tables.

use anyhow::{Context, Result, bail};
use aws::{Aws, DynamoKeys, DynamoUsage};
use clap::{Args, Subcommand};
use domain::TenantId;
use edge::config::Settings;

use crate::output::OutputFormat;

mod key;
mod tenant;

/// What an operator can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates, shows and changes tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Creates, lists and revokes API keys.
    #[command(subcommand)]
    Key(key::Command),
}

/// A tenant, as an argument.
#[derive(Debug, Args)]
pub(crate) struct TenantArgument {
    /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
    tenant: TenantId,
}

/// The tables that the commands work on.
struct Stores {
    keys: DynamoKeys,
    usage: DynamoUsage,
}

pub(crate) async fn run(command: Command, output: OutputFormat) -> Result<()> {
    let mut settings = Settings::from_env();
    let (keys, usage) = (settings.required("API_KEYS_TABLE"), settings.required("USAGE_TABLE"));
    settings.check().context("the names of the tables come from the environment (.local/env has the local ones)")?;
    let aws = Aws::from_env().await;
    let stores = Stores { keys: aws.keys(keys), usage: aws.usage(usage) };
    match command {
        Command::Tenant(command) => tenant::run(command, &stores, output).await,
        Command::Key(command) => key::run(command, &stores, output).await,
    }
}

impl Stores {
    async fn known_tenant(&self, id: &TenantId) -> Result<domain::Tenant> {
        use domain::ports::UsageStore;
        match self.usage.tenant(id).await? {
            Some(tenant) => Ok(tenant),
            None => bail!("there is no tenant {id}; create it with: clinik-bulk admin tenant create {id}"),
        }
    }
}
