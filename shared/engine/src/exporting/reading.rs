//! Reading an export's lanes into a file: several at once, whichever page arrives first.

use std::collections::VecDeque;

use futures::future::Either;
use model::{FailureReason, Position};
use ports::PortError;
use records::Unpacker;
use tokio::time::Instant;

use super::formatter::Formatter;
use super::lane::{Lane, LaneReader, Page};
use super::plan::FilePlan;
use super::{ExportRun, Out};
use crate::driver::{Due, Tasks, WorkError, either};
use crate::files::{FileWriter, SentChunk};

/// A page of a lane, and the reader that goes on after it.
type ReadPage = (LaneReader, Result<Page, PortError>);

/// The lanes of a file while they are read.
pub(super) struct Reading<'a> {
    lanes: &'a [Lane],
    /// What is appended: where reading goes on for whoever takes over.
    pub(super) position: Position,
    pages: Tasks<ReadPage>,
    /// Pages that have arrived and wait for room: of each lane one at most.
    ready: VecDeque<(LaneReader, Page)>,
    unpacker: Unpacker,
    formatter: Formatter,
}

async fn next_page(mut reader: LaneReader) -> ReadPage {
    let page = reader.next().await;
    (reader, page)
}

impl<'a> Reading<'a> {
    pub(super) fn new(run: &ExportRun<'_>, plan: &'a FilePlan, position: Position) -> Self {
        let (pages, ready, unpacker) = (Tasks::default(), VecDeque::new(), Unpacker::default());
        let formatter = Formatter::new(run.spec.format, plan.content);
        let mut reading = Self { lanes: &plan.lanes, position, pages, ready, unpacker, formatter };
        for open in reading.position.open.clone() {
            if let Some(lane) = reading.lanes.get(open.lane as usize) {
                reading.pages.begin(next_page(run.lane_reader(open.lane, *lane, open.cursor)));
            }
        }
        reading
    }

    /// Reads all lanes to their end and appends what they bring. Ends early when the time slice is over or a store is
    /// down; the file then holds what `position` says.
    pub(super) async fn run(&mut self, run: &mut ExportRun<'_>, out: &mut Out) -> Result<(), WorkError> {
        let mut deadlines = run.deadlines;
        loop {
            self.append_ready(out)?;
            self.open_lanes(run);
            if self.position.open.is_empty() {
                return Ok(());
            }
            // What is appended must not keep the lease from being renewed.
            tokio::task::yield_now().await;
            deadlines.set_waiting(self.ready.is_empty() && out.chunks.is_empty(), Instant::now());
            let wake = match deadlines.due(Instant::now()) {
                Due::Nothing(wake) => wake,
                Due::MakeRoom => return Err(WorkError::TimeOver),
                Due::Stalled => return Err(PortError::unavailable("read records", "no shard advances").into()),
            };
            match self.next(out, wake).await {
                Some(Either::Left(sent)) => run.sent(out, sent?),
                Some(Either::Right((reader, page))) => {
                    deadlines.advance(Instant::now());
                    self.ready.push_back((reader, page?));
                }
                None => {}
            }
        }
    }

    /// What arrives next: a chunk in the store, or a page from it.
    async fn next(&mut self, out: &mut Out, wake: Instant) -> Option<Either<Result<SentChunk, PortError>, ReadPage>> {
        let mut sent = std::pin::pin!(out.chunks.next(wake));
        let mut page = std::pin::pin!(self.pages.next(wake));
        match either(&mut sent, &mut page).await {
            Either::Left(sent) => sent.map(Either::Left),
            Either::Right(page) => page.map(Either::Right),
        }
    }

    fn open_lanes(&mut self, run: &ExportRun<'_>) {
        while let Some(lane) = self.lanes.get(self.position.next_lane as usize)
            && self.position.open.len() < lane.max_concurrency()
        {
            self.pages.begin(next_page(run.lane_reader(self.position.next_lane, *lane, None)));
            self.position.set(self.position.next_lane, None);
            self.position.next_lane += 1;
        }
    }

    /// Appends pages for as long as there is room, and has their lanes read on.
    fn append_ready(&mut self, out: &mut Out) -> Result<(), WorkError> {
        while let Some((reader, mut page)) = self.ready.pop_front() {
            if !self.append(out, reader.index, &mut page)? {
                self.ready.push_front((reader, page));
                return Ok(());
            }
            if !page.at_end {
                self.pages.begin(next_page(reader));
            }
        }
        Ok(())
    }

    /// Appends a page, and cuts chunks as they fill; false when it has to wait before all of it is appended.
    fn append(&mut self, out: &mut Out, lane: u32, page: &mut Page) -> Result<bool, WorkError> {
        let mut rows = std::mem::take(&mut page.rows).into_iter();
        loop {
            if out.file.is_full() {
                if !out.file.has_room() {
                    page.rows = rows.collect();
                    return Ok(false);
                }
                out.cut(self.position.clone())?;
            }
            let Some(row) = rows.next() else { break };
            let line = self.unpacker.unpack(&row.line).map_err(|error| PortError::defect("read records", error))?;
            out.file.push(self.formatter.format(line)?);
            out.file.end_line();
            self.position.set(lane, Some(row.cursor));
        }
        if page.at_end {
            self.position.close(lane);
        } else {
            self.position.set(lane, page.cursor.take());
        }
        Ok(true)
    }
}

impl Out {
    /// Ends a chunk and begins to send it; whoever takes over goes on reading at `position`.
    pub(super) fn cut(&mut self, position: Position) -> Result<(), WorkError> {
        let sending = FileWriter::cut(&mut self.file, position);
        self.chunks.begin(sending.ok_or(WorkError::Impossible(FailureReason::ExportTooLarge))?);
        Ok(())
    }
}
