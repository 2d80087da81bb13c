//! From a file to valid records: what a file is, its encoding, and the service's own rules. Knows no network and prints
//! nothing.

mod doubt;
mod fhir;
mod format;
mod look;
mod names;
mod source;
mod unusable;
mod validation;
mod zstd;

pub use doubt::Doubt;
pub use fhir::{ResourceCount, Resources, UNSUPPORTED};
pub use format::{Format, encoding, format_of, unpacked_name};
pub use names::{most_like, nearest, resource_type};
pub use source::{Source, check_source};
pub use unusable::{Unusable, unusable};
pub use validation::{MAX_LINE, Sink, SourceViolation, Taken, Types, Validator, read_ndjson};
