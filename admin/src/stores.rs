//! What the commands work on. Each asks only for the parts of the stack that it needs.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aws::{Aws, DynamoJobs, DynamoKeys, DynamoRecords, DynamoUsage, OperatorAudit, Purge, SqsJobQueue};
use model::{JobType, Tenant, TenantId};
use ports::UsageStore;
use runtime::{Settings, SystemIds};

/// Each part of the stack: its name in the environment, and the output of the stack that says it.
pub(crate) const PARTS: [(&str, &str); 7] = [
    ("JOBS_TABLE", "JobsTable"),
    ("RECORDS_TABLE", "RecordsTable"),
    ("API_KEYS_TABLE", "ApiKeysTable"),
    ("USAGE_TABLE", "UsageTable"),
    ("BUCKET", "Bucket"),
    ("IMPORT_QUEUE_URL", "ImportQueueUrl"),
    ("EXPORT_QUEUE_URL", "ExportQueueUrl"),
];

pub(crate) struct Stores {
    aws: Aws,
    parts: HashMap<&'static str, String>,
}

impl Stores {
    /// Connects to the parts of a stack, or to those that the environment names.
    pub(crate) async fn connect(stack: Option<&str>) -> Result<Self> {
        let aws = Aws::from_env().await;
        let parts = match stack {
            Some(stack) => {
                let outputs =
                    aws.stack_outputs(stack).await.with_context(|| format!("read the outputs of stack {stack}"))?;
                PARTS.iter().filter_map(|(name, output)| Some((*name, outputs.get(*output)?.clone()))).collect()
            }
            None => PARTS.iter().filter_map(|(name, _)| Some((*name, std::env::var(name).ok()?))).collect(),
        };
        Ok(Self { aws, parts })
    }

    /// Names of parts; all that are missing are reported together.
    fn names<const N: usize>(&self, parts: [&str; N]) -> Result<[String; N]> {
        let mut settings = Settings::from_source(|name| self.parts.get(name).cloned());
        let values = parts.map(|name| settings.required(name));
        settings.check().context("name the deployment with --stack, or its parts in the environment")?;
        Ok(values)
    }

    pub(crate) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The name of one part.
    pub(crate) fn part(&self, part: &'static str) -> Result<String> {
        let [name] = self.names([part])?;
        Ok(name)
    }

    pub(crate) fn keys(&self) -> Result<DynamoKeys> {
        Ok(self.aws.keys(self.part("API_KEYS_TABLE")?))
    }

    pub(crate) fn usage(&self) -> Result<DynamoUsage> {
        Ok(self.aws.usage(self.part("USAGE_TABLE")?, Arc::new(SystemIds)))
    }

    pub(crate) fn jobs(&self) -> Result<DynamoJobs> {
        let [jobs, usage] = self.names(["JOBS_TABLE", "USAGE_TABLE"])?;
        Ok(self.aws.jobs(jobs, usage))
    }

    pub(crate) fn queue(&self, job_type: JobType) -> Result<SqsJobQueue> {
        let url = match job_type {
            JobType::Import => "IMPORT_QUEUE_URL",
            JobType::Export => "EXPORT_QUEUE_URL",
        };
        Ok(self.aws.queue(self.part(url)?))
    }

    pub(crate) fn records(&self) -> Result<DynamoRecords> {
        Ok(self.aws.records(self.part("RECORDS_TABLE")?))
    }

    pub(crate) fn audit(&self) -> Result<OperatorAudit> {
        Ok(self.aws.operator_audit(self.part("USAGE_TABLE")?))
    }

    pub(crate) fn purge(&self) -> Result<Purge> {
        let [jobs, records, usage, bucket] = self.names(["JOBS_TABLE", "RECORDS_TABLE", "USAGE_TABLE", "BUCKET"])?;
        Ok(self.aws.purge(jobs, records, usage, bucket))
    }

    pub(crate) async fn known_tenant(&self, id: &TenantId) -> Result<Tenant> {
        match self.usage()?.tenant(id).await? {
            Some(tenant) => Ok(tenant),
            None => bail!("there is no tenant {id}; create it with: clinik-bulk-admin tenant create {id}"),
        }
    }
}
