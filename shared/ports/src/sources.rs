//! The clock and randomness.

use jiff::Timestamp;

/// Reads the wall clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Draws randomness.
pub trait IdSource: Send + Sync {
    /// 128 unguessable bits.
    fn random(&self) -> u128;
}
