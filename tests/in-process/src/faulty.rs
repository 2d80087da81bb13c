//! Ports with bad luck: what a test tells them to do wrong, they do, and then go on as usual.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::memory::Memory;
use domain::ports::{
    AcceptError, Acceptance, AcceptanceStore, BatchOutcome, Cancellation, ChangeGroup, ChangeItem, ChangeLog,
    CountPage, FoundRecords, JobQueue, KeptRecord, Page, PortError, RecordReader, RecordWriter, Shard, Stamp,
};
use domain::{JobId, Partition};
use records::{RecordId, ResourceType, StoredLine};

/// What goes wrong with one batch of record writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every other record is not taken.
    Partial,
    /// The store throttles the whole batch.
    Throttled,
    /// The store does not answer; nothing is written.
    Down,
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
    PortError::unavailable("call store", "as the test wants it")
}

#[async_trait]
impl RecordWriter for FaultyRecords {
    async fn log_changes(&self, partition: &Partition, group: &ChangeGroup, ids: &[RecordId]) -> Result<(), PortError> {
        self.memory.log_changes(partition, group, ids).await
    }

    async fn write_batch(
        &self,
        partition: &Partition,
        group: &ChangeGroup,
        batch: &mut [StoredLine],
    ) -> Result<BatchOutcome, PortError> {
        let fault = self.script.lock().unwrap().pop_front().unwrap_or(Fault::None);
        {
            let mut sent = self.sent.lock().unwrap();
            sent.0 += 1;
            sent.1 += batch.len();
        }
        match fault {
            Fault::None => self.memory.write_batch(partition, group, batch).await,
            Fault::Throttled => Err(PortError::throttled("call store", "as the test wants it")),
            Fault::Down => Err(unavailable()),
            Fault::AnswerLost => {
                let _lost = self.memory.write_batch(partition, group, batch).await?;
                Err(unavailable())
            }
            Fault::Late(time) => {
                tokio::time::sleep(time).await;
                self.memory.write_batch(partition, group, batch).await
            }
            Fault::Hangs => std::future::pending().await,
            Fault::Partial => {
                let mut unwritten = Vec::new();
                for (index, line) in batch.chunks_mut(1).enumerate() {
                    if index % 2 == 0 {
                        let _written = self.memory.write_batch(partition, group, line).await?;
                    } else {
                        unwritten.extend(line.iter().map(|line| line.id().clone()));
                    }
                }
                Ok(BatchOutcome { unwritten })
            }
        }
    }
}

/// A queue that takes no message.
pub struct DeadQueue;

#[async_trait]
impl JobQueue for DeadQueue {
    async fn send(&self, _: &Partition, _: &JobId) -> Result<(), PortError> {
        Err(PortError::unavailable("send message", "as the test wants it"))
    }
}

/// A queue that never answers.
pub struct HangingQueue;

#[async_trait]
impl JobQueue for HangingQueue {
    async fn send(&self, _: &Partition, _: &JobId) -> Result<(), PortError> {
        std::future::pending().await
    }
}

/// A queue that takes every message, and loses it.
pub struct LosingQueue;

#[async_trait]
impl JobQueue for LosingQueue {
    async fn send(&self, _: &Partition, _: &JobId) -> Result<(), PortError> {
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

/// A store that follows a script of faults, one for each acceptance.
pub struct FaultyAcceptances {
    memory: Memory,
    script: Mutex<VecDeque<AcceptFault>>,
}

impl FaultyAcceptances {
    /// The store, and what is to go wrong.
    #[must_use]
    pub fn new(memory: &Memory, script: impl IntoIterator<Item = AcceptFault>) -> Arc<Self> {
        Arc::new(Self { memory: memory.clone(), script: Mutex::new(script.into_iter().collect()) })
    }
}

#[async_trait]
impl AcceptanceStore for FaultyAcceptances {
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
}

/// A record store that throttles every other page it is asked for.
pub struct ThrottlingReader {
    memory: Memory,
    calls: AtomicUsize,
}

impl ThrottlingReader {
    #[must_use]
    pub fn new(memory: &Memory) -> Arc<Self> {
        Arc::new(Self { memory: memory.clone(), calls: AtomicUsize::new(0) })
    }

    /// How many pages were asked for, refused ones included.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn refuse_every_other(&self) -> Result<(), PortError> {
        match self.calls.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Err(PortError::throttled("call store", "as the test wants it")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl RecordReader for ThrottlingReader {
    async fn read(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<Page<KeptRecord>, PortError> {
        self.refuse_every_other()?;
        self.memory.read(partition, shard, after).await
    }

    async fn count(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<CountPage<RecordId>, PortError> {
        self.refuse_every_other()?;
        self.memory.count(partition, shard, after).await
    }

    async fn newest_change(&self, partition: &Partition, log: ChangeLog) -> Result<Option<Stamp>, PortError> {
        self.refuse_every_other()?;
        self.memory.newest_change(partition, log).await
    }

    async fn changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<Page<ChangeItem>, PortError> {
        self.refuse_every_other()?;
        self.memory.changes(partition, log, from, until).await
    }

    async fn count_changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<CountPage<Stamp>, PortError> {
        self.refuse_every_other()?;
        self.memory.count_changes(partition, log, from, until).await
    }

    async fn find(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        ids: &[RecordId],
    ) -> Result<FoundRecords, PortError> {
        self.refuse_every_other()?;
        self.memory.find(partition, resource_type, ids).await
    }
}
