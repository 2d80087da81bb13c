//! How fast an import writes: as fast as the store takes it, and hardly faster.

use std::time::Duration;

use tokio::time::Instant;

/// For so long the store's pace is measured before the rate follows it.
const PERIOD: Duration = Duration::from_millis(100);

/// So many records make a measurement; with fewer the period grows up to its longest.
const ENOUGH: usize = 250;

/// The longest period.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// When the store refuses more than it takes, the rate follows after so long.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// By so much of what the store took when it last refused is tried more, for every second without a refusal.
const STEP_UP: f64 = 0.05;

/// So much of what the store has taken in a period is tried after one with a refusal.
const STEP_DOWN: f64 = 0.95;

/// The lowest rate, in records a second: a batch.
const LOWEST: f64 = 25.0;

/// Spaces the writes of an import in time.
///
/// There is no limit until the store refuses something. From then on there is a rate: cut to a little less
/// than what the store has just been seen to take, and raised in small steps while it refuses nothing
/// (additive increase, multiplicative decrease). The batches in flight follow from the rate and the
/// store's latency. A limit on batches alone would be too coarse where few of them fill the store.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Records a second; `None` before the first refusal.
    rate: Option<f64>,
    /// What the store took a second when it last refused, which the steps up go by.
    refused_at: f64,
    /// When the next write may start.
    next: Instant,
    period_began: Instant,
    taken: usize,
    refused: usize,
}

impl Pacer {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: None, refused_at: 0.0, next: now, period_began: now, taken: 0, refused: 0 }
    }

    /// When a write of so many records may start; whoever asks next comes after it.
    pub(super) fn slot(&mut self, records: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let slot = self.next.max(now);
        self.next = slot + Duration::from_secs_f64(of(records) / rate);
        slot
    }

    /// A write has ended: the store has taken so many records and refused so many.
    pub(super) fn ended(&mut self, taken: usize, refused: usize, now: Instant) {
        self.taken += taken;
        self.refused += refused;
        let elapsed = now - self.period_began;
        let is_enough = self.taken + self.refused >= ENOUGH;
        let is_long = elapsed >= if self.refused > self.taken { SHORTEST_PERIOD } else { PERIOD };
        let is_first = refused > 0 && self.rate.is_none();
        if !(is_first || is_enough && is_long || elapsed >= LONGEST_PERIOD) {
            return;
        }
        let seen = of(self.taken) / elapsed.max(Duration::from_millis(1)).as_secs_f64();
        if self.refused > 0 {
            self.refused_at = seen.min(self.rate.unwrap_or(seen));
            self.rate = Some((self.refused_at * STEP_DOWN).max(LOWEST));
            self.next = self.next.max(now);
        } else if let Some(rate) = self.rate {
            self.rate = Some(rate + self.refused_at.max(LOWEST) * STEP_UP * elapsed.as_secs_f64());
        }
        self.period_began = now;
        self.taken = 0;
        self.refused = 0;
    }
}

#[expect(clippy::cast_precision_loss, reason = "records of one import are few")]
fn of(records: usize) -> f64 {
    records as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that takes so many records a second, saved up for a tenth of one; time in milliseconds.
    struct Store {
        rate: f64,
        tokens: f64,
        at: Instant,
    }

    impl Store {
        fn take(&mut self, records: usize, now: Instant) -> usize {
            self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.rate).min(self.rate / 10.0);
            self.at = now;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            let taken = (self.tokens.max(0.0) as usize).min(records);
            self.tokens -= of(taken);
            taken
        }
    }

    /// Writes for half a minute with so many batches in flight and a latency of 8 ms; returns what share of
    /// the store's rate was used, and what share of all sent was refused.
    fn run(rate: f64, in_flight: usize) -> (f64, f64) {
        let began = Instant::now();
        let mut pacer = Pacer::new(began);
        let mut store = Store { rate, tokens: 0.0, at: began };
        let mut free = vec![began; in_flight];
        let (mut taken, mut refused) = (0, 0);
        loop {
            free.sort_unstable();
            let now = free[0];
            if now - began > Duration::from_secs(30) {
                return (of(taken) / (rate * 30.0), of(refused) / of(taken + refused));
            }
            let slot = pacer.slot(25, now);
            let arrives = slot + Duration::from_millis(8);
            let got = store.take(25, arrives.max(store.at));
            pacer.ended(got, 25 - got, arrives);
            taken += got;
            refused += 25 - got;
            free[0] = arrives;
        }
    }

    #[test]
    fn the_store_is_used_fully_and_refuses_little() {
        for (rate, in_flight) in [(300.0, 32), (1_000.0, 32), (16_000.0, 32), (16_000.0, 8)] {
            let (used, refused) = run(rate, in_flight);
            assert!(used > 0.8, "{rate}: {used:.2} of the store was used");
            assert!(refused < 0.05, "{rate}: {refused:.3} of all was refused");
        }
    }

    #[test]
    fn nothing_waits_before_the_first_refusal() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now);
        for _ in 0..100 {
            assert_eq!(pacer.slot(25, now), now);
            pacer.ended(25, 0, now);
        }
    }

    #[test]
    fn a_store_that_refuses_everything_is_asked_ever_more_seldom_and_not_never() {
        let mut now = Instant::now();
        let mut pacer = Pacer::new(now);
        for _ in 0..100 {
            let slot = pacer.slot(25, now);
            assert!(slot - now <= Duration::from_secs(1));
            now = slot + Duration::from_millis(8);
            pacer.ended(0, 25, now);
        }
        let (one, other) = (pacer.slot(25, now), pacer.slot(25, now));
        assert_eq!(other - one, Duration::from_secs(1));
    }
}
