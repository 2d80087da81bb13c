//! Records of the service as FHIR R4 resources, and FHIR R4 resources as records, both by one table that is data.
//!
//! Pure: one record at a time, no I/O, no job and no tenant. A flat record becomes a resource and the same record again,
//! whatever is in it: what the table does not carry travels as text in an extension. A foreign resource becomes a flat
//! record that keeps what the flat members do not say in `x-fhir`, so that it becomes the same resource again.

mod bundle;
mod converter;
mod extras;
mod ids;
mod losses;
mod moments;
mod names;
mod node;
mod path;
mod primitive;
mod read;
mod references;
mod resource;
mod table;
mod write;

pub use bundle::{Entry, entries, unresolved};
pub use converter::{Converter, LossLine};
pub use ids::{from_fhir as id_from_fhir, to_fhir as id_to_fhir};
pub use losses::{EnteredInError, Losses};
pub use names::{OTHER, resource_type};
pub use node::{Members, Node, NotJson};
pub use references::{Referred, references};
pub use resource::{MAPPING_VERSION, Read, Unmapped, from_fhir, read_fhir, to_fhir, write_fhir};
