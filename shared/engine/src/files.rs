//! Files in the object store: the one way in which workers read and write them.

mod assembly;
mod encoder;
mod file_writer;
mod object_reader;

pub(crate) use assembly::{Assembly, AssemblyError, MAX_ASSEMBLIES};
pub(crate) use file_writer::{AssembledFile, Cut, FileWriter, SentChunk};
pub(crate) use object_reader::{ObjectReader, ReadError};
