//! Files in the object store: their keys, and the one way in which workers write them.

mod inflater;
mod multipart_writer;
mod object_key;

pub use inflater::Inflater;
pub(crate) use multipart_writer::{CompleteError, FileDigest, MultipartWriter, Parts};
pub use object_key::{ObjectKey, Report};
