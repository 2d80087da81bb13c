//! Records in memory.

use async_trait::async_trait;
use jiff::Timestamp;
use records::{RecordId, ResourceType, StoredLine};

use super::{Memory, defect};
use crate::ids::Partition;
use crate::ports::{
    BatchOutcome, CountPage, MAX_BATCH, Page, PageKey, PortError, ReadRange, RecordStore, Slice, shard_of,
};

pub(super) type Key = (Partition, ResourceType, u8, RecordId);

pub(super) struct Stored {
    line: String,
    last_updated: String,
}

/// The records of a page: few, so that tests see several pages.
const PAGE: usize = 10;

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
        Ok(CountPage { count: lines.len() as u64, next })
    }
}

impl Memory {
    fn page(
        &self,
        partition: &Partition,
        slice: Slice,
        range: ReadRange,
        from: Option<&PageKey>,
    ) -> (Vec<String>, Option<PageKey>) {
        let state = self.lock();
        let in_range = |stored: &Stored| match range {
            ReadRange::All => true,
            ReadRange::Updated { since, until } => {
                (format!("{since:.3}")..=format!("{until:.3}")).contains(&stored.last_updated)
            }
        };
        let mut rest = state.records.iter().filter(|((owner, resource_type, shard, id), stored)| {
            owner == partition
                && *resource_type == slice.resource_type
                && *shard == slice.shard
                && from.is_none_or(|from| id.as_str() > from.0.as_str())
                && in_range(stored)
        });
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        let next = rest.next().and(page.last()).map(|((_, _, _, id), _)| PageKey(id.to_string()));
        (page.into_iter().map(|(_, stored)| stored.line.clone()).collect(), next)
    }
}
