//! Reads the sources once, and writes the batches.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use records::{RecordId, ResourceType};
use sources::{
    Format, Map, Sink, Source, SourceViolation, TableOptions, Types, Validator, read_ndjson, read_table, unusable,
};

use super::compress::Compressor;
use super::history::History;
use super::request::SourceRequest;
use super::{BatchPlan, ImportRequest, Plan, SourcePlan, source_name};
use crate::batch::{OpenBatch, Place, duplicate};
use crate::events::{Events, Stage};
use crate::files::{self, VERSION};
use crate::state::{HeldRecords, LineMap, StateFolder};

/// Pieces of this size go to the compressor.
const PIECE: usize = 1 << 18;

/// What a plan is made of.
pub struct BuildInput<'a> {
    pub request: &'a ImportRequest,
    /// Where batches are kept; `None` for a plan that is only looked at.
    pub folder: Option<&'a StateFolder>,
    pub events: &'a dyn Events,
}

/// Reads all sources, and makes the plan of them.
pub fn build(input: &BuildInput<'_>) -> Result<Plan> {
    if let Some(folder) = input.folder {
        folder.clear()?;
    }
    let from = &input.request.from;
    let names = from.sources.iter().map(|source| source_name(&source.path)).collect();
    let mut planner = Planner::new(names, &from.sources, input.folder, History::read(from)?)?;
    let deleted = planner.history.deleted();
    let total = from.sources.iter().filter_map(|source| std::fs::metadata(&source.path).ok());
    input.events.begin(Stage::Reading, total.map(|metadata| metadata.len()).sum());
    let mut sources = Vec::new();
    let read = read_all(input, &mut planner, &mut sources);
    planner.finish(read).map(|batches| Plan {
        version: VERSION,
        run: input.request.run.clone(),
        created_at: Timestamp::now(),
        sources,
        deleted,
        batches,
    })
}

fn read_all(input: &BuildInput<'_>, planner: &mut Planner<'_>, sources: &mut Vec<SourcePlan>) -> Result<()> {
    let mut stage = 0;
    for (at, source) in input.request.from.sources.iter().enumerate() {
        if source.stage != stage {
            stage = source.stage;
            planner.end_stage()?;
        }
        planner.source = at;
        (planner.rejected, planner.left_out, planner.bytes) = (0, 0, 0);
        let plan = read_source(input, source, planner, sources).with_context(|| source_name(&source.path))?;
        sources.push(plan);
    }
    Ok(())
}

fn read_source(
    input: &BuildInput<'_>,
    source: &SourceRequest,
    planner: &mut Planner<'_>,
    before: &[SourcePlan],
) -> Result<SourcePlan> {
    let request = input.request;
    let encoding = request.encoding.as_deref().map(sources::encoding).transpose()?;
    let mut open = Source::open_hashed(&source.path)?.decoded(encoding);
    let seen_before: u64 = before.iter().map(|source| source.bytes).sum();
    let mut reader = std::mem::replace(&mut open.reader, Box::new(std::io::empty()));
    let mut seen = || input.events.advance(seen_before + open.bytes());
    let (records, blank_rows) = match (source.format, source.resource_type) {
        (Format::Ndjson, resource_type) => {
            let mut types = match resource_type {
                Some(resource_type) => Types::One(Validator::of(resource_type)?),
                None => Types::Named(HashMap::new()),
            };
            (read_ndjson(&mut reader, &mut types, planner, &mut seen)?, 0)
        }
        (format, resource_type) => {
            let resource_type = resource_type.context("a table needs its type")?;
            let map = match &request.map {
                Some(path) => Map::load(path, resource_type)?,
                None => Map::default(),
            };
            let delimiter = (format == Format::Tsv).then_some(b'\t');
            let options = TableOptions { delimiter, map: &map, unknown: request.unknown };
            let validator = Validator::of(resource_type)?;
            let count = read_table(&mut reader, &options, &validator, planner, &mut seen)?;
            (count.records, count.blank)
        }
    };
    drop(reader);
    let (sha256, bytes) = open.digest();
    source.verify(&sha256, records)?;
    let size = (records, planner.bytes);
    for (earlier, of) in request.from.sources.iter().zip(&planner.sizes) {
        let is_alike = *of == size && records > 0 && earlier.resource_type == source.resource_type;
        let is_ours = earlier.owner.is_none() && source.owner.is_none();
        // Records without ids would be stored twice.
        if is_alike && is_ours && holds_the_same(&earlier.path, &source.path)? {
            return Err(unusable(format!("it holds the same as {}: name one of them", source_name(&earlier.path))));
        }
    }
    planner.sizes.push(size);
    Ok(SourcePlan {
        path: source.path.clone(),
        format: source.format,
        bytes,
        sha256,
        records,
        rejected: planner.rejected,
        left_out: planner.left_out,
        blank_rows,
    })
}

/// Whether two files hold the same, compressed or not. A pipe cannot be read once more.
fn holds_the_same(one: &Path, other: &Path) -> Result<bool> {
    if !one.is_file() || !other.is_file() {
        return Ok(false);
    }
    let content = |path: &Path| -> Result<_> {
        files::digest_of(Source::open(path)?.decoded(None).reader).with_context(|| source_name(path))
    };
    Ok(content(one)? == content(other)?)
}

/// A batch that is being written.
struct Writing {
    batch: OpenBatch,
    number: usize,
    lines: LineMap,
    piece: Vec<u8>,
    path: Option<PathBuf>,
}

