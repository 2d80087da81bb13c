//! `clinik-bulk-admin tenant`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use model::{
    DEFAULT_BULK_OPERATIONS_PER_HOUR, Environment, MAX_BULK_OPERATIONS_PER_HOUR, Partition, Plan, Tenant, TenantId,
};
use ports::UsageStore;

use crate::audit::Change;
use crate::output::OutputFormat;
use crate::stores::Stores;

mod delete;
mod purge;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates a tenant.
    Create {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        #[command(flatten)]
        limits: Limits,
    },
    /// Lists all tenants, with their plans and limits. Reads the whole table of plans and counters.
    List,
    /// Shows a tenant's plan and limits.
    Show {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
    },
    /// Changes what is given, and nothing else. Functions act on it within 60 seconds.
    Set {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        #[command(flatten)]
        limits: Limits,
    },
    /// Deletes all records, jobs and files of one of a tenant's environments, for good. The tenant and its keys
    /// stay. Revoke the keys first: jobs can start meanwhile.
    Purge {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        /// Which: test or live.
        #[arg(long)]
        environment: Environment,
        /// The tenant's id once more, in place of the question.
        #[arg(long, value_name = "TENANT")]
        confirm: Option<TenantId>,
    },
    /// Deletes a tenant of which nothing is left: its keys are revoked, and both environments are purged. Its keys stay
    /// revoked, and what it has used stays until it expires.
    Delete {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        /// The tenant's id once more, in place of the question.
        #[arg(long, value_name = "TENANT")]
        confirm: Option<TenantId>,
    },
}

/// A tenant's plan and limits.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// The plan: sandbox, starter, pro, team or enterprise [a new tenant's: sandbox].
    #[arg(long)]
    plan: Option<Plan>,
    /// Imports and exports together, in any rolling hour [a new tenant's: 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BULK_OPERATIONS_PER_HOUR)))]
    bulk_operations_per_hour: Option<u32>,
    /// Whether live traffic may pass the month's limit [a new tenant's: off].
    #[arg(long, value_enum)]
    overage: Option<Switch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Limits {
    fn apply(&self, tenant: Tenant) -> Tenant {
        Tenant {
            id: tenant.id,
            plan: self.plan.unwrap_or(tenant.plan),
            bulk_operations_per_hour: self.bulk_operations_per_hour.unwrap_or(tenant.bulk_operations_per_hour),
            overage: self.overage.map_or(tenant.overage, |overage| overage == Switch::On),
        }
    }
}

pub(crate) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let tenant = match command {
        Command::Purge { tenant, environment, confirm } => {
            let tenant = stores.known_tenant(&tenant).await?.id;
            let partition = Partition { tenant, environment };
            return output.print(&purge::run(&partition, confirm.as_ref(), stores).await?);
        }
        Command::Delete { tenant, confirm } => {
            let tenant = stores.known_tenant(&tenant).await?;
            delete::check(&tenant.id, stores).await?;
            if !purge::is_confirmed(&format!("Tenant {} will be deleted.", tenant.id), &tenant.id, confirm.as_ref())? {
                bail!("not confirmed; nothing was deleted");
            }
            write_down("tenant.deleted", &tenant, stores).await?;
            if !stores.usage()?.delete_tenant(&tenant).await? {
                bail!("somebody else has changed tenant {} meanwhile; nothing was deleted", tenant.id);
            }
            tenant
        }
        Command::Create { tenant, limits } => {
            let new = limits.apply(Tenant {
                id: tenant,
                plan: Plan::Sandbox,
                bulk_operations_per_hour: DEFAULT_BULK_OPERATIONS_PER_HOUR,
                overage: false,
            });
            write_down("tenant.created", &new, stores).await?;
            if !stores.usage()?.save_tenant(&new, None).await? {
                bail!("there is a tenant {} already; change it with: clinik-bulk-admin tenant set", new.id);
            }
            new
        }
        Command::List => {
            let mut tenants = stores.usage()?.tenants().await?;
            tenants.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
            return output.print(&tenants);
        }
        Command::Show { tenant } => stores.known_tenant(&tenant).await?,
        Command::Set { tenant, limits } => {
            // Somebody else may be changing it: what they set is kept.
            let mut written = None;
            loop {
                let before = stores.known_tenant(&tenant).await?;
                let changed = limits.apply(before.clone());
                // Once, unless the race that was lost has made it another change.
                if written.as_ref() != Some(&changed) {
                    write_down("tenant.changed", &changed, stores).await?;
                    written = Some(changed.clone());
                }
                if stores.usage()?.save_tenant(&changed, Some(&before)).await? {
                    break changed;
                }
            }
        }
    };
    output.print(&tenant)
}

async fn write_down(action: &'static str, tenant: &Tenant, stores: &Stores) -> Result<()> {
    let change = Change { action, tenant: &tenant.id, environment: None, subject: None };
    change.write(stores, Some(tenant)).await
}
