//! Ports with bad luck: what a test tells them to do wrong, they do, and then go on as usual.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::memory::Memory;
use domain::ports::{
    AcceptError, Acceptance, BatchOutcome, Cancellation, Change, CountPage, Due, JobQueue, JobStore, Page, PageKey,
    PortError, ReadRange, RecordStore, Slice, UpdateError,
};
use domain::{Job, JobId, JobType, Partition, Segment, Target};
use jiff::Timestamp;
use records::{ResourceType, StoredLine};

/// What goes wrong with one batch of record writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every other record is not taken.
    Partial,
    /// The store refuses the whole batch for now.
    Throttled,
    /// The batch is written, and the answer is lost.
    AnswerLost,
    /// The batch is written, after so long.
    Late(Duration),
    /// The call never ends: the worker is dead to the world.
    Hangs,
}

/// A record store that follows a script of faults, one for each batch.
pub struct FaultyRecords {
    memory: Memory,
    script: Mutex<VecDeque<Fault>>,
    /// How many batches were sent, and how many records.
    sent: Mutex<(usize, usize)>,
}

impl FaultyRecords {
    /// The store, and what is to go wrong.
    #[must_use]
    pub fn new(memory: &Memory, script: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        let script = Mutex::new(script.into_iter().collect());
        Arc::new(Self { memory: memory.clone(), script, sent: Mutex::default() })
    }

    /// How many batches were sent, and how many records in them.
    #[must_use]
    pub fn sent(&self) -> (usize, usize) {
        *self.sent.lock().unwrap()
    }
}

fn unavailable() -> PortError {
    PortError::Unavailable { operation: "call store", cause: "as the test wants it".into() }
}

#[async_trait]
impl RecordStore for FaultyRecords {
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError> {
        let fault = self.script.lock().unwrap().pop_front().unwrap_or(Fault::None);
        {
            let mut sent = self.sent.lock().unwrap();
            sent.0 += 1;
            sent.1 += batch.len();
        }
        match fault {
            Fault::None => self.memory.write_batch(partition, resource_type, batch, stamp).await,
            Fault::Throttled => Err(unavailable()),
            Fault::AnswerLost => {
                let _lost = self.memory.write_batch(partition, resource_type, batch, stamp).await?;
                Err(unavailable())
            }
            Fault::Late(time) => {
                tokio::time::sleep(time).await;
                self.memory.write_batch(partition, resource_type, batch, stamp).await
            }
            Fault::Hangs => std::future::pending().await,
            Fault::Partial => {
                let mut unwritten = Vec::new();
                for (index, line) in batch.chunks_mut(1).enumerate() {
                    if index % 2 == 0 {
                        let _written = self.memory.write_batch(partition, resource_type, line, stamp).await?;
                    } else {
                        unwritten.extend(line.iter().map(|line| line.id().clone()));
                    }
                }
                Ok(BatchOutcome { unwritten })
            }
        }
    }

    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError> {
        self.memory.read(partition, slice, range, from).await
    }

    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError> {
        self.memory.count(partition, slice, range, from).await
    }
}

/// A queue that takes no message.
pub struct DeadQueue;

#[async_trait]
impl JobQueue for DeadQueue {
    async fn send(&self, _: &Partition, _: &Target, _: JobType) -> Result<(), PortError> {
        Err(PortError::Unavailable { operation: "send message", cause: "as the test wants it".into() })
    }
}

/// A queue that takes every message, and loses it.
pub struct LosingQueue;

#[async_trait]
impl JobQueue for LosingQueue {
    async fn send(&self, _: &Partition, _: &Target, _: JobType) -> Result<(), PortError> {
        Ok(())
    }
}

/// What goes wrong with one acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptFault {
    /// Another transaction is at work on the same items.
    Contention,
    /// The job is accepted, and the answer is lost.
    AnswerLost,
    /// The store refuses for now.
    Down,
}

/// A job store that follows a script of faults, one for each acceptance.
pub struct FaultyJobs {
    memory: Memory,
    script: Mutex<VecDeque<AcceptFault>>,
}

impl FaultyJobs {
    /// The store, and what is to go wrong.
    #[must_use]
    pub fn new(memory: &Memory, script: impl IntoIterator<Item = AcceptFault>) -> Arc<Self> {
        Arc::new(Self { memory: memory.clone(), script: Mutex::new(script.into_iter().collect()) })
    }
}

#[async_trait]
impl JobStore for FaultyJobs {
    async fn accept(&self, partition: &Partition, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let fault = self.script.lock().unwrap().pop_front();
        match fault {
            None => self.memory.accept(partition, acceptance).await,
            Some(AcceptFault::Contention) => {
                Err(AcceptError::Cancelled(Cancellation { contention: true, ..Cancellation::default() }))
            }
            Some(AcceptFault::AnswerLost) => {
                self.memory.accept(partition, acceptance).await?;
                Err(AcceptError::Port(unavailable()))
            }
            Some(AcceptFault::Down) => Err(AcceptError::Port(unavailable())),
        }
    }

    async fn get(&self, partition: &Partition, id: &JobId, now: Timestamp) -> Result<Option<Job>, PortError> {
        self.memory.get(partition, id, now).await
    }

    async fn segment(
        &self,
        partition: &Partition,
        id: &JobId,
        number: u8,
        now: Timestamp,
    ) -> Result<Option<Segment>, PortError> {
        self.memory.segment(partition, id, number, now).await
    }

    async fn with_segments(
        &self,
        partition: &Partition,
        id: &JobId,
        now: Timestamp,
    ) -> Result<Option<(Job, Vec<Segment>)>, PortError> {
        self.memory.with_segments(partition, id, now).await
    }

    async fn update(&self, partition: &Partition, change: &Change) -> Result<(), UpdateError> {
        self.memory.update(partition, change).await
    }

    async fn due(&self, job_type: JobType, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        self.memory.due(job_type, now, limit).await
    }

    async fn postpone(&self, due: &Due, until: Timestamp) -> Result<bool, PortError> {
        self.memory.postpone(due, until).await
    }
}
