//! Steps that run side by side. The one place of the engine that selects among futures.

use futures::future::{self, BoxFuture, Either};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

/// A set that owns steps and runs each to its end, or until the set is dropped: whoever waits for one to end may stop
/// waiting, and nothing is forgotten.
pub(crate) struct Tasks<T> {
    steps: FuturesUnordered<BoxFuture<'static, T>>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { steps: FuturesUnordered::new() }
    }
}

impl<T> Tasks<T> {
    pub(crate) fn begin(&mut self, step: impl Future<Output = T> + Send + 'static) {
        self.steps.push(Box::pin(step));
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What the next step has brought that ends; `None` when it is time to wake up.
    pub(crate) async fn next(&mut self, wake: Instant) -> Option<T> {
        if self.is_empty() {
            tokio::time::sleep_until(wake).await;
            return None;
        }
        tokio::time::timeout_at(wake, self.steps.next()).await.ok().flatten()
    }
}

/// Waits for the first of two that ends; the other one is left where it is. In a fixed order, so that a simulation's seed
/// always gives the same run.
pub(crate) async fn either<A, B>(
    first: &mut (impl Future<Output = A> + Unpin),
    second: &mut (impl Future<Output = B> + Unpin),
) -> Either<A, B> {
    match future::select(first, second).await {
        Either::Left((ended, _)) => Either::Left(ended),
        Either::Right((ended, _)) => Either::Right(ended),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_goes_on_though_nobody_waits_for_it() {
        let began = Instant::now();
        let mut tasks = Tasks::default();
        tasks.begin(async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            "done"
        });
        let second = |number| began + Duration::from_secs(number);
        assert_eq!(tasks.next(second(1)).await, None);
        assert_eq!(tasks.next(second(2)).await, None);
        assert_eq!(tasks.next(second(9)).await, Some("done"));
        assert_eq!(began.elapsed(), Duration::from_secs(3), "it was begun once");
        assert_eq!(tasks.next(second(9)).await, None, "an empty set waits until it is time");
        assert_eq!(began.elapsed(), Duration::from_secs(9));
    }
}
