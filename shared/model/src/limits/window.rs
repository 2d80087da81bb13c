//! The rolling hour of bulk operations.

use jiff::{SignedDuration, Timestamp};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The starts of a tenant's latest bulk operations. A versioned item: a start is added only to the
/// version that was read, so that two calls at once can never both take the last slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Counts the changes; 0 is a window that was never written.
    pub version: u64,
    /// When operations started, in milliseconds since the epoch.
    pub starts: Vec<i64>,
}

/// The limit that governs a call, as clients are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many calls there may be.
    pub total: u64,
    /// How many are left.
    pub remaining: u64,
    /// Seconds until the next slot frees; 0 when none is taken.
    pub reset_seconds: u64,
}

impl Window {
    /// The window with one more operation, or `None` when all slots of the last hour are taken.
    #[must_use]
    pub fn admit(&self, now: Timestamp, limit: u32) -> Option<Self> {
        let mut starts: Vec<_> = self.recent(now).collect();
        if starts.len() >= limit as usize {
            return None;
        }
        starts.push(now.as_millisecond());
        Some(Self { version: self.version + 1, starts })
    }

    /// What is left of the limit.
    #[must_use]
    pub fn rate_limit(&self, now: Timestamp, limit: u32) -> RateLimit {
        let used = self.recent(now).count() as u64;
        // With more operations than the limit (it was lowered), the next slot frees when enough have left.
        let surplus = usize::try_from(used.saturating_sub(u64::from(limit))).unwrap_or(0);
        let mut starts: Vec<_> = self.recent(now).collect();
        starts.sort_unstable();
        let reset_milliseconds = starts
            .get(surplus)
            .map_or(0, |start| start + i64::try_from(HOUR.as_millis()).unwrap_or(0) - now.as_millisecond());
        RateLimit {
            total: u64::from(limit),
            remaining: u64::from(limit).saturating_sub(used),
            reset_seconds: u64::try_from(reset_milliseconds).unwrap_or(0).div_ceil(1_000),
        }
    }

    /// The operations that count: a slot is free again one hour after its start.
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = i64> {
        let horizon = (now - HOUR).as_millisecond();
        self.starts.iter().copied().filter(move |start| *start > horizon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_sixth_start_waits_until_the_first_leaves_the_hour() {
        let mut window = Window::default();
        for second in 0..5 {
            window = window.admit(at(second), 5).unwrap();
        }
        assert_eq!(window.admit(at(10), 5), None);
        assert_eq!(window.rate_limit(at(10), 5), RateLimit { total: 5, remaining: 0, reset_seconds: 3590 });
        assert_eq!(window.admit(at(3599), 5), None);
        assert!(window.admit(at(3600), 5).is_some());
        assert_eq!(Window::default().rate_limit(at(0), 5), RateLimit { total: 5, remaining: 5, reset_seconds: 0 });
    }

    proptest! {
        #[test]
        fn no_rolling_hour_has_more_starts_than_the_limit(
            gaps in proptest::collection::vec(0i64..1_500, 1..80), limit in 1u32..7) {
            let mut window = Window::default();
            let mut second = 0;
            let mut admitted = Vec::new();
            for gap in gaps {
                second += gap;
                let due = admitted.iter().filter(|start| **start > second - 3600).count() < limit as usize;
                let next = window.admit(at(second), limit);
                prop_assert_eq!(next.is_some(), due);
                if let Some(next) = next {
                    window = next;
                    admitted.push(second);
                } else {
                    let wait = window.rate_limit(at(second), limit).reset_seconds;
                    let retry = second + i64::try_from(wait).unwrap();
                    prop_assert!(window.admit(at(retry), limit).is_some());
                    prop_assert!(window.admit(at(retry - 1), limit).is_none());
                }
            }
        }
    }
}
