//! How long things take: the times that leases, repeats and limits go by.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The times of the machinery. Functions take them from their configuration; tests make them short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For how long a lease is taken and renewed.
    pub lease: Duration,
    /// After how long without a message's effect a job is sent again.
    pub resend: Duration,
    /// How old a job may become before it is failed.
    pub max_age: Duration,
    /// How long a segment is worked on before it makes room for others.
    pub turn: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            resend: Duration::from_mins(5),
            max_age: Duration::from_hours(24),
            turn: Duration::from_mins(2),
        }
    }
}

impl Pace {
    /// How often a lease is renewed: twice may go wrong before it is lost.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.lease / 3
    }

    /// The last part of a lease, in which its holder starts no call any more.
    #[must_use]
    pub fn lease_margin(&self) -> Duration {
        self.lease / 6
    }

    /// How long after a lease's end the job is due: whoever comes then finds it expired.
    #[must_use]
    pub fn due_grace(&self) -> Duration {
        self.lease / 6
    }

    /// How long a job rests after the `releases`-th time in a row that a dependency was down:
    /// doubling from half a lease up to 15 minutes.
    #[must_use]
    pub fn back_off(&self, releases: u32) -> Duration {
        let most = Duration::from_mins(15);
        (self.lease / 2).saturating_mul(2u32.saturating_pow(releases.min(16))).min(most)
    }
}

/// How far before the start of its reading an export's next `since` lies: clocks may differ by a second,
/// a write may be under way for three, and the rest is for the index to catch up.
const SAFETY_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// The next `since` after an export whose reading began then: with it nothing is missed, though some
/// records may come twice.
#[must_use]
pub fn transaction_time(started_reading_at: Timestamp) -> Timestamp {
    started_reading_at - SAFETY_WINDOW
}

/// The moment `duration` after `now`.
#[must_use]
pub fn after(now: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| now.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
