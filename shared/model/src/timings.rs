//! How long things take: the durations that leases, redrives and limits go by.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The durations of the machinery. Functions take them from their settings; tests make them short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For how long a lease is acquired and renewed.
    pub lease: Duration,
    /// How long after its message was sent a job is due that has not started.
    pub redrive: Duration,
    /// How old a job may become before it fails.
    pub max_age: Duration,
    /// For how long one worker exports before it makes room.
    pub time_slice: Duration,
    /// How old the change log's newest stamp must be before an export with `since` reads it: by then every write
    /// with that stamp has landed.
    pub settle: Duration,
    /// When no shard has advanced for so long, the record store counts as down.
    pub stalled: Duration,
    /// How long putting a file together may take in its last step, which cannot be divided
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
    pub complete: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            redrive: Duration::from_mins(5),
            max_age: Duration::from_hours(24),
            time_slice: Duration::from_mins(2),
            settle: Duration::from_secs(10),
            stalled: Duration::from_mins(1),
            complete: Duration::from_mins(10),
        }
    }
}

impl Timings {
    /// How often a lease is renewed: two renewals may fail before it is lost.
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

    /// How long after its message was sent a job is due that has started: the message waits for the time slices of others,
    /// and a second one in the queue would ask for a slice of its own, again and again. Queues lose none.
    #[must_use]
    pub fn redrive_started(&self) -> Duration {
        self.redrive * 6
    }

    /// When no shard has advanced for so long, the record store counts as down: well within a time slice, or nobody would
    /// ever be told.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.stalled.min((self.time_slice / 2).max(Duration::from_secs(10)))
    }

    /// How long a job is deferred that was deferred `deferrals` times in a row before: half a lease, doubled each time,
    /// up to the longest.
    #[must_use]
    pub fn deferral(&self, deferrals: u32, longest: Duration) -> Duration {
        (self.lease / 2).saturating_mul(2u32.saturating_pow(deferrals.min(16))).min(longest)
    }
}

/// How far before an export's start the next `since` of its chain lies. AWS refuses a request five minutes after
/// its signature, stamps are at most 5 s old when a try is signed, and clocks agree within 2 s
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
const CHAIN_OVERLAP: SignedDuration = SignedDuration::from_mins(6);

/// The `since` that continues a chain after an export that started then: nothing is missed, though what changed
/// in the last minutes comes again.
#[must_use]
pub fn transaction_time(started_at: Timestamp) -> Timestamp {
    started_at - CHAIN_OVERLAP
}

/// The moment `duration` after `now`.
#[must_use]
pub fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
