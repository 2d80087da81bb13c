//! The clinical record types and what the service does to a record.
//!
//! Rules are data: one JSON Schema per type under `schemas/`. One scanner walks an NDJSON line once,
//! checks its grammar, validates it by the rules of its type and notes where its members are; the stored
//! line is then put together from the original bytes. Nothing here does I/O, knows a job or a tenant's
//! plan, or puts a value of a record into an error.

mod decimal;
mod format;
mod id;
mod packed;
mod resource_type;
mod scan;
mod schema;
mod stored;
mod text;
mod violation;

pub use format::{is_clock, is_date, is_rfc3339};
pub use id::{InvalidRecordId, RecordId};
pub use packed::{CorruptLine, PackedLine, Packer, Unpacker};
pub use resource_type::{ResourceType, UnknownResourceType};
pub use scan::{Record, TAG_SYSTEM};
pub use schema::{ArrayRule, Member, NumberRule, ObjectRule, Schema, StringRule, ValueRule};
pub use stored::{MAX_STORED_LINE, StoredLine};
pub use violation::{MAX_VIOLATIONS_PER_RECORD, Violation, ViolationCode};
