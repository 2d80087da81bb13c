//! Records and their change log in memory. Look-ups are as unhelpful as the store's: in no order, and not always all
//! that was asked for.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{CHANGE_RETENTION, ChangeGroup, ChangeItem, ChangeLog, Deletion, Partition, Shard, Stamp, after, shard_of};
use ports::{
    BatchOutcome, CountPage, FoundRecords, MAX_BATCH, MAX_GROUP, Page, PortError, RecordReader, RecordRemover,
    RecordWriter, StoredRecord,
};
use records::{PackedLine, Packer, RecordId, ResourceType, StoredLine};

use super::{Memory, defect};

pub(super) type RecordKey = (Partition, Shard, RecordId);
pub(super) type ChangeKey = (Partition, ChangeLog, Stamp);
pub(super) type DeletionKey = (Partition, ResourceType, RecordId);

/// The records of a page: few, so that tests see several pages.
const PAGE: usize = 10;

/// What `BatchWriteItem` takes at most.
const MAX_WIRE_BYTES: usize = 16_000_000;

/// The bytes of a line as a JSON string.
fn on_the_wire(line: &str) -> usize {
    line.len() + line.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 2
}

fn shard(resource_type: ResourceType, id: &RecordId) -> Shard {
    Shard { resource_type, number: shard_of(id) }
}

#[async_trait]
impl RecordWriter for Memory {
    async fn log_changes(&self, partition: &Partition, group: &ChangeGroup, ids: &[RecordId]) -> Result<(), PortError> {
        if ids.len() > MAX_GROUP || ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            return Err(defect("log changes", "too many ids, or one twice"));
        }
        let key = (partition.clone(), group.log, group.stamp);
        let mut state = self.lock();
        let before = state.changes.insert(key, ids.to_vec());
        state.broken_promises += u64::from(before.is_some_and(|before| before != ids));
        Ok(())
    }

    async fn write_batch(
        &self,
        partition: &Partition,
        group: &ChangeGroup,
        batch: &mut [StoredLine],
    ) -> Result<BatchOutcome, PortError> {
        if batch.len() > MAX_BATCH {
            return Err(defect("write records", "too many in a batch"));
        }
        if batch.iter().map(|line| on_the_wire(line.as_str())).sum::<usize>() > MAX_WIRE_BYTES {
            return Err(defect("write records", "too much in a batch"));
        }
        let mut state = self.lock();
        let mut packer = Packer::default();
        let change = (partition.clone(), group.log, group.stamp);
        let logged = state.changes.get(&change).cloned().unwrap_or_default();
        for line in batch {
            state.broken_promises += u64::from(!logged.contains(line.id()));
            line.stamp(group.stamp.moment());
            let key = (partition.clone(), shard(group.log.resource_type, line.id()), line.id().clone());
            state.records.insert(key, (group.stamp, packer.pack(line.as_str(), 100)));
        }
        Ok(BatchOutcome::default())
    }
}

