//! What tenants may use: plans, the month's pools, the rolling hour of bulk operations.

mod plan;
mod window;

pub use plan::*;
pub use window::*;
