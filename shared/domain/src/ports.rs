//! What the use cases need from outside, as traits. The partition is the first argument of everything
//! that belongs to one, so that a forgotten filter does not compile.

use jiff::Timestamp;

mod jobs;
mod objects;
mod records;
mod usage;

pub use jobs::*;
pub use objects::*;
pub use records::*;
pub use usage::*;

/// The cause of a failure, kept for the log; it never names a value of a record.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A call to the outside went wrong.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A dependency throttles, is down, or did not answer: the same call may work later. Whether it
    /// had its effect is not known.
    #[error("{operation}: unavailable: {cause}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// What the dependency said.
        #[source]
        cause: Cause,
    },
    /// A refusal that will not go away by itself: a missing permission, an item that cannot be read.
    #[error("{operation}: defect: {cause}")]
    Defect {
        /// What was being done.
        operation: &'static str,
        /// What the dependency said.
        #[source]
        cause: Cause,
    },
}

/// Reads the wall clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Draws randomness.
pub trait IdSource: Send + Sync {
    /// 128 unguessable bits.
    fn random(&self) -> u128;
}