/// Puts records into batches as they come.
struct Planner<'a> {
    folder: Option<&'a StateFolder>,
    names: Vec<String>,
    source: usize,
    sources: &'a [SourceRequest],
    history: History,
    /// Rejected records of the source in hand.
    rejected: u64,
    /// Lines of it that are no part of what is restored.
    left_out: u64,
    /// Bytes of its records.
    bytes: u64,
    /// Records and bytes of the sources before it.
    sizes: Vec<(u64, u64)>,
    open: BTreeMap<ResourceType, Writing>,
    closed: Vec<BatchPlan>,
    next_number: usize,
    compressor: Option<Compressor>,
    held: Option<HeldRecords>,
}

impl<'a> Planner<'a> {
    fn new(
        names: Vec<String>,
        sources: &'a [SourceRequest],
        folder: Option<&'a StateFolder>,
        history: History,
    ) -> Result<Self> {
        Ok(Self {
            folder,
            names,
            source: 0,
            sources,
            history,
            rejected: 0,
            left_out: 0,
            bytes: 0,
            sizes: Vec::new(),
            open: BTreeMap::new(),
            closed: Vec::new(),
            next_number: 1,
            compressor: folder.map(|_| Compressor::start()),
            held: folder.map(HeldRecords::create).transpose()?,
        })
    }

    fn begin(&mut self, resource_type: ResourceType) -> Writing {
        let number = self.next_number;
        self.next_number += 1;
        let path = self.folder.map(|folder| folder.batch(number));
        Writing { batch: OpenBatch::new(resource_type), number, lines: LineMap::default(), piece: Vec::new(), path }
    }

    fn close(&mut self, writing: Writing) -> Result<()> {
        let Writing { batch, number, lines, piece, path } = writing;
        if let (Some(path), Some(folder)) = (path, self.folder) {
            lines.store(&folder.lines(number))?;
            self.compress(|compressor| compressor.write(&path, piece) && compressor.close(path.clone()))?;
        }
        self.closed.push(BatchPlan {
            number,
            resource_type: batch.resource_type,
            records: batch.records,
            bytes: batch.bytes,
            without_id: batch.without_id,
        });
        Ok(())
    }

    fn compress(&mut self, order: impl FnOnce(&Compressor) -> bool) -> Result<()> {
        match self.compressor.take() {
            Some(compressor) if !order(&compressor) => Err(compressor.failure()),
            compressor => {
                self.compressor = compressor;
                Ok(())
            }
        }
    }

    fn end_stage(&mut self) -> Result<()> {
        while let Some((_, writing)) = self.open.pop_first() {
            self.close(writing)?;
        }
        Ok(())
    }

    /// Ends all batches; `read` is how the reading ended.
    fn finish(mut self, read: Result<()>) -> Result<Vec<BatchPlan>> {
        read?;
        self.end_stage()?;
        if let Some(held) = self.held.take() {
            held.publish()?;
        }
        let mut batches = self.closed;
        batches.sort_by_key(|batch| batch.number);
        if let (Some(compressor), Some(folder)) = (self.compressor.take(), self.folder) {
            let sizes = compressor.finish()?;
            for batch in &mut batches {
                batch.bytes = sizes.get(&folder.batch(batch.number)).copied().context("write batch")?;
            }
        }
        Ok(batches)
    }
}

impl Sink for Planner<'_> {
    fn valid(
        &mut self,
        line: u64,
        resource_type: ResourceType,
        id: Option<RecordId>,
        record: &[u8],
    ) -> Result<Option<SourceViolation>> {
        self.bytes += record.len() as u64;
        if let Some(source) = self.sources.get(self.source)
            && self.history.leaves_out(source, resource_type, id.as_ref(), record)
        {
            self.left_out += 1;
            return Ok(None);
        }
        if self.open.get(&resource_type).is_some_and(|writing| !writing.batch.has_room(record.len()))
            && let Some(full) = self.open.remove(&resource_type)
        {
            self.close(full)?;
        }
        if !self.open.contains_key(&resource_type) {
            let begun = self.begin(resource_type);
            self.open.insert(resource_type, begun);
        }
        let writing = self.open.get_mut(&resource_type).context("open batch")?;
        let place = Place { source: self.source, line };
        if let Err(first) = writing.batch.add(id, place, record.len()) {
            return Ok(Some(duplicate(first, self.source, &self.names)));
        }
        writing.lines.push(place);
        if let Some(path) = &writing.path {
            writing.piece.extend_from_slice(record);
            writing.piece.push(b'\n');
            if writing.piece.len() >= PIECE {
                let (path, piece) = (path.clone(), std::mem::replace(&mut writing.piece, Vec::with_capacity(PIECE)));
                self.compress(|compressor| compressor.write(&path, piece))?;
            }
        }
        Ok(None)
    }

    fn rejected_bytes(&mut self, resource_type: ResourceType, bytes: &[u8], last: bool) -> Result<()> {
        self.bytes += bytes.len() as u64;
        match &mut self.held {
            Some(held) => held.bytes(resource_type, bytes, last),
            None => Ok(()),
        }
    }

    fn rejected(&mut self, line: u64, resource_type: ResourceType, violations: &[SourceViolation]) -> Result<()> {
        self.rejected += 1;
        match &mut self.held {
            Some(held) => held.violations(resource_type, Place { source: self.source, line }, violations),
            None => Ok(()),
        }
    }
}
