//! How far the index of records lags behind its table: what an export's next `since` counts on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::{Clock, IndexProbe, PortError};

/// How often the index is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// After so long the look-out ends, and the lag is at least that. The alarm is at 30 s.
const PATIENCE: Duration = Duration::from_secs(35);

/// Measures the index's lag.
pub struct IndexGauge {
    /// The index.
    pub index: Arc<dyn IndexProbe>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl IndexGauge {
    /// How long a mark took from the table into the index.
    pub async fn measure(&self) -> Result<Duration, PortError> {
        let mark = self.clock.now();
        let began = Instant::now();
        self.index.mark(mark).await?;
        loop {
            let is_there = self.index.latest_mark().await?.is_some_and(|seen| seen >= mark);
            let elapsed = began.elapsed();
            if is_there || elapsed >= PATIENCE {
                return Ok(elapsed);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryClock;
    use async_trait::async_trait;
    use jiff::Timestamp;
    use std::sync::Mutex;

    /// An index that shows a mark after a while.
    struct Slow {
        lag: Duration,
        marked: Mutex<Option<(Timestamp, Instant)>>,
    }

    #[async_trait]
    impl IndexProbe for Slow {
        async fn mark(&self, at: Timestamp) -> Result<(), PortError> {
            *self.marked.lock().unwrap() = Some((at, Instant::now()));
            Ok(())
        }

        async fn latest_mark(&self) -> Result<Option<Timestamp>, PortError> {
            let marked = *self.marked.lock().unwrap();
            Ok(marked.filter(|(_, since)| since.elapsed() >= self.lag).map(|(mark, _)| mark))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_seen_and_the_look_out_ends() {
        for (lag, told) in [(0, 0), (250, 300), (20_000, 20_000), (3_600_000, 35_000)] {
            let index = Arc::new(Slow { lag: Duration::from_millis(lag), marked: Mutex::default() });
            let gauge = IndexGauge { index, clock: Arc::new(MemoryClock::starting_at(Timestamp::UNIX_EPOCH)) };
            assert_eq!(gauge.measure().await.unwrap().as_millis(), told, "{lag}");
        }
    }
}
