//! `clinik-bulk-admin key`. A key's text is shown once, when it is made; only its hash is stored.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use model::{ApiKey, Environment, Partition, Scope, StoredKey, TenantId};
use ports::{Clock, IdSource, KeyStore};
use runtime::{SystemClock, SystemIds};
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::audit::Change;
use crate::output::OutputFormat;
use crate::stores::Stores;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates a key and shows it: this once, and never again.
    Create {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        /// What the key opens: test or live.
        #[arg(long, default_value_t = Environment::Test)]
        environment: Environment,
        /// What the key may do: read, write, or * for everything.
        #[arg(long, value_delimiter = ',', default_value = "*")]
        scopes: Vec<Scope>,
        /// From when on the key is refused (RFC 3339, as 2027-01-31T00:00:00Z) [default: never].
        #[arg(long, value_name = "MOMENT")]
        expires: Option<Timestamp>,
    },
    /// Lists a tenant's keys, without their secrets.
    List {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
    },
    /// Revokes a key. Functions refuse it within 60 seconds.
    Revoke {
        /// The tenant's id: 1 to 64 of A-Za-z0-9_-.
        tenant: TenantId,
        /// The key's id, as listed: key_…
        key_id: String,
    },
}

/// A key as it is listed: no secret, no hash.
#[skip_serializing_none]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedKey<'a> {
    id: &'a str,
    tenant: &'a str,
    environment: Environment,
    scopes: &'a [Scope],
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// The secret; only when it was just made.
    key: Option<&'a str>,
}

impl<'a> ListedKey<'a> {
    fn new(stored: &'a StoredKey, secret: Option<&'a ApiKey>) -> Self {
        Self {
            id: &stored.id,
            tenant: stored.partition.tenant.as_str(),
            environment: stored.partition.environment,
            scopes: &stored.scopes,
            created_at: stored.created_at,
            expires_at: stored.expires_at,
            revoked_at: stored.revoked_at,
            key: secret.map(ApiKey::reveal),
        }
    }
}

pub(crate) async fn run(command: Command, stores: &Stores, output: OutputFormat) -> Result<()> {
    let now = SystemClock.now();
    match command {
        Command::Create { tenant, environment, scopes, expires } => {
            let tenant = stores.known_tenant(&tenant).await?.id;
            if expires.is_some_and(|expires| expires <= now) {
                bail!("--expires must be in the future");
            }
            let key = ApiKey::generate(environment, || SystemIds.random());
            let stored = StoredKey {
                id: format!("key_{:016x}", SystemIds.random() >> 64),
                hash: key.hash(),
                partition: Partition { tenant, environment },
                scopes,
                created_at: now,
                expires_at: expires,
                revoked_at: None,
            };
            write_down("key.created", &stored, stores).await?;
            // Shown first: a key that could not be shown must not open anything.
            output.print(&ListedKey::new(&stored, Some(&key)))?;
            let saved = stores.keys()?.save(&stored, None).await;
            // Nobody else has this hash: where it is there already, an answer was lost.
            saved.map(|_| ()).context("the key that was shown is not saved and opens nothing")
        }
        Command::List { tenant } => {
            let mut keys = stores.keys()?.of_tenant(&tenant).await?;
            keys.sort_by_key(|key| key.created_at);
            output.print(&keys.iter().map(|key| ListedKey::new(key, None)).collect::<Vec<_>>())
        }
        Command::Revoke { tenant, key_id } => {
            let keys = stores.keys()?.of_tenant(&tenant).await?;
            let Some(listed) = keys.into_iter().find(|key| key.id == key_id) else {
                bail!("tenant {tenant} has no key {key_id}; list them with: clinik-bulk-admin key list");
            };
            write_down("key.revoked", &listed, stores).await?;
            // The list may be some seconds old.
            loop {
                let found = stores.keys()?.find(&listed.hash).await?;
                let before = found.with_context(|| format!("key {key_id} is gone"))?;
                let revoked = StoredKey { revoked_at: before.revoked_at.or(Some(now)), ..before.clone() };
                if stores.keys()?.save(&revoked, Some(&before)).await? {
                    return output.print(&ListedKey::new(&revoked, None));
                }
            }
        }
    }
}

async fn write_down(action: &'static str, key: &StoredKey, stores: &Stores) -> Result<()> {
    let Partition { tenant, environment } = &key.partition;
    let change = Change { action, tenant, environment: Some(*environment), subject: Some(key.id.clone()) };
    change.write(stores, Some(&ListedKey::new(key, None))).await
}
