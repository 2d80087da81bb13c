//! Planning an export: how it reads, and about how many records there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use model::{
    CHANGE_LOG_REACH, ChangeLog, Compression, DELETIONS_FILE, ExportPlan, ExportSpec, FileLayout, JobId, Partition,
    SHARDS, Shard, Stamp, Timings, after,
};
use ports::{Clock, IdSource, PortError, RecordReader};
use records::ResourceType;

use super::lane::{Lane, ReadLimiter};
use crate::driver::WorkError;

/// Shards, or types with their four logs each, that are counted at once.
const MAX_CONCURRENCY: usize = 16;

/// For how long counting goes on; then the export goes on with what is counted.
const COUNT_TIME: Duration = Duration::from_mins(5);

/// How far ahead of the clock a stamp is believed: clocks agree within 2 s.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Where the log names more records than this, reading the whole type may take fewer units.
const MANY_CHANGES: u64 = 10_000;

/// What is read for each file of the job, in order: one file, or one for each type; then, with `since`, the deletions.
/// Those are looked up once the last record is appended: so what is deleted meanwhile is named, too.
pub(super) fn files_of(plan: &ExportPlan, spec: &ExportSpec) -> Vec<FilePlan> {
    let lanes = |resource_type: &ResourceType| lanes_of(plan, *resource_type, spec.since);
    let mut files: Vec<_> = match spec.files {
        FileLayout::Single => {
            let lanes = spec.resource_types.iter().flat_map(lanes).collect();
            vec![FilePlan { content: FileContent::AllTypes, lanes }]
        }
        FileLayout::PerType => {
            let file = |of: &ResourceType| FilePlan { content: FileContent::OneType(*of), lanes: lanes(of) };
            spec.resource_types.iter().map(file).collect()
        }
    };
    if let Some(from) = spec.since.map(Stamp::first_of) {
        let lanes =
            spec.resource_types.iter().map(|of| Lane::Deletions { of: *of, from, format: spec.format }).collect();
        files.push(FilePlan { content: FileContent::Deletions, lanes });
    }
    files
}

fn lanes_of(plan: &ExportPlan, resource_type: ResourceType, since: Option<Timestamp>) -> Vec<Lane> {
    let from = since.map(Stamp::first_of);
    match from.filter(|_| plan.by_log.contains(&resource_type)) {
        Some(from) => {
            let until = Stamp::last_of(plan.until);
            ChangeLog::all(resource_type).map(|log| Lane::Changes { log, from, until }).collect()
        }
        None => Shard::all(resource_type).map(|shard| Lane::Shard { shard, from }).collect(),
    }
}

/// One file of an export, and what it is made of.
pub(super) struct FilePlan {
    pub(super) content: FileContent,
    pub(super) lanes: Vec<Lane>,
}

/// What a file of an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileContent {
    /// The records of all types that were asked for.
    AllTypes,
    OneType(ResourceType),
    /// Which records were deleted.
    Deletions,
}

impl FilePlan {
    /// The file's name in a job.
    pub(super) fn name(&self, job: &JobId, spec: &ExportSpec) -> String {
        let ending = self.compression(spec).ending();
        match self.content {
            FileContent::AllTypes => format!("{job}.ndjson{ending}"),
            FileContent::OneType(resource_type) => format!("{resource_type}.ndjson{ending}"),
            FileContent::Deletions => DELETIONS_FILE.to_owned(),
        }
    }

    /// Deletions are few, and their file has one name.
    pub(super) fn compression(&self, spec: &ExportSpec) -> Compression {
        match self.content {
            FileContent::AllTypes | FileContent::OneType(_) => spec.compression,
            FileContent::Deletions => Compression::None,
        }
    }

    pub(super) fn resource_type(&self) -> Option<ResourceType> {
        match self.content {
            FileContent::OneType(resource_type) => Some(resource_type),
            FileContent::AllTypes | FileContent::Deletions => None,
        }
    }

    /// Whether there is a file even when nothing is in it.
    pub(super) fn may_be_empty(&self) -> bool {
        self.content == FileContent::AllTypes
    }
}

/// Plans the exports of a partition.
pub(super) struct Planner {
    pub(super) records: Arc<dyn RecordReader>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) timings: Timings,
    pub(super) partition: Partition,
}

