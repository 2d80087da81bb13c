//! The data of the service and what can be said of it without asking anybody: ids, keys, plans, jobs and their states,
//! where things lie. No trait, nothing asynchronous; a clock and randomness are handed in.

mod changes;
mod digest;
mod files;
mod idempotency;
mod ids;
mod job_type;
mod jobs;
mod keys;
mod limits;
mod timings;
mod uploads;
mod validation;

pub use changes::*;
pub use digest::*;
pub use files::*;
pub use idempotency::*;
pub use ids::*;
pub use job_type::*;
pub use jobs::*;
pub use keys::*;
pub use limits::*;
pub use timings::*;
pub use uploads::*;
pub use validation::*;
