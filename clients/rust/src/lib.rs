//! A client of ClinikAPI's bulk operations: start imports and exports, follow their jobs, upload and download.
//!
//! Calls block. Those that may be repeated are repeated while the network or the service fails for a moment; a start
//! carries an idempotency key, so that repeating it starts no second job. Downloads go on where they broke off, and are
//! compared with the length and hash that the job tells. Nothing here prints or keeps files, and no error holds a key, a
//! signed URL or a value of a record.
#![doc = include_str!("../README.md")]

mod client;
mod download;
mod error;
mod key;
mod proxy;
mod transport;
mod wire;

pub use client::{Client, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Polled, base_url, new_key};
pub use download::Download;
pub use error::{ApiError, BuildError, DownloadError, Refused, UploadFate};
pub use key::{InvalidKey, Key};
pub use wire::{Job, JobError, JobFile, JobStatus, Limits, Month, Operations, Outcome, Upload};
