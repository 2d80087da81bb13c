//! Imports and exports of any size: they are planned, written down before each step, carried out once whatever happens,
//! and accounted for. Takes a client, and tells what happens to a listener; prints nothing and knows no exit code.

mod batch;
mod events;
mod export;
mod failure;
pub mod files;
mod plan;
mod run;
mod state;
mod summary;

pub use batch::{OpenBatch, Place, duplicate};
pub use events::{Events, Stage};
pub use export::{ExportState, Exporter, Manifest, is_unfinished, new_folder, newest};
pub use failure::Failure;
pub use plan::{
    BatchPlan, BuildInput, ImportRequest, MaxRejected, Plan, SourcePlan, SourceRequest, VERSION, build,
    resolve_sources, source_name,
};
pub use run::{Driver, Stop, Waiting};
pub use state::{BatchState, Journal, StateFolder};
pub use summary::{Summary, summarise};
