//! Carrying an import out: upload, start, poll, collect.

mod collect;
mod driver;
mod start;

pub(crate) use collect::ResultLine;
pub use driver::{Driver, Memory, Stop, Waiting, may_begin_anew};
pub(crate) use start::batch_label;
