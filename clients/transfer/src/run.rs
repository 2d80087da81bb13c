//! An import run: its state folder, its journal, and the driver that carries it out.

mod collect;
mod driver;
mod folder;
mod held;
mod journal;
mod lines;
mod start;
mod summary;

pub(crate) use driver::{Driver, Stop};
pub(crate) use folder::StateFolder;
pub(crate) use held::HeldRecords;
pub(crate) use journal::{BatchState, Journal};
pub(crate) use lines::LineMap;
pub(crate) use summary::{Summary, summarise};
