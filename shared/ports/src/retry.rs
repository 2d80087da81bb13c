//! Trying again: one policy, one helper, full jitter, so that those who collided do not meet again.

use std::time::Duration;

use crate::sources::IdSource;

/// How often and how patiently something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub max_attempts: u32,
    /// The longest delay before the second attempt; it doubles with each further one.
    pub base_delay: Duration,
    /// The longest delay of all.
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// A policy with delays in milliseconds.
    #[must_use]
    pub const fn new(max_attempts: u32, base_delay: u64, max_delay: u64) -> Self {
        Self {
            max_attempts,
            base_delay: Duration::from_millis(base_delay),
            max_delay: Duration::from_millis(max_delay),
        }
    }

    /// The same delays, for as long as it takes.
    #[must_use]
    pub const fn unlimited(self) -> Self {
        Self { max_attempts: u32::MAX, ..self }
    }

    /// How long to wait after that many attempts (from 1): drawn from the whole range up to the longest delay.
    fn delay(&self, attempts: u32, random: u128) -> Duration {
        let longest = self.base_delay.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)));
        let microseconds = longest.min(self.max_delay).as_micros().max(1);
        Duration::from_micros(u64::try_from(random % microseconds).unwrap_or(0))
    }
}

/// The attempts so far of something that is tried under a policy.
pub struct Backoff<'a> {
    policy: RetryPolicy,
    ids: &'a dyn IdSource,
    attempts: u32,
}

impl<'a> Backoff<'a> {
    #[must_use]
    pub fn new(policy: RetryPolicy, ids: &'a dyn IdSource) -> Self {
        Self { policy, ids, attempts: 0 }
    }

    /// Waits before the next attempt; false, without a wait, when all attempts are used up.
    pub async fn wait(&mut self) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= self.policy.max_attempts {
            return false;
        }
        tokio::time::sleep(self.policy.delay(self.attempts, self.ids.random())).await;
        true
    }

    /// Forgets the attempts so far: there was progress.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Runs `operation` until it succeeds, fails with an error that is not retryable, or all attempts are used up.
pub async fn retry<T, E, F>(
    policy: RetryPolicy,
    ids: &dyn IdSource,
    is_retryable: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(policy, ids);
    loop {
        match operation().await {
            Err(error) if is_retryable(&error) => {
                if !backoff.wait().await {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let policy = RetryPolicy::new(9, 100, 1_000);
        let longest = |attempts| policy.delay(attempts, u128::MAX / 2 * 2 + 1).as_millis();
        assert!(longest(1) < 100 && longest(2) < 200 && longest(30) < 1_000);
        assert_eq!(policy.delay(1, 0), Duration::ZERO);
        assert_eq!(policy.delay(30, 999_999).as_micros(), 999_999);
    }
}
