//! `clinik-bulk-admin tenant delete`: what must be gone before.

use anyhow::{Result, bail};
use jiff::SignedDuration;
use model::{Environment, Partition, TenantId};
use ports::{Clock, KeyStore};
use runtime::SystemClock;

use super::purge;
use crate::stores::Stores;

/// Functions keep a key for a minute; what has begun with it then may still write.
const KEY_MEMORY: SignedDuration = SignedDuration::from_mins(2);

/// Fails if somebody can still call as the tenant, or anything of it is left.
pub(super) async fn check(tenant: &TenantId, stores: &Stores) -> Result<()> {
    let now = SystemClock.now();
    let keys = stores.keys()?.of_tenant(tenant).await?;
    let is_over = |at: Option<jiff::Timestamp>| at.is_some_and(|at| at + KEY_MEMORY <= now);
    let open = keys.iter().filter(|key| !is_over(key.revoked_at) && !is_over(key.expires_at));
    let open: Vec<_> = open.map(|key| key.id.as_str()).collect();
    if !open.is_empty() {
        bail!(
            "keys of {tenant} open still, or were revoked within the last two minutes: {}; revoke them (clinik-bulk-admin key \
             revoke), and wait",
            open.join(", ")
        );
    }
    for environment in [Environment::Test, Environment::Live] {
        let partition = Partition { tenant: tenant.clone(), environment };
        if purge::is_left(&partition, stores).await? {
            bail!(
                "{partition} is not empty; purge it first: clinik-bulk-admin tenant purge {tenant} --environment {environment}"
            );
        }
    }
    Ok(())
}
