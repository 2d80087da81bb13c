//! Writes that meet other writes to the same item.

use std::time::Duration;

use domain::jitter;

/// How often a write is made before it is given up: 50 at once took up to 12 tries.
const MAX_TRIES: u32 = 15;

/// The longest first wait: as long as a transaction takes.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// Makes a call until no transaction is at work on its items; one that meets another has done nothing.
///
/// The SDK does not count this among what goes away by itself.
pub(super) async fn uncontended<T, E, F>(mut call: impl FnMut() -> F, is_contended: impl Fn(&E) -> bool) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    for attempt in 1..MAX_TRIES {
        match call().await {
            Err(error) if is_contended(&error) => {
                let random = getrandom::u64().unwrap_or(0).into();
                tokio::time::sleep(jitter(random, attempt, FIRST_WAIT, LONGEST_WAIT)).await;
            }
            done => return done,
        }
    }
    call().await
}
