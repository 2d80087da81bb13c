//! `clinik-bulk-admin audit`: who of the operators has changed what. Each change is written down before it is made.

use anyhow::{Context, Result};
use aws::OperatorAction;
use clap::Args;
use jiff::Timestamp;
use model::{Environment, TenantId};
use ports::Clock;
use runtime::{SystemClock, SystemIds};
use serde::Serialize;

use crate::output::OutputFormat;
use crate::stores::Stores;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what was done at this moment or later (RFC 3339) [default: everything].
    #[arg(long, value_name = "MOMENT", default_value_t = Timestamp::UNIX_EPOCH, hide_default_value = true)]
    since: Timestamp,
    /// Only what was done to this tenant.
    #[arg(long)]
    tenant: Option<TenantId>,
}

pub(crate) async fn run(arguments: &Arguments, stores: &Stores, output: OutputFormat) -> Result<()> {
    let mut actions = stores.audit()?.since(arguments.since).await?;
    actions.retain(|action| arguments.tenant.as_ref().is_none_or(|tenant| action.tenant == tenant.as_str()));
    output.print(&actions)
}

/// A change that is about to be made.
pub(crate) struct Change<'a> {
    /// As `key.revoked`.
    pub(crate) action: &'static str,
    pub(crate) tenant: &'a TenantId,
    pub(crate) environment: Option<Environment>,
    /// The key, job or record.
    pub(crate) subject: Option<String>,
}

impl Change<'_> {
    /// Writes down who makes it, and what is set.
    pub(crate) async fn write(self, stores: &Stores, details: Option<&impl Serialize>) -> Result<()> {
        let Self { action, tenant, environment, subject } = self;
        let write = async {
            let action = OperatorAction {
                at: SystemClock.now(),
                who: stores.aws().caller().await?,
                action: action.to_owned(),
                tenant: tenant.to_string(),
                environment: environment.map(|environment| environment.to_string()),
                subject,
                details: details.map(serde_json::to_string).transpose()?,
            };
            anyhow::Ok(stores.audit()?.write(&action, &SystemIds).await?)
        };
        write.await.context("nothing was changed, since it could not be written down who changes it")
    }
}
