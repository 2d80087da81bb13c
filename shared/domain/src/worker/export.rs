//! An export: plan, segments, finish. Each step leaves behind all that the next one needs, so that any
//! worker can go on where another stopped.

mod finish;
mod pages;
mod plan;
mod segment;

pub(super) use segment::Covered;
