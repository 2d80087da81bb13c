//! Who calls, and the names of things.

mod api_key;
mod authenticate;
mod ids;

pub use api_key::{ApiKey, ApiKeyHash, MalformedKey, Principal, Scope, StoredKey, UnknownScope};
pub(crate) use api_key::{hex, sha256_hex};
pub use authenticate::{AuthenticationError, Authenticator, KEY_CACHE_TIME};
pub use ids::{Environment, InvalidId, JobId, Partition, RequestId, TenantId, Token, UploadId};
