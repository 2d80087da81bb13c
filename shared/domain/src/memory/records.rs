//! Records in memory.

use async_trait::async_trait;
use jiff::Timestamp;
use records::{RecordId, ResourceType, StoredLine};

use super::{Memory, defect};
use crate::ids::Partition;
use crate::ports::{
    BatchOutcome, CountPage, IndexProbe, MAX_BATCH, Page, PageKey, PortError, ReadRange, RecordStore, Slice, shard_of,
};

pub(super) type Key = (Partition, ResourceType, u8, RecordId);

pub(super) struct Stored {
    line: String,
    last_updated: String,
}

/// The records of a page: few, so that tests see several pages.
const PAGE: usize = 10;

/// What `BatchWriteItem` takes at most.
const MOST_ON_THE_WIRE: usize = 16_000_000;

/// The bytes of a line as a JSON string.
fn on_the_wire(line: &str) -> usize {
    line.len() + line.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 2
}

#[async_trait]
impl RecordStore for Memory {
    async fn write_batch(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        batch: &mut [StoredLine],
        stamp: Timestamp,
    ) -> Result<BatchOutcome, PortError> {
        if batch.len() > MAX_BATCH {
            return Err(defect("write records", "too many in a batch"));
        }
        if batch.iter().map(|line| on_the_wire(line.as_str())).sum::<usize>() > MOST_ON_THE_WIRE {
            return Err(defect("write records", "too much in a batch"));
        }
        let mut state = self.lock();
        for line in batch {
            let last_updated = line.stamp(stamp);
            let key = (partition.clone(), resource_type, shard_of(line.id()), line.id().clone());
            state.records.insert(key, Stored { line: line.as_str().to_owned(), last_updated });
        }
        Ok(BatchOutcome::default())
    }

    async fn read(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<Page, PortError> {
        let (lines, next) = self.page(partition, slice, range, from);
        Ok(Page { lines, next })
    }

    async fn count(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> Result<CountPage, PortError> {
        let (lines, next) = self.page(partition, slice, range, from);
        let bytes = lines.iter().map(|line| line.len() as u64).sum();
        Ok(CountPage { count: lines.len() as u64, bytes, next })
    }
}

impl Memory {
    /// A page in the order of the range: by id, or by stamp and id.
    fn page(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> (Vec<String>, Option<PageKey>) {
        let state = self.lock();
        let keyed = |id: &RecordId, stored: &Stored| match range {
            ReadRange::All => (String::new(), id.to_string()),
            ReadRange::Updated { .. } => (stored.last_updated.clone(), id.to_string()),
        };
        let from = from.map(|PageKey { id, last_updated }| match range {
            ReadRange::All => (String::new(), id.clone()),
            ReadRange::Updated { .. } => (last_updated.clone(), id.clone()),
        });
        let in_range = |stored: &Stored| match range {
            ReadRange::All => true,
            ReadRange::Updated { since, until } => {
                (format!("{since:.3}")..=format!("{until:.3}")).contains(&stored.last_updated)
            }
        };
        let mut rest: Vec<_> = state
            .records
            .iter()
            .filter(|((owner, resource_type, shard, _), stored)| {
                owner == partition && *resource_type == slice.resource_type && *shard == slice.shard && in_range(stored)
            })
            .map(|((_, _, _, id), stored)| (keyed(id, stored), stored))
            .filter(|(key, _)| from.as_ref().is_none_or(|from| key > from))
            .collect();
        rest.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let more = rest.len() > PAGE;
        let lines: Vec<_> = rest.iter().take(PAGE).map(|(_, stored)| stored.line.clone()).collect();
        let next = lines.last().filter(|_| more).and_then(|line| PageKey::of(line));
        (lines, next)
    }
}

#[async_trait]
impl IndexProbe for Memory {
    async fn mark(&self, at: Timestamp) -> Result<(), PortError> {
        self.lock().mark = Some(at);
        Ok(())
    }

    async fn latest_mark(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.lock().mark)
    }
}
