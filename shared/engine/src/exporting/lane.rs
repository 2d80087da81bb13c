//! What is read one page after the other: a shard of records, a log of changes, or a type's deletions. Several lanes are
//! read at once.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{ChangeItem, ChangeLog, Cursor, Deletion, Partition, RecordFormat, Shard, Stamp};
use ports::{Backoff, IdSource, MAX_GROUP, PortError, RecordReader, RetryPolicy, StoredRecord};
use records::{PackedLine, RecordId, ResourceType};
use tokio::time::Instant;

/// One key of the table gives 3,000 read units a second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>); a lane stays
/// below that.
const UNITS_PER_SECOND: f64 = 2_900.0;

/// A throttled read is tried again, for as long as other lanes advance.
const THROTTLED: RetryPolicy = RetryPolicy::new(1, 50, 2_000).unlimited();

/// Ids that are looked up in the first call: records may have grown since they were logged.
const FIRST_LOOK_UP: usize = 10;

/// An answer below this many bytes lets the next call look up twice as many ids.
const SMALL_ANSWER: usize = 256 << 10;

/// An answer above this many bytes lets the next call start small again.
const LARGE_ANSWER: usize = 1 << 20;

/// What a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The records of a shard, those with a stamp from `from` on.
    Shard { shard: Shard, from: Option<Stamp> },
    /// The records that a log names with stamps between the two.
    Changes { log: ChangeLog, from: Stamp, until: Stamp },
    /// Which records were deleted, with stamps from `from` on, and are not there; named as the format names them.
    Deletions { of: ResourceType, from: Stamp, format: RecordFormat },
}

impl Lane {
    /// How many lanes of this kind are read at once at most: look-ups of changed records may bring 16 MB each.
    pub(super) fn max_concurrency(self) -> usize {
        match self {
            Self::Shard { .. } => 8,
            Self::Changes { .. } | Self::Deletions { .. } => 3,
        }
    }
}

/// Spaces the reads of one key by the units they take.
#[derive(Debug)]
pub(super) struct ReadLimiter {
    next: Instant,
    /// For how long a read may be throttled before it fails; without it, for ever.
    patience: Option<Duration>,
}