impl Planner {
    pub(super) async fn plan(&self, spec: &ExportSpec) -> Result<ExportPlan, WorkError> {
        let started_at = self.clock.now();
        let types = &spec.resource_types;
        let oldest = started_at - CHANGE_LOG_REACH;
        let counted = AtomicU64::new(0);
        let mut plan = ExportPlan { started_at, counted: 0, until: started_at, by_log: Vec::new() };
        match spec.since.filter(|since| *since >= oldest) {
            None => {
                let shards = types.iter().copied().flat_map(Shard::all);
                let counting = stream::iter(shards.map(Ok)).try_for_each_concurrent(MAX_CONCURRENCY, |shard| {
                    let counted = &counted;
                    async move { self.count_shard(shard, counted).await.map(|_units| ()) }
                });
                within(COUNT_TIME, counting).await?;
            }
            Some(since) => {
                plan.until = self.newest_change(types).await?.min(started_at + MAX_CLOCK_SKEW);
                self.wait_for_writes(plan.until).await;
                let range = (Stamp::first_of(since), Stamp::last_of(plan.until));
                let whole = self.cheaper_whole(types, range, &counted).await?;
                plan.by_log = types.iter().copied().filter(|by_log| !whole.contains(by_log)).collect();
            }
        }
        plan.counted = counted.into_inner();
        Ok(plan)
    }

    /// When a record of the types was last written, as far as it can be seen.
    async fn newest_change(&self, types: &[ResourceType]) -> Result<Timestamp, PortError> {
        let logs = types.iter().copied().flat_map(ChangeLog::all);
        let newest = stream::iter(logs)
            .map(|log| async move {
                let newest = || self.records.newest_change(&self.partition, log);
                self.limiter().read(self.ids.as_ref(), newest, |_| 1.0).await
            })
            .buffer_unordered(MAX_CONCURRENCY)
            .try_fold(None, |newest: Option<Stamp>, stamp| async move { Ok(newest.max(stamp)) })
            .await?;
        Ok(newest.map_or(Timestamp::UNIX_EPOCH, Stamp::moment))
    }

    /// Waits until every write with a stamp up to then has landed.
    async fn wait_for_writes(&self, until: Timestamp) {
        let left = after(until, self.timings.settle).duration_since(self.clock.now());
        tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    }

    /// Counts what the logs name; returns the types that take fewer units when they are read whole.
    async fn cheaper_whole(
        &self,
        types: &[ResourceType],
        range: (Stamp, Stamp),
        counted: &AtomicU64,
    ) -> Result<Vec<ResourceType>, PortError> {
        let whole = Mutex::new(Vec::new());
        let counting = stream::iter(types.iter().map(Ok)).try_for_each_concurrent(MAX_CONCURRENCY, |resource_type| {
            let whole = &whole;
            async move {
                let changes = AtomicU64::new(0);
                let logs = ChangeLog::all(*resource_type).map(|log| self.count_log(log, range, &changes));
                try_join_all(logs).await?;
                let changes = changes.into_inner();
                counted.fetch_add(changes, Ordering::Relaxed);
                if changes > MANY_CHANGES {
                    let one = Shard { resource_type: *resource_type, number: 0 };
                    let units = self.count_shard(one, &AtomicU64::new(0)).await?;
                    // Counting is eventually consistent and takes half the units of reading.
                    #[expect(clippy::cast_precision_loss, reason = "a rough comparison")]
                    if units * 2.0 * f64::from(SHARDS) < changes as f64 {
                        whole.lock().unwrap_or_else(PoisonError::into_inner).push(*resource_type);
                    }
                }
                Ok(())
            }
        });
        within(COUNT_TIME, counting).await?;
        Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn limiter(&self) -> ReadLimiter {
        ReadLimiter::new(Some(self.timings.stalled()))
    }

    /// Adds the records of a shard to `counted`, and returns the units that took.
    async fn count_shard(&self, shard: Shard, counted: &AtomicU64) -> Result<f64, PortError> {
        let (mut limiter, mut units, mut after) = (self.limiter(), 0.0, None);
        loop {
            let count = || self.records.count(&self.partition, shard, after.as_ref());
            let page = limiter.read(self.ids.as_ref(), count, |page| page.units).await?;
            counted.fetch_add(page.count, Ordering::Relaxed);
            units += page.units;
            after = page.next;
            if after.is_none() {
                return Ok(units);
            }
        }
    }

    async fn count_log(
        &self,
        log: ChangeLog,
        (from, until): (Stamp, Stamp),
        counted: &AtomicU64,
    ) -> Result<(), PortError> {
        let (mut limiter, mut next) = (self.limiter(), Some(from));
        while let Some(from) = next.filter(|from| *from <= until) {
            let count = || self.records.count_changes(&self.partition, log, from, until);
            let page = limiter.read(self.ids.as_ref(), count, |page| page.units).await?;
            counted.fetch_add(page.count, Ordering::Relaxed);
            next = page.next;
        }
        Ok(())
    }
}

/// Counts for so long at most, and as long as the store lets it.
async fn within(time: Duration, counting: impl Future<Output = Result<(), PortError>>) -> Result<(), PortError> {
    match tokio::time::timeout(time, counting).await {
        Ok(Err(PortError::Throttled { .. })) | Err(_) => {
            tracing::warn!("counting takes long: go on with what is counted");
            Ok(())
        }
        Ok(counted) => counted,
    }
}
