//! What the rules need from outside, as traits with their data and errors, and what both sides of the queue do with them.
//! The partition is the first argument of everything that belongs to one, so that a forgotten filter does not compile.

mod error;
mod jobs;
mod metrics;
mod objects;
mod records;
mod results;
mod retry;
mod sources;
mod usage;

pub use error::{Cause, PortError};
pub use jobs::*;
pub use metrics::{METRICS, job_ended, service_defect};
pub use objects::*;
pub use records::*;
pub use results::{remove_leftovers, remove_results, send};
pub use retry::{Backoff, RetryPolicy, retry};
pub use sources::{Clock, IdSource};
pub use usage::*;
