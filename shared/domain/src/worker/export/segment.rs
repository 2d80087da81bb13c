//! Working on a segment: read its slices, append the lines without looking into them, upload parts.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt, TryStreamExt};
use records::MAX_STORED_LINE;
use tokio::time::Instant;

use super::pages::SlicePage;
use super::plan::read_range;
use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{ExportPlan, FailureReason, Job, JobSpec};
use crate::layout::{PARTS_AHEAD, parts_of};
use crate::object_key::ObjectKey;
use crate::ports::{ObjectStore, PageKey, PortError, Slice, UploadError, UploadedPart};
use crate::segment::{Checkpoint, Segment};
use crate::worker::{WorkError, Worker};

/// Parts that are uploaded at a time; each holds its bytes in memory.
const PARTS_IN_FLIGHT: usize = 2;
const _: () = assert!(PARTS_IN_FLIGHT <= PARTS_AHEAD as usize);

/// A segment that has been read to its end.
pub(in crate::worker) struct Covered {
    /// What was left at the end, too small for a part.
    pub(in crate::worker) tail: Option<ObjectKey>,
    /// What parts and tail cover.
    pub(in crate::worker) checkpoint: Checkpoint,
}

/// What a part covers beyond the parts before it.
struct Part {
    slice: u32,
    behind: Option<PageKey>,
    records: u64,
    bytes: u64,
    uploaded: UploadedPart,
    content: Bytes,
}

/// The parts of a segment in the making.
struct PartWriter<'a> {
    objects: &'a dyn ObjectStore,
    partition: &'a Partition,
    plan: &'a ExportPlan,
    buffer: BytesMut,
    /// Buffers of parts that have arrived, to be filled again: giving 8 MiB back and asking for them anew,
    /// part after part, would fragment the memory.
    spare: Vec<BytesMut>,
    /// Records in the buffer.
    records: u64,
    /// The slice of the last of them.
    slice: u32,
    next_number: u32,
    /// Where the segment's numbers end.
    end: u32,
    /// Yields the parts in their order, though they are uploaded side by side: what has come out is an
    /// unbroken run.
    uploading: FuturesOrdered<BoxFuture<'a, Result<Part, UploadError>>>,
}

