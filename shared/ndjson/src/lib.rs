//! Line framing for NDJSON and rolling of bytes into parts.
//!
//! Both halves are plain state machines: bytes are pushed in, lines or parts are pulled out. They do
//! no I/O, hold a bounded amount of memory whatever the input, and know nothing of records, jobs or AWS.

mod lines;
mod parts;

pub use lines::{Frame, LineCounter, LineSplitter};
pub use parts::PartRoller;
