//! From a key to who calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::{ApiKey, ApiKeyHash, KEY_CACHE_TIME, Principal, after};
use ports::{Clock, KeyStore, PortError, UsageStore};

/// More validated keys than this are not remembered at a time.
const KEY_CACHE_SIZE: usize = 1_000;

/// Why a key is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No key has this hash, or its tenant is gone.
    #[error("unknown key")]
    Unknown,
    /// The key was revoked.
    #[error("revoked key")]
    Revoked,
    /// The key's time is over.
    #[error("expired key")]
    Expired,
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Finds out who calls, and remembers it for a minute.
pub struct Authenticator {
    keys: Arc<dyn KeyStore>,
    usage: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    cache: Mutex<HashMap<ApiKeyHash, Validated>>,
}

#[derive(Clone)]
struct Validated {
    principal: Principal,
    expires_at: Option<Timestamp>,
    forget_at: Timestamp,
}

impl Authenticator {
    /// An authenticator with nothing remembered.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyStore>, usage: Arc<dyn UsageStore>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, usage, clock, cache: Mutex::default() }
    }

    /// Who shows this key.
    pub async fn authenticate(&self, key: &ApiKey) -> Result<Principal, AuthenticationError> {
        let hash = key.hash();
        let now = self.clock.now();
        let remembered = self.lock().get(&hash).filter(|known| known.forget_at > now).cloned();
        let known = match remembered {
            Some(known) => known,
            None => self.find(key, hash, now).await?,
        };
        if known.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(AuthenticationError::Expired);
        }
        Ok(known.principal)
    }

    async fn find(&self, key: &ApiKey, hash: ApiKeyHash, now: Timestamp) -> Result<Validated, AuthenticationError> {
        let stored = self.keys.find(&hash).await?.ok_or(AuthenticationError::Unknown)?;
        if stored.partition.environment != key.environment() {
            return Err(AuthenticationError::Unknown);
        }
        if stored.revoked_at.is_some() {
            return Err(AuthenticationError::Revoked);
        }
        let tenant = self.usage.tenant(&stored.partition.tenant).await?.ok_or(AuthenticationError::Unknown)?;
        let validated = Validated {
            principal: Principal { partition: stored.partition, scopes: stored.scopes, tenant, key_id: stored.id },
            expires_at: stored.expires_at,
            forget_at: after(now, KEY_CACHE_TIME),
        };
        let mut cache = self.lock();
        if cache.len() >= KEY_CACHE_SIZE {
            cache.retain(|_, known| known.forget_at > now);
        }
        if cache.len() < KEY_CACHE_SIZE {
            cache.insert(hash, validated.clone());
        }
        Ok(validated)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ApiKeyHash, Validated>> {
        // A panic elsewhere leaves the map whole: entries are inserted in one step.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
