#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::{Checkpoint, ImportSource, JobSpec, Month, NewJob, ObjectKey, Pool, Progress, Reservation};
use ports::{JobStore, ListedJobs};
use records::ResourceType;
use testing::{Memory, MemoryClock, SeededIds};

use super::*;

/// The store of one job. The next answer to a write comes after two seconds, and is that nothing is known.
struct OneJob {
    job: Mutex<Job>,
    loses_answer: Mutex<bool>,
}

impl OneJob {
    fn processed(&self) -> u64 {
        self.job.lock().unwrap().progress().processed
    }
}

#[async_trait]
impl JobStore for OneJob {
    async fn read(&self, _: &Partition, _: &JobId) -> Result<Option<Job>, PortError> {
        Ok(Some(self.job.lock().unwrap().clone()))
    }

    async fn update(&self, _: &Partition, job: &Job, _: &Settlement) -> Result<(), UpdateError> {
        {
            let mut stored = self.job.lock().unwrap();
            if stored.revision() + 1 != job.revision() {
                return Err(UpdateError::Conflict);
            }
            *stored = job.clone();
        }
        if std::mem::take(&mut *self.loses_answer.lock().unwrap()) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(PortError::unavailable("write job", "answer lost").into());
        }
        Ok(())
    }

    async fn list(&self, _: &Partition, _: Option<&JobId>, _: Timestamp, _: usize) -> Result<ListedJobs, PortError> {
        unimplemented!("no test lists jobs")
    }

    async fn delete(&self, _: &Partition, _: &JobId) -> Result<(), PortError> {
        unimplemented!("no test deletes jobs")
    }
}

fn import(now: Timestamp) -> Job {
    let (partition, id): (Partition, _) = ("clinic-one#test".parse().unwrap(), JobId::new(now, 1));
    let source = ImportSource::Inline { key: ObjectKey::import(&partition, &id) };
    Job::new(NewJob {
        partition,
        id,
        spec: JobSpec::Import { resource_type: ResourceType::Patient, source, format: model::ImportFormat::Flat },
        label: None,
        total: 10,
        counted: true,
        reservation: Reservation { pool: Pool::Live, month: Month::of(now), requests: 10 },
        created_at: now,
        expires_at: after(now, Duration::from_hours(1)),
        due_at: after(now, Duration::from_mins(1)),
    })
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_found_stored_confirms_what_it_carried_and_nothing_newer() {
    let now = "2026-01-15T09:15:00Z".parse().unwrap();
    let job = import(now);
    let (partition, id) = (job.partition().clone(), job.id().clone());
    let store = Arc::new(OneJob { job: Mutex::new(job), loses_answer: Mutex::new(false) });
    let memory = Arc::new(Memory::new());
    let driver = JobDriver {
        jobs: store.clone(),
        queue: memory.clone(),
        files: memory,
        clock: Arc::new(MemoryClock::starting_at(now)),
        ids: Arc::new(SeededIds::new(1)),
        timings: Timings::default(),
    };
    let acquired = Heartbeat::acquire(&driver, &partition, &id).await;
    let Ok(AcquireOutcome::Acquired(heartbeat, guard)) = acquired else { panic!("not acquired") };
    *store.loses_answer.lock().unwrap() = true;
    let save = async |processed| {
        let progress = Progress { total: 10, processed, succeeded: processed, failed: 0 };
        guard.save(progress, Checkpoint::Import { begun: processed }).await;
        assert!(store.processed() >= processed, "{processed} was not stored when its saving was told");
    };
    let saves = async {
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            save(7).await;
        };
        tokio::join!(save(3), later)
    };
    let (mut beats, mut saves) = (std::pin::pin!(heartbeat.run()), std::pin::pin!(saves));
    if let Either::Left(_) = either(&mut beats, &mut saves).await {
        panic!("the lease is lost");
    }
    assert_eq!(store.processed(), 7);
}
