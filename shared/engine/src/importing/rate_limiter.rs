//! How fast an import writes: as fast as the store takes it, and hardly faster.

use std::time::Duration;

use ports::MAX_BATCH;
use tokio::time::Instant;

/// The store's rate is estimated over at least this time.
const PERIOD: Duration = Duration::from_millis(100);

/// So many records make an estimate; with fewer the period grows up to its longest.
const ENOUGH: usize = 250;

const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// The first estimate is at least what one shard of the table takes a second.
const ONE_SHARD: f64 = 1_000.0;

/// One refused batch alone says nothing of the store's rate: the batch itself waits, and that is enough.
const ONE_BATCH: usize = MAX_BATCH;

/// The lowest rate, in records a second: a batch.
const MIN_RATE: f64 = 25.0;

/// After a refusal the rate is this much of what the store has taken.
const STEP_DOWN: f64 = 0.95;

/// By so much of what the store took when it last refused the rate grows, for every second without a refusal.
const STEP_UP: f64 = 0.05;

/// Spaces the writes of an import in time.
///
/// There is no limit until the store throttles more than one batch within a second; nothing else counts as a refusal.
/// From then on there is a rate: a little less than what the store has just been seen to take. The first estimate may be
/// far too low, since the first refusal may come of one hot shard: the rate doubles with every clean period until the
/// next refusal (slow start), and grows in small steps afterwards (additive increase, multiplicative decrease).
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Records a second; `None` before the first refusal.
    rate: Option<f64>,
    growth: Growth,
    /// When the next write may start.
    next: Instant,
    period_began: Instant,
    taken: usize,
    refused: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Growth {
    SlowStart,
    /// By so many records a second for every second.
    Additive(f64),
}

impl RateLimiter {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: None, growth: Growth::SlowStart, next: now, period_began: now, taken: 0, refused: 0 }
    }

    /// When a write of so many records may start; whoever asks next comes after it.
    pub(super) fn slot(&mut self, records: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let slot = self.next.max(now);
        self.next = slot + Duration::from_secs_f64(of(records) / rate);
        slot
    }

    /// A write has ended: the store has taken so many records and refused so many, throttled.
    pub(super) fn ended(&mut self, taken: usize, refused: usize, now: Instant) {
        self.taken += taken;
        self.refused += refused;
        let elapsed = now - self.period_began;
        let Some(rate) = self.rate else {
            if self.refused > ONE_BATCH {
                let seen = of(self.taken) / elapsed.max(PERIOD).as_secs_f64();
                self.rate = Some((seen * STEP_DOWN).max(ONE_SHARD));
                self.begin_period(now);
            } else if elapsed >= LONGEST_PERIOD {
                // What was taken long before says nothing of the rate at which the first refusal comes.
                self.begin_period(now);
            }
            return;
        };
        let is_enough = self.taken + self.refused >= ENOUGH || self.refused == 0 && self.growth == Growth::SlowStart;
        if !(is_enough && elapsed >= PERIOD || elapsed >= LONGEST_PERIOD) {
            return;
        }
        let seen = of(self.taken) / elapsed.as_secs_f64();
        if self.refused > 0 {
            let held = seen.min(rate).max(MIN_RATE);
            self.growth = Growth::Additive(held * STEP_UP);
            self.rate = Some((held * STEP_DOWN).max(MIN_RATE));
        } else {
            self.rate = Some(match self.growth {
                Growth::SlowStart => rate * 2.0,
                Growth::Additive(step) => rate + step * elapsed.as_secs_f64(),
            });
        }
        self.begin_period(now);
    }

    fn begin_period(&mut self, now: Instant) {
        self.next = self.next.max(now);
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

    /// A store that takes so many records a second, saved up for a tenth of one; empty at first.
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
        let mut limiter = RateLimiter::new(began);
        let mut store = Store { rate, tokens: 0.0, at: began };
        let mut free = vec![began; in_flight];
        let (mut taken, mut refused) = (0, 0);
        loop {
            free.sort_unstable();
            let now = free[0];
            if now - began > Duration::from_secs(30) {
                return (of(taken) / (rate * 30.0), of(refused) / of(taken + refused));
            }
            let slot = limiter.slot(25, now);
            let arrives = slot + Duration::from_millis(8);
            let got = store.take(25, arrives.max(store.at));
            limiter.ended(got, 25 - got, arrives);
            taken += got;
            refused += 25 - got;
            free[0] = arrives;
        }
    }

    #[test]
    fn the_store_is_used_fully_and_refuses_little() {
        for (rate, in_flight) in [(300.0, 16), (1_000.0, 16), (16_000.0, 32)] {
            let (used, refused) = run(rate, in_flight);
            assert!(used > 0.8, "{rate}: {used:.2} of the store was used");
            assert!(refused < 0.05, "{rate}: {refused:.3} of all was refused");
        }
    }

    #[test]
    fn nothing_waits_before_the_first_refusal() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(now);
        for _ in 0..100 {
            assert_eq!(limiter.slot(25, now), now);
            limiter.ended(25, 0, now);
        }
    }

    #[test]
    fn one_early_refusal_leaves_an_import_fast() {
        let began = Instant::now();
        let mut limiter = RateLimiter::new(began);
        limiter.ended(0, 25, began + Duration::from_millis(1));
        assert_eq!(limiter.slot(25, began), began, "one refused batch alone sets no limit");
        limiter.ended(0, 25, began + Duration::from_millis(2));
        let mut now = began;
        for _ in 0..400 {
            now = limiter.slot(25, now).max(now);
            limiter.ended(25, 0, now + Duration::from_millis(8));
        }
        assert!(now - began < Duration::from_secs(4), "10,000 records in {:?}", now - began);
    }

    #[test]
    fn a_store_that_refuses_everything_is_asked_ever_more_seldom_and_not_never() {
        let mut now = Instant::now();
        let mut limiter = RateLimiter::new(now);
        for _ in 0..100 {
            let slot = limiter.slot(25, now);
            assert!(slot - now <= Duration::from_secs(1));
            now = slot + Duration::from_millis(8);
            limiter.ended(0, 25, now);
        }
        let (one, other) = (limiter.slot(25, now), limiter.slot(25, now));
        assert_eq!(other - one, Duration::from_secs(1));
    }
}
