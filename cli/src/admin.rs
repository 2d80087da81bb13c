//! `clinik-bulk admin`: tenants, keys and jobs, on the real tables.

use anyhow::{Context, Result, bail};
use aws::{Aws, DynamoJobs, DynamoKeys, DynamoUsage, Purge, SqsJobQueue};
use clap::{Args, Subcommand};
use domain::ports::UsageStore;
use domain::{JobType, TenantId};
use runtime::Settings;

use crate::output::OutputFormat;

mod job;
mod key;
mod tenant;

/// What an operator can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates, shows, changes and purges tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Creates, lists and revokes API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Shows and redrives jobs.
    #[command(subcommand)]
    Job(job::Command),
}

/// A tenant, as an argument.
#[derive(Debug, Args)]
pub(crate) struct TenantArgument {
    /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
    tenant: TenantId,
}

/// What the commands work on. Each asks only for the settings that it needs.
struct Stores {
    aws: Aws,
}

pub(crate) async fn run(command: Command, output: OutputFormat) -> Result<()> {
    let stores = Stores { aws: Aws::from_env().await };
    match command {
        Command::Tenant(command) => tenant::run(command, &stores, output).await,
        Command::Key(command) => key::run(command, &stores, output).await,
        Command::Job(command) => job::run(command, &stores, output).await,
    }
}

/// Settings by their names; all that are missing are told together.
fn settings<const N: usize>(names: [&str; N]) -> Result<[String; N]> {
    let mut settings = Settings::from_env();
    let values = names.map(|name| settings.required(name));
    settings
        .check()
        .context("the names of the stack's parts come from the environment (.local/env has the local ones)")?;
    Ok(values)
}

impl Stores {
    fn keys(&self) -> Result<DynamoKeys> {
        let [keys] = settings(["API_KEYS_TABLE"])?;
        Ok(self.aws.keys(keys))
    }

    fn usage(&self) -> Result<DynamoUsage> {
        let [usage] = settings(["USAGE_TABLE"])?;
        Ok(self.aws.usage(usage))
    }

    fn jobs(&self) -> Result<DynamoJobs> {
        let [jobs, usage] = settings(["JOBS_TABLE", "USAGE_TABLE"])?;
        Ok(self.aws.jobs(jobs, usage))
    }

    fn queue(&self, job_type: JobType) -> Result<SqsJobQueue> {
        let [url] = settings([match job_type {
            JobType::Import => "IMPORT_QUEUE_URL",
            JobType::Export => "EXPORT_QUEUE_URL",
        }])?;
        Ok(self.aws.queue(url))
    }

    fn purge(&self) -> Result<Purge> {
        let [jobs, records, usage, bucket] = settings(["JOBS_TABLE", "RECORDS_TABLE", "USAGE_TABLE", "BUCKET"])?;
        Ok(self.aws.purge(jobs, records, usage, bucket))
    }

    async fn known_tenant(&self, id: &TenantId) -> Result<domain::Tenant> {
        match self.usage()?.tenant(id).await? {
            Some(tenant) => Ok(tenant),
            None => bail!("there is no tenant {id}; create it with: clinik-bulk admin tenant create {id}"),
        }
    }
}
