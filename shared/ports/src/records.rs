//! Where records are kept, with the log of what was written when.

use async_trait::async_trait;
use model::{ChangeGroup, ChangeItem, ChangeLog, Deletion, Partition, Shard, Stamp};
use records::{PackedLine, RecordId, ResourceType, StoredLine};

use crate::error::PortError;

/// The most records of one batch (`BatchWriteItem`'s limit).
pub const MAX_BATCH: usize = 25;

/// The most records that one change item names.
pub const MAX_GROUP: usize = 100;

/// A group that has so many bytes of lines takes no further one. `BatchWriteItem` takes 16 MB on the wire
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>), where a line of quotes
/// and backslashes is twice as long; and a call has to end within seconds.
pub const MAX_GROUP_BYTES: usize = 4 << 20;

/// How a batch of writes ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "what was not written has to be tried again"]
pub struct BatchOutcome {
    /// The records that the store did not take this time, throttled.
    pub unwritten: Vec<RecordId>,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub id: RecordId,
    pub stamp: Stamp,
    pub line: PackedLine,
}

/// Some items in the order of their keys.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Whether there are more.
    pub has_more: bool,
    /// Read units that the page took.
    pub units: f64,
}

/// A count of some items in the order of their keys.
#[derive(Debug, Clone)]
pub struct CountPage<K> {
    pub count: u64,
    /// Where to count on; `None` at the end.
    pub next: Option<K>,
    /// Read units that the page took.
    pub units: f64,
}

/// The records found of those asked for.
#[derive(Debug, Clone, Default)]
pub struct FoundRecords {
    /// In no order.
    pub records: Vec<StoredRecord>,
    /// Those that the store did not look at this time; the rest does not exist.
    pub unprocessed: Vec<RecordId>,
}

/// Writes records. Whoever writes a record logs the change first: every record version that can be read has a
/// change item with its stamp, whatever crashes in between.
#[async_trait]
pub trait RecordWriter: Send + Sync {
    /// Logs that these records (at most [`MAX_GROUP`], each once) are about to be written. A group is never logged
    /// again with other records.
    async fn log_changes(&self, partition: &Partition, group: &ChangeGroup, ids: &[RecordId]) -> Result<(), PortError>;

    /// Writes up to [`MAX_BATCH`] records of a logged group, all of different ids, each in place of an older one,
    /// once: what is not written is told, and left to the caller.
    async fn write_batch(
        &self,
        partition: &Partition,
        group: &ChangeGroup,
        batch: &mut [StoredLine],
    ) -> Result<BatchOutcome, PortError>;
}

/// Reads records and their change log, strongly consistent unless said otherwise.
#[async_trait]
pub trait RecordReader: Send + Sync {
    /// A page of a shard, from its beginning or after a record.
    async fn read(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<Page<StoredRecord>, PortError>;

    /// Counts part of a shard, eventually consistent.
    async fn count(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<CountPage<RecordId>, PortError>;

    /// The newest stamp of a log.
    async fn newest_change(&self, partition: &Partition, log: ChangeLog) -> Result<Option<Stamp>, PortError>;

    /// A page of up to 100 change items with stamps between the two, both included.
    async fn changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<Page<ChangeItem>, PortError>;

    /// Counts the records that change items with such stamps name, eventually consistent.
    async fn count_changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<CountPage<Stamp>, PortError>;

    /// A page of up to [`MAX_GROUP`] deletions of a type's records, from the beginning or after a record.
    async fn deletions(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        after: Option<&RecordId>,
    ) -> Result<Page<Deletion>, PortError>;

    /// Records by their ids: at most [`MAX_GROUP`], each once.
    async fn find(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        ids: &[RecordId],
    ) -> Result<FoundRecords, PortError>;
}

/// Deletes records, each for itself. Whoever deletes one logs the deletion first: the other order leaves copies that keep
/// a record for ever, when the deletion is never logged.
#[async_trait]
pub trait RecordRemover: Send + Sync {
    /// Logs that a record is about to be deleted, unless a later deletion of it is logged already.
    async fn log_deletion(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError>;

    /// Deletes a record, in whatever version up to the deletion's stamp it is there: one that was stored again stays, even
    /// when this arrives late.
    async fn delete_record(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError>;
}
