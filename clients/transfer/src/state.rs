//! The state folder of an import: all that a run knows, for its owner alone.

mod folder;
mod held;
mod journal;
mod lines;

pub use folder::StateFolder;
pub(crate) use held::{HeldRecord, HeldRecords};
pub use journal::{BatchState, JobFailure, Journal};
pub(crate) use lines::LineMap;
