//! What a usage store and a key store do.

use jiff::Timestamp;
use model::{ApiKey, Environment, Month, Plan, Pool, Scope, StoredKey, Tenant};
use ports::{IdSource, KeyStore, MonthUsage, UsageStore};

use super::Fixture;

/// Runs all behaviours of a [`UsageStore`] that need no acceptance.
pub async fn usage(usage: &dyn UsageStore, seed: u64, now: Timestamp) {
    let fixture = Fixture::new(seed, now);
    let id = &fixture.partition.tenant;
    assert_eq!(usage.tenant(id).await.unwrap(), None);
    let mut tenant = Tenant { id: id.clone(), plan: Plan::Pro, bulk_operations_per_hour: 5, overage: false };
    assert!(usage.save_tenant(&tenant, None).await.unwrap());
    assert!(!usage.save_tenant(&tenant, None).await.unwrap(), "it is there");
    assert_eq!(usage.tenant(id).await.unwrap().as_ref(), Some(&tenant));
    let before = tenant.clone();
    tenant.bulk_operations_per_hour = 1_000;
    tenant.overage = true;
    assert!(!usage.save_tenant(&tenant, Some(&tenant)).await.unwrap(), "it was another before");
    assert!(usage.save_tenant(&tenant, Some(&before)).await.unwrap());
    assert!(!usage.save_tenant(&before, Some(&before)).await.unwrap(), "it has changed meanwhile");
    assert_eq!(usage.tenant(id).await.unwrap(), Some(tenant));

    assert_eq!(usage.count_minute(id, now).await.unwrap(), 1);
    assert_eq!(usage.count_minute(id, now).await.unwrap(), 2);
    assert_eq!(usage.count_minute(id, fixture.later(60)).await.unwrap(), 1);

    let month = Month::of(now);
    assert_eq!(usage.month(id, &month).await.unwrap(), MonthUsage::default());
    assert_eq!(usage.count_month(id, Pool::Live, &month).await.unwrap(), 1);
    assert_eq!(usage.count_month(id, Pool::Live, &month).await.unwrap(), 2);
    assert_eq!(usage.count_month(id, Pool::Test, &month).await.unwrap(), 1);
    assert_eq!(usage.count_month(id, Pool::Shared, &month).await.unwrap(), 1);
    let counted = MonthUsage { live: 2, test: 1, shared: 1 };
    assert_eq!(usage.month(id, &month).await.unwrap(), counted);
    let next = Month::of(model::next_month(now));
    assert_eq!(usage.month(id, &next).await.unwrap(), MonthUsage::default());
}

/// Runs all behaviours of a [`KeyStore`].
pub async fn keys(keys: &dyn KeyStore, seed: u64, now: Timestamp) {
    let fixture = Fixture::new(seed, now);
    let key = ApiKey::generate(Environment::Test, || fixture.ids.random());
    assert_eq!(keys.find(&key.hash()).await.unwrap(), None);
    let mut stored = StoredKey {
        id: format!("key_{seed}"),
        hash: key.hash(),
        partition: fixture.partition.clone(),
        scopes: vec![Scope::Read, Scope::Write, Scope::All],
        created_at: now,
        expires_at: Some(fixture.later(60)),
        revoked_at: None,
    };
    assert!(keys.save(&stored, None).await.unwrap());
    assert!(!keys.save(&stored, None).await.unwrap(), "it is there");
    assert_eq!(keys.find(&key.hash()).await.unwrap().as_ref(), Some(&stored));
    let before = stored.clone();
    stored.revoked_at = Some(now);
    stored.expires_at = None;
    assert!(keys.save(&stored, Some(&before)).await.unwrap());
    assert!(!keys.save(&before, Some(&before)).await.unwrap(), "it has changed meanwhile");
    assert_eq!(keys.find(&key.hash()).await.unwrap().as_ref(), Some(&stored));
    assert_eq!(keys.of_tenant(&fixture.partition.tenant).await.unwrap(), [stored]);
    let other = Fixture::new(seed + 1, now);
    assert_eq!(keys.of_tenant(&other.partition.tenant).await.unwrap(), []);
}
