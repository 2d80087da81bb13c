//! An export: read the records page by page, append them to one file.

use futures::Stream;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use records::ResourceType;
use tokio::time::Instant;

use crate::file_writer::FileWriter;
use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{Job, JobResult, Progress};
use crate::object_key::ObjectKey;
use crate::ports::{CountPage, Page, PageKey, PortError, ReadRange, Slice};
use crate::worker::{WorkError, Worker};

/// Slices that are counted at a time.
const COUNTS_AT_ONCE: usize = 8;

/// The size of a part: S3 wants 5 MiB at least, and at most 10,000 parts a file
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PART_SIZE: usize = 8 << 20;

/// Slices whose first page is read ahead. Each may hold a page of 1 MiB in memory.
const SLICES_AHEAD: usize = 3;

impl Worker {
    /// Does an export. A take-over starts from the beginning, into a file of its own: until the job names
    /// one, nobody sees any.
    pub(super) async fn export(
        &self,
        hold: &Hold,
        job: &Job,
        resource_types: &[ResourceType],
        since: Option<Timestamp>,
        deadline: Instant,
    ) -> Result<(JobResult, Progress), WorkError> {
        let partition = job.partition();
        let started_reading_at = self.clock.now();
        let range = match since {
            Some(since) => ReadRange::Updated { since, until: started_reading_at },
            None => ReadRange::All,
        };
        let total = self.count(partition, resource_types, range).await?;
        hold.report(Progress { total, ..Progress::default() }).await?;

        let file = ObjectKey::export(partition, job.id(), hold.token());
        let mut writer = FileWriter::new(self.objects.as_ref(), partition, &file, PART_SIZE);
        let mut pages = std::pin::pin!(self.pages(partition, resource_types, range));
        let mut processed = 0;
        let written = loop {
            if Instant::now() >= deadline {
                break Err(WorkError::OutOfTime);
            }
            tokio::select! {
                page = pages.try_next(), if writer.has_room() => match page {
                    Ok(Some(page)) => {
                        hold.check()?;
                        processed += page.lines.len() as u64;
                        let appended = append(&mut writer, &page).await;
                        if let Err(error) = appended { break Err(error.into()); }
                        hold.report(Progress { total, processed, ..Progress::default() }).await?;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error.into()),
                },
                part = writer.next_part_done(), if writer.is_uploading() => {
                    if let Err(error) = part { break Err(error.into()); }
                }
            }
        };
        if let Err(error) = written {
            writer.abort().await;
            return Err(error);
        }
        hold.check()?;
        writer.finish().await?;
        let progress = Progress { total: processed, processed, ..Progress::default() };
        Ok((JobResult::Export { file, started_reading_at }, progress))
    }

    async fn count(&self, partition: &Partition, types: &[ResourceType], range: ReadRange) -> Result<u64, PortError> {
        stream::iter(Slice::all(types))
            .map(|slice| {
                paged(Some(From::Beginning), move |from| async move {
                    self.records.count(partition, slice, range, from.as_ref()).await
                })
                .try_fold(0, |sum, page: CountPage| async move { Ok(sum + page.count) })
            })
            .buffer_unordered(COUNTS_AT_ONCE)
            .try_fold(0, |sum, count| async move { Ok(sum + count) })
            .await
    }

    /// All pages, slice by slice. The first pages of the next slices are read ahead, so that the many
    /// slices that are empty or small do not cost one wait each.
    fn pages<'a>(
        &'a self,
        partition: &'a Partition,
        types: &[ResourceType],
        range: ReadRange,
    ) -> impl Stream<Item = Result<Page, PortError>> + 'a {
        let slices: Vec<_> = Slice::all(types).collect();
        stream::iter(slices)
            .map(move |slice| async move {
                let first = self.records.read(partition, slice, range, None).await?;
                let next = first.next.clone();
                let rest = paged(next.map(From::Behind), move |from| async move {
                    self.records.read(partition, slice, range, from.as_ref()).await
                });
                Ok::<_, PortError>(stream::iter([Ok(first)]).chain(rest))
            })
            .buffered(SLICES_AHEAD)
            .try_flatten()
    }
}

async fn append(writer: &mut FileWriter<'_>, page: &Page) -> Result<(), PortError> {
    for line in &page.lines {
        writer.push(line.as_bytes());
        writer.push(b"\n");
    }
    writer.upload_full_parts().await
}

/// Something that comes in pages.
trait Paged {
    fn next(&self) -> Option<PageKey>;
}

impl Paged for Page {
    fn next(&self) -> Option<PageKey> {
        self.next.clone()
    }
}

impl Paged for CountPage {
    fn next(&self) -> Option<PageKey> {
        self.next.clone()
    }
}

/// From where pages are read.
enum From {
    Beginning,
    Behind(PageKey),
}

/// The pages from there on; none when there is nothing to read on.
fn paged<P, F, R>(from: Option<From>, read: F) -> impl Stream<Item = Result<P, PortError>>
where
    P: Paged,
    F: Fn(Option<PageKey>) -> R,
    R: Future<Output = Result<P, PortError>>,
{
    stream::try_unfold(from, move |from: Option<From>| {
        let page = from.map(|from| match from {
            From::Beginning => read(None),
            From::Behind(key) => read(Some(key)),
        });
        async move {
            let Some(page) = page else { return Ok(None) };
            let page = page.await?;
            let next = page.next().map(From::Behind);
            Ok(Some((page, next)))
        }
    })
}
