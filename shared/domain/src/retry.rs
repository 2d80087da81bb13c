//! Waiting before the next try.

use std::time::Duration;

use crate::ports::IdSource;

/// Waits before try number `attempt` (from 1), as [`jitter`] says.
pub(crate) async fn pause(ids: &dyn IdSource, attempt: u32, base: Duration, most: Duration) {
    tokio::time::sleep(jitter(ids.random(), attempt, base, most)).await;
}

/// How long to wait before try number `attempt` (from 1): between nothing and `base` doubled with every
/// attempt, at most `most`. The wait is drawn from its whole range, so that those who collided do not meet again.
#[must_use]
pub fn jitter(random: u128, attempt: u32, base: Duration, most: Duration) -> Duration {
    let longest = base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(most);
    let microseconds = u128::from(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)).max(1);
    Duration::from_micros(u64::try_from(random % microseconds).unwrap_or(0))
}
