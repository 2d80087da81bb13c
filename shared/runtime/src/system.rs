//! The real clock and the real randomness.

use jiff::Timestamp;
use ports::{Clock, IdSource};

/// The system's clock, to the millisecond: what is stored and shown has no finer times.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// The system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        // Without randomness no key and no id is safe: there is nothing to go on with.
        #[expect(clippy::expect_used, reason = "the system's generator does not fail after boot")]
        getrandom::fill(&mut bytes).expect("the system gives randomness");
        u128::from_le_bytes(bytes)
    }
}
