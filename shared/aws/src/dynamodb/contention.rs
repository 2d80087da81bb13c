//! Writes that meet other writes to the same item.

use std::time::Duration;

/// How often a write is made before it is given up: 50 at once took up to 12 tries.
const MAX_TRIES: u32 = 15;

/// The longest wait before another try, in milliseconds; the first is as long as a transaction takes.
const LONGEST_WAIT: u64 = 400;
const FIRST_WAIT: u64 = 10;

/// Makes a call until no transaction is at work on its items; one that meets another has done nothing.
///
/// The SDK does not count this among what goes away by itself.
pub(super) async fn uncontended<T, E, F>(mut call: impl FnMut() -> F, is_contended: impl Fn(&E) -> bool) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    for tries in 0..MAX_TRIES - 1 {
        match call().await {
            Err(error) if is_contended(&error) => {
                let longest = FIRST_WAIT.saturating_mul(1 << tries).min(LONGEST_WAIT);
                // Drawn from the whole range, so that those who met do not meet again.
                let drawn = getrandom::u64().unwrap_or(0) % (longest * 1_000);
                tokio::time::sleep(Duration::from_micros(drawn)).await;
            }
            done => return done,
        }
    }
    call().await
}