#[async_trait]
impl RecordReader for Memory {
    async fn read(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<Page<StoredRecord>, PortError> {
        let state = self.lock();
        let mut rest = state
            .records
            .iter()
            .filter(|((owner, of, id), _)| owner == partition && *of == shard && after.is_none_or(|after| id > after))
            .map(|((_, _, id), (stamp, line))| StoredRecord { id: id.clone(), stamp: *stamp, line: line.clone() });
        let items: Vec<_> = rest.by_ref().take(PAGE).collect();
        Ok(Page { items, has_more: rest.next().is_some(), units: 1.0 })
    }

    async fn count(
        &self,
        partition: &Partition,
        shard: Shard,
        after: Option<&RecordId>,
    ) -> Result<CountPage<RecordId>, PortError> {
        let page = self.read(partition, shard, after).await?;
        let next = page.items.last().filter(|_| page.has_more).map(|record| record.id.clone());
        Ok(CountPage { count: page.items.len() as u64, next, units: 0.5 })
    }

    async fn newest_change(&self, partition: &Partition, log: ChangeLog) -> Result<Option<Stamp>, PortError> {
        let state = self.lock();
        let of_log = state.changes.keys().filter(|(owner, of, _)| owner == partition && *of == log);
        Ok(of_log.map(|(_, _, stamp)| *stamp).max())
    }

    async fn changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<Page<ChangeItem>, PortError> {
        if from > until {
            return Err(defect("read changes", "lower bound above the upper one"));
        }
        let state = self.lock();
        let mut rest = state
            .changes
            .iter()
            .filter(|((owner, of, stamp), _)| owner == partition && *of == log && (from..=until).contains(stamp))
            .map(|((_, _, stamp), ids)| ChangeItem { stamp: *stamp, ids: ids.clone() });
        let items: Vec<_> = rest.by_ref().take(PAGE).collect();
        Ok(Page { items, has_more: rest.next().is_some(), units: 1.0 })
    }

    async fn count_changes(
        &self,
        partition: &Partition,
        log: ChangeLog,
        from: Stamp,
        until: Stamp,
    ) -> Result<CountPage<Stamp>, PortError> {
        let page = self.changes(partition, log, from, until).await?;
        let next = page.items.last().filter(|_| page.has_more).map(|item| item.stamp.next());
        Ok(CountPage { count: page.items.iter().map(|item| item.ids.len() as u64).sum(), next, units: 0.5 })
    }

    async fn deletions(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        after: Option<&RecordId>,
    ) -> Result<Page<Deletion>, PortError> {
        let state = self.lock();
        let mut rest = state
            .deletions
            .iter()
            .filter(|((owner, of, id), _)| {
                owner == partition && *of == resource_type && after.is_none_or(|after| id > after)
            })
            .map(|((_, _, id), stamp)| Deletion { id: id.clone(), stamp: *stamp });
        let items: Vec<_> = rest.by_ref().take(PAGE).collect();
        Ok(Page { items, has_more: rest.next().is_some(), units: 1.0 })
    }

    async fn find(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        ids: &[RecordId],
    ) -> Result<FoundRecords, PortError> {
        if ids.len() > MAX_GROUP || ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            return Err(defect("find records", "too many ids, or one twice"));
        }
        let mut state = self.lock();
        state.finds += 1;
        // Every third call leaves some out; another starts somewhere else each time.
        let left_out = if state.finds.is_multiple_of(3) { ids.len() / 2 } else { 0 };
        let (unprocessed, looked_at) = ids.split_at(left_out);
        let mut records: Vec<_> = looked_at
            .iter()
            .filter_map(|id| {
                let key = (partition.clone(), shard(resource_type, id), id.clone());
                let (stamp, line) = state.records.get(&key)?;
                Some(StoredRecord { id: id.clone(), stamp: *stamp, line: line.clone() })
            })
            .collect();
        if !records.is_empty() {
            let middle = usize::try_from(state.finds).unwrap_or(0) % records.len();
            records.rotate_left(middle);
        }
        Ok(FoundRecords { records, unprocessed: unprocessed.to_vec() })
    }
}

#[async_trait]
impl RecordRemover for Memory {
    async fn log_deletion(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        deletion: &Deletion,
    ) -> Result<(), PortError> {
        let key = (partition.clone(), resource_type, deletion.id.clone());
        let mut state = self.lock();
        let logged = state.deletions.entry(key).or_insert(deletion.stamp);
        *logged = deletion.stamp.max(*logged);
        Ok(())
    }

    async fn delete_record(
        &self,
        partition: &Partition,
        resource_type: ResourceType,
        Deletion { id, stamp }: &Deletion,
    ) -> Result<(), PortError> {
        let mut state = self.lock();
        let logged = state.deletions.get(&(partition.clone(), resource_type, id.clone())).copied();
        state.broken_promises += u64::from(logged < Some(*stamp));
        let key = (partition.clone(), shard(resource_type, id), id.clone());
        if state.records.get(&key).is_some_and(|(written, _)| written <= stamp) {
            state.records.remove(&key);
        }
        Ok(())
    }
}

impl Memory {
    /// Deletes the change items whose time is over, at the first allowed moment.
    pub fn expire_changes(&self, now: Timestamp) {
        self.lock().changes.retain(|(_, _, stamp), _| after(stamp.moment(), CHANGE_RETENTION) > now);
    }

    /// All records of a type that can be read: id, stamp and line.
    #[must_use]
    pub fn records(&self, partition: &Partition, resource_type: ResourceType) -> Vec<(RecordId, Stamp, PackedLine)> {
        let state = self.lock();
        let of_type =
            state.records.iter().filter(|((owner, of, _), _)| owner == partition && of.resource_type == resource_type);
        of_type.map(|((_, _, id), (stamp, line))| (id.clone(), *stamp, line.clone())).collect()
    }

    /// How often a record was written that no change item names with its stamp, a change item lost ids, or a record was
    /// deleted and no deletion logged.
    #[must_use]
    pub fn broken_promises(&self) -> u64 {
        self.lock().broken_promises
    }
}
