//! Files in the object store: their keys, and the one way in which workers write them.

mod assembly;
mod chunks;
mod encoder;
mod file_digest;
mod file_writer;
mod inflater;
mod object_key;
mod object_reader;

pub(crate) use assembly::{AssembledFile, Assembly, AssemblyError, MAX_ASSEMBLIES};
pub use chunks::ChunkSize;
pub(crate) use chunks::Chunks;
pub(crate) use file_digest::FileDigest;
pub(crate) use file_writer::{Cut, FileWriter, SentChunk};
pub use inflater::Inflater;
pub use object_key::{KeyPrefix, ObjectKey, Report};
pub(crate) use object_reader::{ObjectReader, ReadError};