impl ReadLimiter {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self { next: Instant::now(), patience }
    }

    /// Runs a read once its key may be read again; a throttled one is repeated after a back-off.
    pub(super) async fn read<T, F>(
        &mut self,
        ids: &dyn IdSource,
        mut read: impl FnMut() -> F,
        units: impl Fn(&T) -> f64,
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let mut backoff = Backoff::new(THROTTLED, ids);
        let first = Instant::now();
        loop {
            tokio::time::sleep_until(self.next).await;
            let began = Instant::now();
            match read().await {
                Ok(page) => {
                    self.next = began + Duration::from_secs_f64(units(&page).max(0.0) / UNITS_PER_SECOND);
                    return Ok(page);
                }
                Err(PortError::Throttled { operation, .. })
                    if self.patience.is_none_or(|patience| first.elapsed() < patience) =>
                {
                    tracing::debug!(operation, "read is throttled");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A line, and the cursor after it.
pub(super) struct Row {
    pub(super) line: PackedLine,
    pub(super) cursor: Cursor,
}

/// Some lines of a lane.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// The cursor after all that was looked at, lines that are left out included.
    pub(super) cursor: Option<Cursor>,
    pub(super) at_end: bool,
}

/// Reads a lane, page by page; nothing is fetched beyond the page that was asked for.
pub(super) struct LaneReader {
    pub(super) index: u32,
    records: Arc<dyn RecordReader>,
    ids: Arc<dyn IdSource>,
    partition: Partition,
    lane: Lane,
    cursor: Option<Cursor>,
    limiter: ReadLimiter,
    /// Change items that are read, and not looked up yet.
    changes: VecDeque<ChangeItem>,
    /// Where the log is read on; `None` at its end.
    next_change: Option<Stamp>,
    look_up: usize,
}

impl LaneReader {
    pub(super) fn new(
        records: Arc<dyn RecordReader>,
        ids: Arc<dyn IdSource>,
        partition: &Partition,
        (index, lane): (u32, Lane),
        cursor: Option<Cursor>,
    ) -> Self {
        let next_change = match (&cursor, lane) {
            (Some(Cursor::Change { stamp, .. }), _) => Some(*stamp),
            (_, Lane::Changes { from, .. }) => Some(from),
            (_, Lane::Shard { .. } | Lane::Deletions { .. }) => None,
        };
        Self {
            index,
            records,
            ids,
            partition: partition.clone(),
            lane,
            cursor,
            limiter: ReadLimiter::new(None),
            changes: VecDeque::new(),
            next_change,
            look_up: FIRST_LOOK_UP,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Page, PortError> {
        let page = match self.lane {
            Lane::Shard { shard, from } => self.next_of_shard(shard, from).await?,
            Lane::Changes { log, until, .. } => self.next_of_log(log, until).await?,
            Lane::Deletions { of, from, format } => self.next_of_deletions(of, from, format).await?,
        };
        self.cursor.clone_from(&page.cursor);
        Ok(page)
    }

    /// The record after which reading goes on.
    fn after(&self) -> Option<RecordId> {
        match &self.cursor {
            Some(Cursor::Record(id)) => Some(id.clone()),
            Some(Cursor::Change { .. }) | None => None,
        }
    }

    async fn next_of_shard(&mut self, shard: Shard, from: Option<Stamp>) -> Result<Page, PortError> {
        let after = self.after();
        let (records, partition) = (&self.records, &self.partition);
        let read = || records.read(partition, shard, after.as_ref());
        let page = self.limiter.read(self.ids.as_ref(), read, |page| page.units).await?;
        let cursor = page.items.last().map(|record| Cursor::Record(record.id.clone())).or(self.cursor.take());
        let wanted = page.items.into_iter().filter(|record| from.is_none_or(|from| record.stamp >= from));
        let rows = wanted.map(|StoredRecord { id, line, .. }| Row { line, cursor: Cursor::Record(id) });
        Ok(Page { rows: rows.collect(), cursor, at_end: !page.has_more })
    }

    async fn next_of_log(&mut self, log: ChangeLog, until: Stamp) -> Result<Page, PortError> {
        while self.changes.is_empty() {
            let Some(from) = self.next_change.filter(|from| *from <= until) else {
                return Ok(Page { rows: Vec::new(), cursor: self.cursor.take(), at_end: true });
            };
            let (records, partition) = (&self.records, &self.partition);
            let read = || records.changes(partition, log, from, until);
            let page = self.limiter.read(self.ids.as_ref(), read, |page| page.units).await?;
            self.next_change = page.items.last().filter(|_| page.has_more).map(|item| item.stamp.next());
            self.changes = page.items.into();
        }
        let Some(ChangeItem { stamp, ids }) = self.changes.front() else {
            return Err(PortError::defect("read changes", "no change item"));
        };
        let stamp = *stamp;
        let done = match &self.cursor {
            Some(Cursor::Change { stamp: of, done }) if *of == stamp => usize::try_from(*done).unwrap_or(usize::MAX),
            _ => 0,
        };
        let wanted: Vec<_> = ids.iter().skip(done).take(self.look_up).cloned().collect();
        let is_last = done + wanted.len() >= ids.len();
        let after = |done: usize| Cursor::Change { stamp, done: u32::try_from(done).unwrap_or(u32::MAX) };
        let mut found = self.find(log.resource_type, wanted.clone()).await?;
        let mut rows = Vec::new();
        for (index, id) in (done + 1..).zip(&wanted) {
            // A record with another stamp was written again: it is named by the item of that stamp.
            if let Some(record) = found.remove(id).filter(|record| record.stamp == stamp) {
                rows.push(Row { line: record.line, cursor: after(index) });
            }
        }
        if is_last {
            self.changes.pop_front();
        }
        let at_end = self.changes.is_empty() && self.next_change.is_none();
        Ok(Page { rows, cursor: Some(after(done + wanted.len())), at_end })
    }

    /// Deletions whose record is not there: what was stored again is in the export, or in the next one of the chain.
    async fn next_of_deletions(
        &mut self,
        of: ResourceType,
        from: Stamp,
        format: RecordFormat,
    ) -> Result<Page, PortError> {
        let after = self.after();
        let (records, partition) = (&self.records, &self.partition);
        let read = || records.deletions(partition, of, after.as_ref());
        let page = self.limiter.read(self.ids.as_ref(), read, |page| page.units).await?;
        let cursor = page.items.last().map(|deletion| Cursor::Record(deletion.id.clone())).or(self.cursor.take());
        let wanted: Vec<_> = page.items.into_iter().filter(|deletion| deletion.stamp >= from).collect();
        let found = self.find(of, wanted.iter().map(|deletion| deletion.id.clone()).collect()).await?;
        let gone = wanted.into_iter().filter(|deletion| !found.contains_key(&deletion.id));
        let rows =
            gone.map(|deletion| Row { line: line_of(of, &deletion, format), cursor: Cursor::Record(deletion.id) });
        Ok(Page { rows: rows.collect(), cursor, at_end: !page.has_more })
    }

    /// The records of these ids, however many calls that takes.
    async fn find(
        &mut self,
        resource_type: ResourceType,
        ids: Vec<RecordId>,
    ) -> Result<HashMap<RecordId, StoredRecord>, PortError> {
        let mut found = HashMap::new();
        let mut backoff = Backoff::new(THROTTLED, self.ids.as_ref());
        let mut wanted = ids;
        let mut bytes = 0;
        while !wanted.is_empty() {
            match self.records.find(&self.partition, resource_type, &wanted).await {
                Ok(answer) => {
                    if answer.unprocessed.len() == wanted.len() {
                        backoff.wait().await;
                    } else {
                        backoff.reset();
                    }
                    wanted = answer.unprocessed;
                    for record in answer.records {
                        bytes += record.line.kept_bytes();
                        found.insert(record.id.clone(), record);
                    }
                }
                Err(PortError::Throttled { .. }) => {
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        self.look_up = match bytes {
            LARGE_ANSWER.. => FIRST_LOOK_UP,
            SMALL_ANSWER.. => self.look_up,
            _ => (self.look_up * 2).min(MAX_GROUP),
        };
        Ok(found)
    }
}

/// How an export names a deleted record.
fn line_of(resource_type: ResourceType, Deletion { id, stamp }: &Deletion, format: RecordFormat) -> PackedLine {
    let id = match format {
        RecordFormat::Flat => Cow::Borrowed(id.as_str()),
        RecordFormat::Fhir { .. } => Cow::Owned(fhir::id_to_fhir(id.as_str())),
    };
    // No id has a character that JSON escapes.
    let deleted_at = format!("{:.3}", stamp.moment());
    PackedLine::Text(format!(r#"{{"resourceType":"{resource_type}","id":"{id}","deletedAt":"{deleted_at}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_has_the_id_that_the_file_gave_the_record() {
        let deletion = Deletion {
            id: "a_b".to_owned().try_into().unwrap(),
            stamp: Stamp::first_of("2026-01-01T00:00:00Z".parse().unwrap()),
        };
        let line = |format| match line_of(ResourceType::Patient, &deletion, format) {
            PackedLine::Text(line) => line,
            PackedLine::Deflated { .. } => unreachable!(),
        };
        let flat = r#"{"resourceType":"Patient","id":"a_b","deletedAt":"2026-01-01T00:00:00.000Z"}"#;
        assert_eq!(line(RecordFormat::Flat), flat);
        let fhir = RecordFormat::Fhir { mapping_version: fhir::MAPPING_VERSION };
        assert_eq!(line(fhir), flat.replace("a_b", "a.-b"));
    }
}
