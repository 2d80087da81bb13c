//! The pages of some slices, one after the other.

use futures::Stream;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::ids::Partition;
use crate::ports::{Page, PageKey, PortError, ReadRange, Slice};
use crate::worker::Worker;

/// Slices whose first page is read ahead, so that the many that are empty or small do not cost one wait
/// each. Each may hold a page of 1 MiB in memory.
const SLICES_AHEAD: usize = 4;

/// A page and the slice that it is of, by its index.
pub(super) struct SlicePage {
    pub(super) slice: u32,
    pub(super) lines: Vec<String>,
}

impl Worker {
    /// All pages of the slices, in order, the first slice from behind a record of it.
    pub(super) fn pages<'a>(
        &'a self,
        partition: &'a Partition,
        slices: Vec<(u32, Slice)>,
        behind: Option<PageKey>,
        range: ReadRange,
    ) -> impl Stream<Item = Result<SlicePage, PortError>> + 'a {
        let mut behind = behind;
        stream::iter(slices)
            .map(move |(index, slice)| {
                let behind = behind.take();
                async move {
                    let first = self.records.read(partition, slice, range, behind.as_ref()).await?;
                    let (first, next) = (SlicePage { slice: index, lines: first.lines }, first.next);
                    let rest = stream::try_unfold(next, move |from| async move {
                        let Some(from) = from else { return Ok::<_, PortError>(None) };
                        let Page { lines, next } = self.records.read(partition, slice, range, Some(&from)).await?;
                        Ok(Some((SlicePage { slice: index, lines }, next)))
                    });
                    Ok::<_, PortError>(stream::iter([Ok(first)]).chain(rest))
                }
            })
            .buffered(SLICES_AHEAD)
            .try_flatten()
    }
}
