//! Line framing for NDJSON, and inflating it: bytes are pushed in, lines are pulled out. Does no I/O, holds a bounded amount of
//! memory whatever the input, and knows nothing of records, jobs or AWS.

mod inflater;
mod lines;

pub use inflater::{Inflater, InflatingReader};
pub use lines::{Frame, LineCounter, LineSplitter};
