//! What work on a job knows of its lease: that it may begin a call, and where to say how far it is.

use std::sync::Arc;
use std::time::Duration;

use model::{Checkpoint, FailureReason, Job, JobResult, Progress, Release, Timings, Token};
use tokio::sync::watch;
use tokio::time::Instant;

/// What work that is done leaves behind.
#[derive(Debug, Clone)]
pub(crate) struct Worked {
    pub(crate) result: JobResult,
    pub(crate) progress: Progress,
    /// Whether it has written objects that none of its files needs any more.
    pub(crate) leftovers: bool,
}

/// How a worker ends its work.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    Complete(Worked),
    Fail(FailureReason),
    /// Gives the lease back, with the newest progress and checkpoint; the job is due after `delay`.
    Release {
        why: Release,
        delay: Duration,
    },
}

impl Ending {
    /// Whether operators are told that the job waits, before this is written.
    pub(super) fn is_deferral(&self) -> bool {
        matches!(
            self,
            Self::Release { why: Release::Deferred | Release::Defective, .. }
                | Self::Fail(FailureReason::InternalError)
        )
    }
}

/// What is to be written of a job: the newest state, whatever the ones before it were. The one cell between the work
/// and the heartbeat; its number tells which state has been stored.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Counts the states that were handed over.
    pub(super) number: u64,
    /// Somebody waits until this state or a later one is stored.
    pub(super) awaited: u64,
    pub(super) progress: Progress,
    pub(super) checkpoint: Option<Box<Checkpoint>>,
    /// Counts the demands to renew the lease at once.
    pub(super) renewals: u64,
    /// Records that were counted, and the month's limit that they must fit.
    pub(super) count: Option<(u64, Option<u64>)>,
    pub(super) ending: Option<Ending>,
}

/// What of it is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) number: u64,
    /// Demands for renewal that are fulfilled.
    pub(super) renewals: u64,
    /// When the lease ends, on this worker's clock.
    pub(super) valid_until: Instant,
    /// What became of the count: it is reserved, or the job fails for this.
    pub(super) counted: Option<Result<(), FailureReason>>,
}

/// A job whose lease this worker holds. Clones are the same lease.
///
/// It never fails: when the lease is lost the heartbeat ends, and the work is dropped wherever it waits.
#[derive(Clone)]
pub(crate) struct LeaseGuard {
    job: Arc<Job>,
    token: Token,
    timings: Timings,
    wanted: Arc<watch::Sender<Wanted>>,
    stored: watch::Receiver<Stored>,
}

impl LeaseGuard {
    /// The guard of a job that was acquired, and the two ends that the heartbeat holds.
    pub(super) fn new(
        job: &Job,
        token: Token,
        timings: Timings,
        valid_until: Instant,
    ) -> (Self, watch::Receiver<Wanted>, watch::Sender<Stored>) {
        let wanted = Wanted {
            number: 0,
            awaited: 0,
            progress: job.progress(),
            checkpoint: job.checkpoint().cloned().map(Box::new),
            renewals: 0,
            count: None,
            ending: None,
        };
        let (wanted, handed_over) = watch::channel(wanted);
        let (told, stored) = watch::channel(Stored { number: 0, renewals: 0, valid_until, counted: None });
        let guard = Self { job: Arc::new(job.clone()), token, timings, wanted: Arc::new(wanted), stored };
        (guard, handed_over, told)
    }

    /// The job as it was acquired.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Waits until a call may begin that the lease does not fence: in the lease's last part, until it is renewed.
    pub(crate) async fn may_call(&self) {
        let margin = self.timings.lease_margin();
        self.stored(|stored| Instant::now() + margin < stored.valid_until).await;
    }

    /// Hands over how far the work is, without waiting: it is written within a second or two. Returns the state's number.
    pub(crate) fn hand_over(&self, progress: Progress, checkpoint: Checkpoint) -> u64 {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            wanted.number += 1;
            (wanted.progress, wanted.checkpoint) = (progress, Some(Box::new(checkpoint)));
            number = wanted.number;
        });
        number
    }

    /// Hands over how far the work is, and waits until this or a later state is stored: what follows relies on it.
    pub(crate) async fn save(&self, progress: Progress, checkpoint: Checkpoint) {
        let number = self.hand_over(progress, checkpoint);
        self.wanted.send_modify(|wanted| wanted.awaited = number);
        self.stored(|stored| stored.number >= number).await;
    }

    /// Waits until the lease is renewed: whether it still stands.
    pub(crate) async fn renew(&self) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            wanted.renewals += 1;
            number = wanted.renewals;
        });
        self.stored(|stored| stored.renewals >= number).await;
    }

    /// Writes down how many records there are to import, and reserves them in the month, once.
    pub(crate) async fn count(&self, records: u64, limit: Option<u64>) -> Result<(), FailureReason> {
        self.wanted.send_modify(|wanted| wanted.count = Some((records, limit)));
        self.stored(|stored| stored.counted.is_some()).await.counted.unwrap_or(Ok(()))?;
        // Of a job that reserves nothing no total is told.
        self.wanted.send_modify(|wanted| wanted.progress.total = records);
        Ok(())
    }

    /// Says how the work has ended: the heartbeat writes it, and ends.
    pub(super) fn end(&self, ending: Ending) {
        self.wanted.send_modify(|wanted| wanted.ending = Some(ending));
    }

    /// The last line that an import had begun to write.
    pub(super) fn begun(&self) -> u64 {
        self.wanted.borrow().checkpoint.as_deref().map_or(0, Checkpoint::begun)
    }

    /// Whether what was handed over last is further than what the job was acquired with.
    pub(super) fn has_advanced(&self) -> bool {
        let wanted = self.wanted.borrow();
        self.job.has_advanced_to(wanted.progress, wanted.checkpoint.as_deref())
    }

    /// Whether anything was read since the job was acquired, whatever came of it.
    pub(super) fn has_moved(&self) -> bool {
        let wanted = self.wanted.borrow();
        wanted.checkpoint.as_deref().is_some_and(|reached| reached.has_moved_from(self.job.checkpoint()))
    }

    /// Waits until what is stored satisfies `is_so`; for ever when the heartbeat has ended.
    async fn stored(&self, is_so: impl Fn(&Stored) -> bool) -> Stored {
        let mut stored = self.stored.clone();
        loop {
            if let Some(stored) = Some(stored.borrow_and_update().clone()).filter(|stored| is_so(stored)) {
                return stored;
            }
            if stored.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
