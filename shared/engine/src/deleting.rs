//! Deleting one record, as an operator does it for the person it is about: first what is about to be deleted, then the
//! record, so that every copy that is kept by exports with `since` hears of it.

use std::slice;
use std::sync::Arc;

use model::{Deletion, MAX_STAMP_AGE, Partition, Stamp};
use ports::{Backoff, Clock, IdSource, PortError, RecordReader, RecordRemover, RetryPolicy, retry};
use records::{RecordId, ResourceType};
use tokio::time::Instant;

/// Tries of one deletion, each under a stamp of its own.
const TRIES: RetryPolicy = RetryPolicy::new(10, 50, 5_000);

/// Deletes records, one by one.
pub struct RecordDeleter {
    pub remover: Arc<dyn RecordRemover>,
    pub reader: Arc<dyn RecordReader>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

/// What is found of a record that was deleted, once nothing from before can arrive any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondLook {
    Gone,
    /// A write from before the deletion had arrived after it; the record was deleted again.
    DeletedAgain,
    /// An import has stored it after the deletion: it is there.
    StoredAgain(Stamp),
}

impl RecordDeleter {
    /// When the record was written, if it is there.
    pub async fn find(
        &self,
        partition: &Partition,
        of: ResourceType,
        id: &RecordId,
    ) -> Result<Option<Stamp>, PortError> {
        let find = || async {
            let found = self.reader.find(partition, of, slice::from_ref(id)).await?;
            if !found.unprocessed.is_empty() {
                return Err(PortError::unavailable("find record", "not looked at"));
            }
            Ok(found.records.first().map(|record| record.stamp))
        };
        retry(TRIES, self.ids.as_ref(), PortError::is_transient, find).await
    }

    /// Deletes the record in the version that is there, or an earlier one. Returns the deletion's stamp: every export with
    /// a `since` before it that ends from now on names the record, unless it is stored again.
    pub async fn delete(&self, partition: &Partition, of: ResourceType, id: &RecordId) -> Result<Stamp, PortError> {
        let mut backoff = Backoff::new(TRIES, self.ids.as_ref());
        loop {
            // An operator's clock may be behind those of the processors.
            let written = self.find(partition, of, id).await?.map(Stamp::next);
            let drawn = Instant::now();
            let now = Stamp::draw(self.clock.now(), self.ids.random());
            let stamp = written.map_or(now, |written| written.max(now));
            let deletion = Deletion { id: id.clone(), stamp };
            let tried = async {
                self.remover.log_deletion(partition, of, &deletion).await?;
                // As for writes: what starts later than that could land when no export looks back to the stamp any more.
                if drawn.elapsed() >= MAX_STAMP_AGE {
                    return Err(PortError::unavailable("delete record", "stamp is too old"));
                }
                self.remover.delete_record(partition, of, &deletion).await
            };
            match tried.await {
                Ok(()) => return Ok(stamp),
                Err(error) if error.is_transient() => {
                    if !backoff.wait().await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks whether a write from before the deletion has brought the record back. To be called six minutes after it,
    /// when none can be on its way any more (`model::transaction_time` counts on the same).
    pub async fn look_again(
        &self,
        partition: &Partition,
        of: ResourceType,
        id: &RecordId,
        deleted: Stamp,
    ) -> Result<SecondLook, PortError> {
        match self.find(partition, of, id).await? {
            None => Ok(SecondLook::Gone),
            Some(stamp) if stamp > deleted => Ok(SecondLook::StoredAgain(stamp)),
            Some(_) => self.delete(partition, of, id).await.map(|_| SecondLook::DeletedAgain),
        }
    }
}
