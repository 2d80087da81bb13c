//! Holding a segment of an export.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Hold, HoldError, Holder, Leased, Patience, claim};
use crate::ids::Partition;
use crate::job::{Event, IllegalTransition, Job};
use crate::lease::{Claim, Lease};
use crate::message::Target;
use crate::object_key::ObjectKey;
use crate::ports::{Change, JobStore, PortError, UpdateError};
use crate::retry::pause;
use crate::segment::{Checkpoint, Segment, SegmentEvent};

#[async_trait]
impl Leased for Segment {
    type Note = Checkpoint;

    fn lease(&self) -> Option<&Lease> {
        self.lease()
    }

    fn note(&self) -> Checkpoint {
        self.checkpoint().clone()
    }

    fn taken(&self, claim: Claim, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.apply(SegmentEvent::Taken(claim), now)
    }

    fn renewed(&self, claim: Claim, note: Checkpoint, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.apply(SegmentEvent::Renewed(claim, note), now)
    }

    fn change(&self) -> Change {
        self.clone().into()
    }

    // What operators count are jobs.
    fn ended(&self, _now: Timestamp) {}

    async fn load(
        jobs: &dyn JobStore,
        partition: &Partition,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Self>, PortError> {
        jobs.segment(partition, &target.job_id, target.segment.unwrap_or_default(), now).await
    }
}

impl Hold<Segment> {
    /// Writes down what the segment's parts cover.
    pub(crate) async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), HoldError> {
        let mut written = self.written.lock().await;
        written.note = checkpoint;
        self.renew(&mut written, Patience::UntilLeaseEnds).await
    }

    /// Ends the hold in good order.
    pub(crate) async fn release(&self, due_at: Timestamp, because_unavailable: bool) -> Result<(), HoldError> {
        let released = |segment: &Segment, now| {
            segment.apply(SegmentEvent::Released { token: self.token.clone(), due_at, because_unavailable }, now)
        };
        self.end(released, Segment::change).await
    }

    /// Ends the hold with the segment done, and counts it in the job, together. With the last segment the job
    /// is held in its place, to be finished.
    pub(crate) async fn done(
        &self,
        tail: Option<ObjectKey>,
        covered: Checkpoint,
    ) -> Result<Option<Hold<Job>>, HoldError> {
        let Holder { jobs, clock, ids, pace } = &self.holder;
        let sent = Instant::now();
        let mut written = self.written.lock().await;
        let number = written.current.number();
        let mut tries = 0;
        loop {
            self.check()?;
            tries += 1;
            let now = clock.now();
            let job = jobs.get(&self.partition, &self.target.job_id, now).await?.ok_or(HoldError::Lost)?;
            if job.plan().is_some_and(|plan| plan.done.contains(&number)) {
                // A try of this write whose answer was lost: nobody else holds the lease.
                return Ok(self.finishing(job, sent));
            }
            let done = SegmentEvent::Done { token: self.token.clone(), tail: tail.clone(), covered: covered.clone() };
            let segment = written.current.apply(done, now).map_err(|_| HoldError::Lost)?;
            let event = Event::SegmentDone { number, claim: claim(&self.token, pace, now) };
            let job = job.apply(event, now).map_err(|_| HoldError::Lost)?;
            let change = Change { job: Some(job.clone()), ..segment.into() };
            match jobs.update(&self.partition, &change).await {
                Ok(()) => return Ok(self.finishing(job, sent)),
                Err(UpdateError::Conflict) => {
                    let stored = Segment::load(jobs.as_ref(), &self.partition, &self.target, now).await?;
                    let stored = stored.ok_or(HoldError::Lost)?;
                    // Another segment's end came first, or this write has landed: the job will tell.
                    if stored.is_held_by(&self.token) {
                        written.current = stored;
                    } else if stored.due_at().is_some() {
                        return Err(HoldError::Lost);
                    }
                }
                Err(UpdateError::Port(error @ PortError::Unavailable { .. })) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "write end of segment");
                }
                Err(UpdateError::MonthFull) => return Err(HoldError::MonthFull),
                Err(UpdateError::Port(error)) => return Err(HoldError::Port(error)),
            }
            pause(ids.as_ref(), tries, Duration::from_millis(20), Duration::from_secs(2)).await;
        }
    }

    /// The hold on the job, if the end of this segment has brought its lease.
    fn finishing(&self, job: Job, sent: Instant) -> Option<Hold<Job>> {
        let target = Target::from(job.id());
        job.is_held_by(&self.token)
            .then(|| Hold::new(self.holder.clone(), &self.partition, &target, self.token.clone(), job, sent))
    }
}