impl PartWriter<'_> {
    fn append(&mut self, slice: u32, line: &str) {
        if self.buffer.capacity() == 0 {
            self.buffer = self.spare.pop().unwrap_or_default();
            // A part and the line that fills it.
            let capacity = usize::try_from(self.plan.part_size).unwrap_or(0).saturating_add(MAX_STORED_LINE + 1);
            self.buffer.reserve(capacity);
        }
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.extend_from_slice(b"\n");
        self.records += 1;
        self.slice = slice;
    }

    fn is_full(&self) -> bool {
        self.buffer.len() as u64 >= self.plan.part_size
    }

    fn has_room(&self) -> bool {
        self.uploading.len() < PARTS_IN_FLIGHT
    }

    /// Keeps the memory of a part that has arrived, if nobody else holds it any more.
    fn reuse(&mut self, content: Bytes) {
        if let Ok(mut buffer) = content.try_into_mut() {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Begins to upload what has been appended, up to and including the record of that key.
    fn cut(&mut self, behind: Option<PageKey>) -> Result<(), WorkError> {
        if self.next_number >= self.end {
            return Err(WorkError::Impossible(FailureReason::ExportTooLarge));
        }
        let content: Bytes = std::mem::take(&mut self.buffer).freeze();
        let (number, slice) = (self.next_number, self.slice);
        let (records, bytes) = (std::mem::take(&mut self.records), content.len() as u64);
        self.next_number += 1;
        let (objects, partition, plan) = (self.objects, self.partition, self.plan);
        self.uploading.push_back(Box::pin(async move {
            let sent = content.clone();
            let uploaded = objects.upload_part(partition, &plan.file, &plan.upload, number, sent).await?;
            Ok(Part { slice, behind, records, bytes, uploaded, content })
        }));
        Ok(())
    }
}

impl Checkpoint {
    /// Covers one more part, and returns its bytes.
    fn extend(&mut self, part: Part) -> Bytes {
        self.slice = part.slice;
        self.behind = part.behind;
        self.next_part = part.uploaded.number + 1;
        self.processed += part.records;
        self.bytes += part.bytes;
        self.parts.push(part.uploaded);
        part.content
    }
}

impl Worker {
    /// Works on a segment until it is read to its end, or the turn is over: at a part boundary after the
    /// time of a turn, or where it stands at the deadline.
    pub(in crate::worker) async fn export_segment(
        &self,
        hold: &Hold<Segment>,
        job: &Job,
        deadline: Instant,
    ) -> Result<Covered, WorkError> {
        let (Some(plan), JobSpec::Export { resource_types, since }) = (job.plan(), job.spec()) else {
            return Err(PortError::Defect { operation: "read plan", cause: "job has none".into() }.into());
        };
        let turn_ends = Instant::now() + self.pace.turn;
        let segment = hold.current().await;
        let mut checkpoint = segment.checkpoint().clone();
        let partition = job.partition();
        let slices = (0u32..).zip(Slice::all(resource_types));
        let slices = slices.filter(|(index, _)| (checkpoint.slice..segment.slices().end).contains(index));
        let range = read_range(*since, plan.started_reading_at);
        let pages = self.pages(partition, slices.collect(), checkpoint.behind.clone(), range);
        let mut pages = std::pin::pin!(pages);
        let mut writer = PartWriter {
            objects: self.objects.as_ref(),
            partition,
            plan,
            buffer: BytesMut::new(),
            spare: Vec::new(),
            records: 0,
            slice: checkpoint.slice,
            next_number: checkpoint.next_part,
            end: parts_of(segment.number()).end,
            uploading: FuturesOrdered::new(),
        };
        let mut at_hand: Option<(u32, std::vec::IntoIter<String>)> = None;
        let (mut at_end, mut advanced) = (false, false);
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(WorkError::OutOfTime);
            }
            let turn_is_over = now >= turn_ends && advanced;
            if turn_is_over && writer.uploading.is_empty() {
                return Err(WorkError::OutOfTime);
            }
            let reading = !turn_is_over && !at_end && writer.has_room();
            if let (true, Some((slice, lines))) = (reading, &mut at_hand) {
                let Some(line) = lines.next() else {
                    at_hand = None;
                    continue;
                };
                writer.append(*slice, &line);
                if writer.is_full() {
                    hold.check()?;
                    writer.cut(Some(key_of(&line)?))?;
                }
                continue;
            }
            if at_end && writer.uploading.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(part) = writer.uploading.next(), if !writer.uploading.is_empty() => {
                    let content = checkpoint.extend(part?);
                    writer.reuse(content);
                    hold.checkpoint(checkpoint.clone()).await?;
                    advanced = true;
                }
                page = pages.try_next(), if reading => match page? {
                    Some(SlicePage { slice, lines }) => at_hand = Some((slice, lines.into_iter())),
                    None => at_end = true,
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
        self.close(hold, &segment, writer, checkpoint).await
    }

    /// What is left at the end becomes one more part, or a tail where S3 would find it too small.
    async fn close(
        &self,
        hold: &Hold<Segment>,
        segment: &Segment,
        mut writer: PartWriter<'_>,
        mut checkpoint: Checkpoint,
    ) -> Result<Covered, WorkError> {
        let rest = writer.buffer.len() as u64;
        let partition = segment.partition();
        hold.check()?;
        if rest >= self.sizes.least_part {
            writer.cut(None)?;
            while let Some(part) = writer.uploading.next().await {
                checkpoint.extend(part?);
            }
            return Ok(Covered { tail: None, checkpoint });
        }
        checkpoint.processed += writer.records;
        checkpoint.bytes += rest;
        let mut tail = None;
        if rest > 0 {
            let key = ObjectKey::tail(partition, segment.job_id(), segment.number(), hold.token());
            self.objects.put(partition, &key, writer.buffer.freeze()).await?;
            tail = Some(key);
        }
        Ok(Covered { tail, checkpoint })
    }
}

fn key_of(line: &str) -> Result<PageKey, PortError> {
    PageKey::of(line).ok_or_else(|| PortError::Defect { operation: "read records", cause: "not a stored line".into() })
}
