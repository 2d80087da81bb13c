//! Where records are kept.

use async_trait::async_trait;
use jiff::Timestamp;
use records::{RecordId, ResourceType, StoredLine};
use serde::{Deserialize, Serialize};

use super::PortError;
use crate::ids::Partition;

/// How a batch of writes ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "what was not written has to be tried again"]
pub struct BatchOutcome {
    /// The records that the store did not take this time.
    pub unwritten: Vec<RecordId>,
}

/// The most records of one batch (`BatchWriteItem`'s limit).
pub const MAX_BATCH: usize = 25;

/// A batch that has so many bytes of lines takes no further one. `BatchWriteItem` takes 16 MB on the wire
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>), where a line of quotes
/// and backslashes is twice as long; and a call has to end within seconds.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// In how many shards the records of one type and partition are spread. A partition of `DynamoDB`
/// takes 1,000 writes a second; so many times that is a type's limit.
pub const SHARDS: u8 = 16;

/// The shard of a record: fixed for ever, since records are found by it.
#[must_use]
pub fn shard_of(id: &RecordId) -> u8 {
    u8::try_from(crc32fast::hash(id.as_str().as_bytes()) % u32::from(SHARDS)).unwrap_or(0)
}

/// One shard of one type's records in a partition: what one series of pages reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The type.
    pub resource_type: ResourceType,
    /// The shard, below [`SHARDS`].
    pub shard: u8,
}

impl Slice {
    /// All slices of the types, in order.
    pub fn all(types: &[ResourceType]) -> impl Iterator<Item = Self> {
        types.iter().flat_map(|resource_type| (0..SHARDS).map(|shard| Self { resource_type: *resource_type, shard }))
    }
}

/// Which records of a slice are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRange {
    /// All of them, strongly consistent.
    All,
    /// Those last updated between the two moments, both included, from the index.
    Updated {
        /// The first moment.
        since: Timestamp,
        /// The last moment.
        until: Timestamp,
    },
}

/// The record behind which reading goes on: the end of a page, or any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageKey {
    /// The record's id: the order of [`ReadRange::All`].
    pub id: String,
    /// Its stamp, RFC 3339 with milliseconds: the order of [`ReadRange::Updated`], before the id.
    pub last_updated: String,
}

impl PageKey {
    /// The key of a stored line; `None` when it is no stored line.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        let (id, last_updated) = records::stored_key(line)?;
        Some(Self { id: id.to_owned(), last_updated: last_updated.to_owned() })
    }
}

/// Some records of a slice.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The stored lines.
    pub lines: Vec<String>,
    /// Where to read on; `None` at the end of the slice.
    pub next: Option<PageKey>,
}

/// Some records of a slice, counted.
#[derive(Debug, Clone, Default)]
pub struct CountPage {
    /// How many.
    pub count: u64,
    /// About how many bytes they have; 0 where the store does not tell.
    pub bytes: u64,
    /// Where to count on; `None` at the end of the slice.
    pub next: Option<PageKey>,
}

/// Keeps records.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Writes up to [`MAX_BATCH`] records of different ids, of [`MAX_BATCH_BYTES`] and the last one, each new or in
    /// place of an older one, all stamped with `stamp`, once: what is not written is told, and left to the caller.
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError>;

    /// A page of a slice, from its beginning or on from where the last one ended.
    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError>;

    /// Counts part of a slice, eventually consistent.
    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError>;
}

/// Puts marks into the table of records and looks for them in its index. They belong to no partition, and no
/// export can see them.
#[async_trait]
pub trait IndexProbe: Send + Sync {
    /// Writes a mark to the table, in place of the one before.
    async fn mark(&self, at: Timestamp) -> Result<(), PortError>;

    /// The mark that the index shows.
    async fn latest_mark(&self) -> Result<Option<Timestamp>, PortError>;
}
