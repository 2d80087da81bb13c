//! Exclusive work for a limited time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::Token;

/// The worker that makes this many takeovers in a row without an advance fails the job instead.
pub const MAX_TAKEOVERS: u32 = 5;

/// Exclusive work for a limited time, under a fencing token: whoever writes names it, so that a zombie worker
/// cannot do harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub token: Token,
    /// Until when, unless renewed.
    pub expires_at: Timestamp,
    /// Takeovers of an expired lease since the last checkpoint that advanced, or the last release.
    pub attempt: u32,
}

/// What a worker asks for when it acquires or renews a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    pub token: Token,
    pub expires_at: Timestamp,
    /// When the sweeper redrives the job if the worker dies.
    pub due_at: Timestamp,
    /// A job that was created before this moment is too old.
    pub oldest: Timestamp,
}
