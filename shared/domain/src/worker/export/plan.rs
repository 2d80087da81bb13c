//! Planning an export: count, cut into segments, begin the file.

use std::sync::Mutex;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use records::ResourceType;

use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{ExportPlan, Job};
use crate::layout::{LEAST_RECORD, Layout};
use crate::object_key::ObjectKey;
use crate::pace::after;
use crate::ports::{PortError, ReadRange, Slice};
use crate::segment::Segment;
use crate::worker::{WorkError, Worker};

/// Slices that are counted at a time.
const COUNTS_AT_ONCE: usize = 16;

/// For how long counting goes on; then the plan is made with what is counted.
const COUNT_TIME: Duration = Duration::from_mins(5);

/// What is known of a slice before it is read.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    records: u64,
    bytes: u64,
}

impl Worker {
    /// Plans an export. Nothing of it counts before it is written, once; an upload that was begun for a
    /// plan that was not written goes with the bucket's lifecycle.
    pub(in crate::worker) async fn plan_export(
        &self,
        hold: &Hold<Job>,
        job: &Job,
        resource_types: &[ResourceType],
        since: Option<Timestamp>,
    ) -> Result<(ExportPlan, Vec<Segment>), WorkError> {
        let partition = job.partition();
        let started_reading_at = self.clock.now();
        let slices: Vec<_> = Slice::all(resource_types).collect();
        let counted = self.count(partition, &slices, read_range(since, started_reading_at)).await?;
        let bytes: Vec<_> = counted.iter().map(|slice| slice.bytes.max(slice.records * LEAST_RECORD)).collect();
        let layout = Layout::of(&bytes, self.sizes);
        let due_at = after(self.clock.now(), self.pace.resend);
        let segments: Vec<_> =
            (0u8..).zip(layout.segments).map(|(number, slices)| Segment::new(job, number, slices, due_at)).collect();
        hold.check()?;
        let file = ObjectKey::export(partition, job.id(), hold.token());
        let upload = self.objects.begin(partition, &file).await?;
        let plan = ExportPlan {
            started_reading_at,
            file,
            upload,
            part_size: layout.part_size,
            segments: u8::try_from(segments.len()).unwrap_or(u8::MAX),
            done: std::collections::BTreeSet::new(),
            counted: counted.iter().map(|slice| slice.records).sum(),
        };
        Ok((plan, segments))
    }

    /// Counts the slices, as many as the time allows.
    async fn count(
        &self,
        partition: &Partition,
        slices: &[Slice],
        range: ReadRange,
    ) -> Result<Vec<Counted>, PortError> {
        let counted = Mutex::new(vec![Counted::default(); slices.len()]);
        let counting = stream::iter(slices.iter().enumerate()).map(Ok).try_for_each_concurrent(
            COUNTS_AT_ONCE,
            |(index, slice)| {
                let counted = &counted;
                async move {
                    let mut from = None;
                    loop {
                        let page = self.records.count(partition, *slice, range, from.as_ref()).await?;
                        if let Ok(mut counted) = counted.lock()
                            && let Some(counted) = counted.get_mut(index)
                        {
                            counted.records += page.count;
                            counted.bytes += page.bytes;
                        }
                        from = page.next;
                        if from.is_none() {
                            return Ok(());
                        }
                    }
                }
            },
        );
        match tokio::time::timeout(COUNT_TIME, counting).await {
            Ok(counted) => counted?,
            Err(_elapsed) => tracing::warn!("counting takes long: plan with what is counted"),
        }
        Ok(counted.into_inner().unwrap_or_default())
    }
}

/// What is read of every slice: with `since` the index up to the start, so that what is written during
/// the export neither moves what is read nor is read twice.
pub(super) fn read_range(since: Option<Timestamp>, started_reading_at: Timestamp) -> ReadRange {
    match since {
        Some(since) => ReadRange::Updated { since, until: started_reading_at },
        None => ReadRange::All,
    }
}
