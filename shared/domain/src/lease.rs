//! Exclusive work for a limited time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::Token;

/// Take-overs without progress in between; the worker that takes over for this time gives the job up.
pub const MAX_TAKE_OVERS: u32 = 5;

/// Exclusive work for a limited time. Whoever writes under it names its token, so that a worker that
/// was declared dead and is not cannot do harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who holds it.
    pub token: Token,
    /// Until when, unless renewed.
    pub expires_at: Timestamp,
    /// Take-overs of an expired lease since the last progress or clean release.
    pub attempt: u32,
}

/// What whoever wants a lease brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The worker's token.
    pub token: Token,
    /// Until when the lease is to run.
    pub expires_at: Timestamp,
    /// When the work is due if the worker dies.
    pub due_at: Timestamp,
}

/// Why a lease cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another worker holds it.
    Held,
    /// Worker after worker died at the same place.
    Exhausted,
}

impl Lease {
    /// The lease after a worker's claim at `now`, following the one that is there.
    pub(crate) fn follow(held: Option<&Self>, claim: &Claim, now: Timestamp) -> Result<Self, Refusal> {
        let attempt = match held {
            None => 0,
            Some(held) if held.expires_at > now => return Err(Refusal::Held),
            Some(held) if held.attempt + 1 >= MAX_TAKE_OVERS => return Err(Refusal::Exhausted),
            Some(held) => held.attempt + 1,
        };
        Ok(Self { token: claim.token.clone(), expires_at: claim.expires_at, attempt })
    }

    /// The lease renewed by its holder; with progress its attempts are forgotten.
    pub(crate) fn renew(&self, claim: &Claim, advanced: bool) -> Self {
        let attempt = if advanced { 0 } else { self.attempt };
        Self { token: self.token.clone(), expires_at: claim.expires_at, attempt }
    }
}
