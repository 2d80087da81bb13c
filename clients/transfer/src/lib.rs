//! Imports and exports of any size: they are planned, written down before each step, carried out once whatever happens,
//! and accounted for. Takes a client, and tells what happens to a listener; prints nothing and knows no exit code.

mod backoff;
mod events;
mod export;
mod failure;
mod fingerprint;
mod place;
mod plan;
mod run;
mod state;
mod summary;

pub use backoff::Backoff;
pub use events::{Events, Stage};
pub use export::{
    Export, ExportState, Exporter, Manifest, Owner, check_answer, check_sizes, damaged, first_within, is_unfinished,
    new_folder, newest, write_sums,
};
pub use failure::Failure;
pub use plan::{
    BatchPlan, BuildInput, Duplicates, FhirPlan, Finding, Findings, ImportRequest, MaxRejected, Plan, Reading,
    SourcePlan, SourceRequest, Sources, Warning, build, check_sources, resolve_sources, source_name,
};
pub use run::{Driver, Memory, Stop, Waiting, may_begin_anew};
pub use state::{BatchState, JobFailure, Journal, StateFolder};
pub use summary::{Figures, Summary, summarise};

/// The version of the files that runs and exports keep.
pub const VERSION: u32 = 7;
