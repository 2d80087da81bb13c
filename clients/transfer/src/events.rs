//! What happens, told while it happens.

use anyhow::Result;
use serde_json::Value;

/// What is done for a while, and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Sources are read, in bytes.
    Reading,
    /// Records are imported.
    Importing,
    /// Records are exported.
    Exporting,
    /// Files are downloaded, in bytes.
    Downloading,
    /// A job that somebody has started is waited for.
    Waiting,
}

/// Hears what happens.
pub trait Events {
    /// Something for people to know.
    fn say(&self, message: &str);

    /// Something that people have to see.
    fn warn(&self, message: &str);

    /// Something for programs. An error ends the work: nobody hears any more.
    fn event(&self, event: &Value) -> Result<()>;

    /// A stage begins, with so much to do; 0 where that is not known.
    fn begin(&self, stage: Stage, total: u64);

    /// How much there is to do has become known.
    fn set_total(&self, total: u64);

    /// So much of the stage is done.
    fn advance(&self, done: u64);

    /// How far a running job is.
    fn job(&self, id: &str, processed: u64, total: u64);

    /// The job runs no longer.
    fn job_ended(&self, id: &str);
}
