//! Chains of exports, each `since` the last one's `transactionTime`, while imports run: nothing is missed.
//!
//! The store's index lags by up to thirty seconds, a write takes up to three between its stamp and its
//! effect, batches are refused and sent again, imports run for longer than the safety window. Time is
//! paused; every seed is another order of events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_collect, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::memory::SeededIds;
use domain::ports::{
    BatchOutcome, Clock, CountPage, IdSource, Page, PageKey, PortError, ReadRange, RecordStore, Slice, shard_of,
};
use domain::{Job, JobResult, JobStatus, Partition, Plan, Work, Worker};
use in_process::Service;
use in_process::jobs::{caller, deliver, import_of};
use jiff::Timestamp;
use records::{ResourceType, StoredLine};
use tokio::time::Instant;

/// What the sweeper's alarm watches: the index lags by no more.
const LONGEST_LAG_MILLISECONDS: u64 = 30_000;

/// What one attempt of a write takes at most.
const LONGEST_WRITE_MILLISECONDS: u64 = 3_000;

struct Indexed {
    stamp: Timestamp,
    line: String,
    /// When the index shows it.
    visible_from: Instant,
}

/// A record store whose writes take time and whose index lags.
struct LaggingRecords {
    clock: Arc<dyn Clock>,
    random: SeededIds,
    records: Mutex<BTreeMap<(u8, String), Indexed>>,
}

impl LaggingRecords {
    fn up_to(&self, bound: u64) -> u64 {
        u64::try_from(self.random.random() % u128::from(bound)).unwrap()
    }
}

#[async_trait]
impl RecordStore for LaggingRecords {
    async fn write_batch(
        &self,
        _: &Partition,
        _: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError> {
        let text: Vec<_> = batch.iter_mut().map(|line| line.stamp(stamp)).collect();
        tokio::time::sleep(Duration::from_millis(self.up_to(LONGEST_WRITE_MILLISECONDS))).await;
        let mut unwritten = Vec::new();
        for (line, text) in batch.iter().zip(text) {
            if self.up_to(5) == 0 {
                unwritten.push(line.id().clone());
                continue;
            }
            let lag = Duration::from_millis(self.up_to(LONGEST_LAG_MILLISECONDS));
            let indexed = Indexed {
                stamp: text.parse().unwrap(),
                line: line.as_str().to_owned(),
                visible_from: Instant::now() + lag,
            };
            self.records.lock().unwrap().insert((shard_of(line.id()), line.id().to_string()), indexed);
        }
        Ok(BatchOutcome { unwritten })
    }

    async fn read(
        &self,
        _: &Partition,
        slice: Slice,
        range: ReadRange,
        _: Option<&PageKey>,
    ) -> Result<Page, PortError> {
        tokio::time::sleep(Duration::from_millis(self.up_to(50))).await;
        let ReadRange::Updated { since, until } = range else { panic!("chains read the index") };
        let now = Instant::now();
        let records = self.records.lock().unwrap();
        let found = records.iter().filter(|((shard, _), record)| {
            *shard == slice.shard && record.visible_from <= now && (since..=until).contains(&record.stamp)
        });
        Ok(Page { lines: found.map(|(_, record)| record.line.clone()).collect(), next: None })
    }

    async fn count(&self, _: &Partition, _: Slice, _: ReadRange, _: Option<&PageKey>) -> Result<CountPage, PortError> {
        Ok(CountPage::default())
    }
}

/// Starts a job, works on it to its end, and returns it.
async fn done(service: &Service, worker: &Worker, work: Work) -> Job {
    let id = service.begin(&caller(Plan::Pro), work).await;
    loop {
        deliver(worker, &id).await;
        let job = service.job(&id).await;
        match job.status() {
            JobStatus::Completed => return job,
            JobStatus::Failed(reason) => panic!("{reason:?}"),
            JobStatus::Pending | JobStatus::Processing(_) => tokio::time::sleep(Duration::from_secs(5)).await,
        }
    }
}

async fn chain(seed: u64) {
    let service = Service::start().await;
    let random = SeededIds::new(seed);
    let up_to = |bound: u64| u64::try_from(random.random() % u128::from(bound)).unwrap();
    let clock: Arc<dyn Clock> = service.clock.clone();
    let records = Arc::new(LaggingRecords { clock, random: SeededIds::new(seed ^ 1), records: Mutex::default() });
    let worker = Worker { records: records.clone(), ..service.worker() };
    let mut since = records.clock.now();

    let imports = async {
        for number in 0..6 {
            tokio::time::sleep(Duration::from_millis(up_to(40_000))).await;
            let lines = 200 + up_to(1_500);
            let data: String = (0..lines)
                .map(|line| format!("{{\"id\":\"r-{number}-{line}\",\"firstName\":\"J\",\"lastName\":\"D\"}}\n"))
                .collect();
            done(&service, &worker, import_of(ResourceType::Patient, &data)).await;
        }
    };
    let mut seen = BTreeSet::new();
    let mut export = async |since: Timestamp| {
        let work = Work::Export { resource_types: vec![ResourceType::Patient], since: Some(since) };
        let job = done(&service, &worker, work).await;
        let Some(JobResult::Export { started_reading_at, .. }) = job.result() else {
            panic!("an export leaves a file")
        };
        let content = service.file(&job);
        seen.extend(content.lines().map(|line| line.split('"').nth(7).unwrap().to_owned()));
        domain::transaction_time(*started_reading_at)
    };
    let mut imports = std::pin::pin!(imports);
    loop {
        let wait = Duration::from_millis(up_to(60_000));
        tokio::select! {
            () = &mut imports => break,
            () = tokio::time::sleep(wait) => {}
        }
        tokio::select! {
            biased;
            next = export(since) => since = next,
            // The import goes on while the export runs; when it ends first the export starts anew, as after a crash.
            () = &mut imports => break,
        }
    }
    tokio::time::sleep(Duration::from_millis(LONGEST_LAG_MILLISECONDS)).await;
    export(since).await;
    let stored: BTreeSet<_> = records.records.lock().unwrap().keys().map(|(_, id)| id.clone()).collect();
    let missed: Vec<_> = stored.difference(&seen).collect();
    assert!(missed.is_empty(), "seed {seed} misses {} of {}", missed.len(), stored.len());
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_exports_misses_nothing() {
    for seed in 0..20 {
        Box::pin(chain(seed)).await;
    }
}
