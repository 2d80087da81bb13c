//! Files in the object store: their keys, and the one way in which workers write them.

mod file_digest;
mod inflater;
mod multipart_writer;
mod object_key;
mod object_reader;

pub(crate) use file_digest::FileDigest;
pub use inflater::Inflater;
pub(crate) use multipart_writer::{CompleteError, MultipartWriter, Parts};
pub use object_key::{KeyPrefix, ObjectKey, Report};
pub(crate) use object_reader::{ObjectReader, ReadError};
