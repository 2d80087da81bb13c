//! What tenants may use: plans, the month's pools, the rolling hour of bulk operations.

mod plan;
mod window;

pub use plan::{DEFAULT_BULK_OPERATIONS_PER_HOUR, MAX_BULK_OPERATIONS_PER_HOUR, Month, Plan, Pool, Tenant, next_month};
pub use window::{RateLimit, Window};
