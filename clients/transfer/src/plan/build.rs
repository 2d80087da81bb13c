//! Reads the sources once, and writes the batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use encoding_rs::Encoding;
use jiff::Timestamp;
use records::{RecordId, ResourceType};
use sources::{
    Doubt, Format, Map, Maps, Sink, Source, SourceViolation, TableOptions, Types, Validator, read_ndjson, read_table,
    unusable,
};

use super::compress::Compressor;
use super::history::History;
use super::ids::{Ids, References, duplicate};
use super::request::{Duplicates, Reading, SourceRequest};
use super::{BatchPlan, Plan, SourcePlan, Sources, Warning, source_name};
use crate::batch::{OpenBatch, Place};
use crate::events::{Events, Stage};
use crate::files::{self, VERSION};
use crate::fingerprint::Fingerprint;
use crate::state::{HeldRecords, LineMap, StateFolder};

/// Pieces of this size go to the compressor.
const PIECE: usize = 1 << 18;

/// Hears what is found while a plan is made.
pub trait Findings {
    /// A record that would be sent.
    fn accepted(&mut self, file: &str, line: u64, record: &[u8]) -> Result<()>;

    /// What is wrong with a record.
    fn rejected(&mut self, file: &str, line: u64, violations: &[SourceViolation]) -> Result<()>;

    /// A record refers to one that is not there.
    fn missing(&mut self, file: &str, line: u64, violation: &SourceViolation) -> Result<()>;
}

/// What a plan is made of.
pub struct BuildInput<'a> {
    pub run: &'a str,
    pub from: &'a Sources,
    pub reading: &'a Reading,
    /// Where batches are kept; `None` for a plan that is only looked at.
    pub folder: Option<&'a StateFolder>,
    /// The state folder of the import whose rejected records these are.
    pub retry_of: Option<&'a Path>,
    pub events: &'a dyn Events,
    pub findings: Option<&'a mut dyn Findings>,
    /// Whether what records refer to must be among them.
    pub has_references: bool,
}

/// How the sources are read, with the map read and the encoding found.
struct Opened<'a> {
    reading: &'a Reading,
    encoding: Option<&'static Encoding>,
    maps: Option<Maps>,
}

impl<'a> Opened<'a> {
    fn open(reading: &'a Reading) -> Result<Self> {
        let encoding = reading.encoding.as_deref().map(sources::encoding).transpose()?;
        let maps = reading.map.as_deref().map(Maps::load).transpose()?;
        Ok(Self { reading, encoding, maps })
    }

    /// The map of a source that is a table. One for other types, or for other files, says nothing of it.
    fn map(&self, source: &SourceRequest) -> Result<Option<&Map>> {
        let (Some(maps), Some(resource_type)) = (&self.maps, source.resource_type) else { return Ok(None) };
        if source.format == Format::Ndjson {
            return Ok(None);
        }
        match maps.of(resource_type, &source.path) {
            Some(map) => Ok(Some(map)),
            None if maps.types().any(|mapped| mapped == resource_type) => {
                Err(unusable(format!("no map for {resource_type} is for this file: look at their files = […]")))
            }
            None => {
                let types: Vec<_> = maps.types().map(ResourceType::as_str).collect();
                Err(unusable(format!("the map is for {}, and not for {resource_type}", types.join(", "))))
            }
        }
    }

    /// How a source that is a table is read.
    fn table(&self, source: &SourceRequest) -> Result<TableOptions<'_>> {
        let delimiter = self.reading.delimiter.or((source.format == Format::Tsv).then_some(b'\t'));
        Ok(TableOptions { delimiter, map: self.map(source)?, unknown: self.reading.unknown })
    }

    /// The encoding of a source: its map knows it better than what is said of all.
    fn encoding(&self, source: &SourceRequest) -> Result<Option<&'static Encoding>> {
        let of_map = self.map(source)?.map(Map::encoding).transpose()?.flatten();
        Ok(of_map.or(self.encoding))
    }
}

/// A source's name in a message.
fn shown_name(path: &Path) -> String {
    files::shown(Path::new(&source_name(path)))
}

/// Checks what can be checked before anything is read or written: that every source is there and is what it is read as,
/// and that the map fits. Nothing is taken from pipes.
pub fn check_sources(from: &Sources, reading: &Reading) -> Result<()> {
    let opened = Opened::open(reading)?;
    for source in from.files() {
        let SourceRequest { path, format, resource_type, .. } = source;
        let check = || {
            let encoding = opened.encoding(source)?;
            match resource_type.filter(|_| *format != Format::Ndjson) {
                Some(resource_type) => {
                    let schema = resource_type.schema()?;
                    sources::check_source(path, *format, encoding, Some((&opened.table(source)?, &schema)))
                }
                None => sources::check_source(path, *format, encoding, None),
            }
        };
        check().with_context(|| shown_name(path))?;
        if reading.duplicates == Duplicates::Last && !path.is_file() {
            return Err(unusable(format!(
                "{}: --duplicates last reads everything twice, and this can be read once: store it in a file",
                shown_name(path)
            )));
        }
    }
    Ok(())
}

/// Reads all sources, and makes the plan of them.
pub fn build(input: BuildInput<'_>) -> Result<Plan> {
    if let Some(folder) = input.folder {
        folder.clear()?;
    }
    let BuildInput { run, from, reading, folder, retry_of, events, findings, has_references } = input;
    let opened = Opened::open(reading)?;
    let total: u64 =
        from.sources.iter().filter_map(|source| std::fs::metadata(&source.path).ok()).map(|found| found.len()).sum();
    let mut planner = Planner::new(&from.sources, folder, History::read(from)?, findings)?;
    if let Some(first) = retry_of {
        planner.unchanged = StateFolder::open(first)?.rejected_lines()?;
    }
    planner.references = has_references.then(References::default);
    if reading.duplicates == Duplicates::Last {
        events.begin(Stage::Reading, total * 2);
        let last = planner.last.insert(Ids::default());
        for (source, from) in from.sources.iter().enumerate() {
            let read = read_source(&opened, from, &mut LastPlaces { source, ids: last }, &mut |_| {})
                .with_context(|| shown_name(&from.path))?;
            planner.digests.push(read.digest.0);
        }
    } else {
        events.begin(Stage::Reading, total);
    }
    let deleted = planner.history.deleted();
    let mut sources = Vec::new();
    let read = read_all(&opened, from, &mut planner, &mut sources, events);
    let (batches, warnings) = planner.finish(read)?;
    let created_at = Timestamp::now();
    Ok(Plan { version: VERSION, run: run.to_owned(), created_at, sources, deleted, batches, warnings })
}

fn read_all(
    opened: &Opened<'_>,
    from: &Sources,
    planner: &mut Planner<'_>,
    sources: &mut Vec<SourcePlan>,
    events: &dyn Events,
) -> Result<()> {
    let mut stage = 0;
    let mut before = 0;
    for (at, source) in from.sources.iter().enumerate() {
        if source.stage != stage {
            stage = source.stage;
            planner.end_stage()?;
        }
        planner.begin_source(at);
        let mut seen = |bytes| events.advance(before + bytes);
        let read = read_source(opened, source, planner, &mut seen).with_context(|| shown_name(&source.path))?;
        let (sha256, bytes) = read.digest;
        before += bytes;
        source.verify(&sha256, read.records).with_context(|| shown_name(&source.path))?;
        // What was found in the first reading is not what is there now.
        if planner.digests.get(at).is_some_and(|first| *first != sha256) {
            return Err(unusable(format!("{} has changed while it was read", shown_name(&source.path))));
        }
        planner.check_alike(from, at, read.records).with_context(|| shown_name(&source.path))?;
        sources.push(SourcePlan {
            path: source.path.clone(),
            format: source.format,
            bytes,
            sha256,
            records: read.records,
            rejected: planner.rejected,
            left_out: planner.left_out,
            blank_rows: read.blank_rows,
        });
    }
    Ok(())
}

/// What a source was.
struct Read {
    records: u64,
    blank_rows: u64,
    digest: (String, u64),
}

/// Reads a source from its beginning to its end. `seen` hears how many bytes of the file were read.
fn read_source(
    opened: &Opened<'_>,
    source: &SourceRequest,
    sink: &mut dyn Sink,
    seen: &mut dyn FnMut(u64),
) -> Result<Read> {
    let mut open = Source::open_hashed(&source.path)?.text(opened.encoding(source)?, source.format)?;
    let mut reader = std::mem::replace(&mut open.reader, Box::new(std::io::empty()));
    let mut seen = || seen(open.bytes());
    let (records, blank_rows) = match (source.format, source.resource_type) {
        (Format::Ndjson, resource_type) => {
            let mut types = match resource_type {
                Some(resource_type) => Types::One(Validator::of(resource_type)?),
                None => Types::Named(HashMap::new()),
            };
            (read_ndjson(&mut reader, &mut types, sink, &mut seen)?, 0)
        }
        (_, resource_type) => {
            let resource_type = resource_type.context("a table needs its type")?;
            let options = opened.table(source)?;
            let count = read_table(&mut reader, &options, &Validator::of(resource_type)?, sink, &mut seen)?;
            (count.records, count.blank)
        }
    };
    drop(reader);
    Ok(Read { records, blank_rows, digest: open.digest() })
}

/// Notes where every id is last among the valid records.
struct LastPlaces<'a> {
    source: usize,
    ids: &'a mut Ids,
}

impl Sink for LastPlaces<'_> {
    fn valid(
        &mut self,
        line: u64,
        resource_type: ResourceType,
        id: Option<RecordId>,
        _: &[u8],
    ) -> Result<Option<SourceViolation>> {
        if let Some(id) = id {
            self.ids.note_last(resource_type, &id, Place { source: self.source, line });
        }
        Ok(None)
    }

    fn rejected_bytes(&mut self, _: ResourceType, _: &[u8], _: bool) -> Result<()> {
        Ok(())
    }

    fn rejected(&mut self, _: u64, _: ResourceType, _: &[SourceViolation]) -> Result<()> {
        Ok(())
    }

    fn rejected_row(&mut self, _: &[&[u8]], _: &[&[u8]], _: u8, _: &[SourceViolation]) -> Result<()> {
        Ok(())
    }

    fn doubtful(&mut self, _: ResourceType, _: &str, _: Doubt, _: u64) {}
}

/// Whether two files hold the same, compressed or not. A pipe cannot be read once more.
fn holds_the_same(one: &Path, other: &Path) -> Result<bool> {
    if !one.is_file() || !other.is_file() {
        return Ok(false);
    }
    let content =
        |path: &Path| -> Result<_> { files::digest_of(Source::open(path)?.reader).with_context(|| shown_name(path)) };
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
    /// Where every id was first, over all sources that are not parts of a chain.
    ids: Ids,
    /// Where every id is last, if that is the one that counts.
    last: Option<Ids>,
    /// What the sources were when they were read to find the last places.
    digests: Vec<String>,
    /// Lines that were rejected before, where these records are what became of them.
    unchanged: HashSet<Fingerprint>,
    references: Option<References>,
    findings: Option<&'a mut dyn Findings>,
    warnings: BTreeMap<(ResourceType, String, Doubt), u64>,
    /// Rejected records of the source in hand.
    rejected: u64,
    /// Lines of it that are no part of what is imported.
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
        sources: &'a [SourceRequest],
        folder: Option<&'a StateFolder>,
        history: History,
        findings: Option<&'a mut dyn Findings>,
    ) -> Result<Self> {
        Ok(Self {
            folder,
            names: sources.iter().map(|source| source_name(&source.path)).collect(),
            source: 0,
            sources,
            history,
            ids: Ids::default(),
            last: None,
            digests: Vec::new(),
            unchanged: HashSet::new(),
            references: None,
            findings,
            warnings: BTreeMap::new(),
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

    fn begin_source(&mut self, source: usize) {
        self.source = source;
        (self.rejected, self.left_out, self.bytes) = (0, 0, 0);
    }

    /// Refuses a source that is an earlier one with another name: records without ids would be stored twice.
    fn check_alike(&mut self, from: &Sources, at: usize, records: u64) -> Result<()> {
        let Some(source) = from.sources.get(at) else { return Ok(()) };
        let size = (records, self.bytes);
        for (earlier, of) in from.sources.iter().zip(&self.sizes) {
            let is_alike = *of == size && records > 0 && earlier.resource_type == source.resource_type;
            let is_ours = earlier.owner.is_none() && source.owner.is_none();
            if is_alike && is_ours && holds_the_same(&earlier.path, &source.path)? {
                return Err(unusable(format!("it holds the same as {}: name one of them", source_name(&earlier.path))));
            }
        }
        self.sizes.push(size);
        Ok(())
    }

    /// Why a valid record is rejected all the same, or that it is left out.
    fn passes(&mut self, place: Place, resource_type: ResourceType, id: Option<&RecordId>, record: &[u8]) -> Passed {
        if self.unchanged.contains(&Fingerprint::of_json(record)) {
            let message = "The line is as it was when it was rejected".to_owned();
            let code = "unchanged".to_owned();
            return Passed::Rejected(SourceViolation { code, path: String::new(), message, column: None });
        }
        let Some(source) = self.sources.get(place.source) else { return Passed::In };
        if self.history.leaves_out(source, resource_type, id, record) {
            return Passed::LeftOut;
        }
        let Some(id) = id else { return Passed::In };
        if let Some(last) = self.last.as_ref().filter(|_| source.expected.is_none()) {
            return if last.is_at(resource_type, id, place) { Passed::In } else { Passed::LeftOut };
        }
        match self.ids.first(resource_type, id, place) {
            Some(first) => Passed::Rejected(duplicate(first, place.source, &self.names)),
            None => Passed::In,
        }
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

    /// What a later stage says of a record replaces what an earlier one said.
    fn end_stage(&mut self) -> Result<()> {
        self.ids.clear();
        while let Some((_, writing)) = self.open.pop_first() {
            self.close(writing)?;
        }
        Ok(())
    }

    /// Tells of references to what is not there.
    fn tell_missing(&mut self) -> Result<()> {
        let (Some(references), Some(findings)) = (self.references.take(), &mut self.findings) else { return Ok(()) };
        for (to, reference) in references.missing() {
            let file = self.names.get(reference.place.source).map(String::as_str).unwrap_or_default();
            let others = match reference.count {
                1 => String::new(),
                count => format!(", and {} more refer to it", count - 1),
            };
            let field = &reference.field;
            let violation = SourceViolation {
                code: "unknown_reference".to_owned(),
                path: format!("/{field}"),
                message: format!("{field}: There is no such {to} in these files ({}{others})", reference.from),
                column: None,
            };
            findings.missing(file, reference.place.line, &violation)?;
        }
        Ok(())
    }

    /// Ends all batches; `read` is how the reading ended.
    fn finish(mut self, read: Result<()>) -> Result<(Vec<BatchPlan>, Vec<Warning>)> {
        read?;
        self.tell_missing()?;
        self.end_stage()?;
        if let Some(held) = self.held.take() {
            held.publish()?;
        }
        let warnings = self.warnings.iter().map(|((resource_type, field, doubt), records)| Warning {
            resource_type: *resource_type,
            field: field.clone(),
            doubt: *doubt,
            records: *records,
        });
        let warnings = warnings.collect();
        let mut batches = self.closed;
        batches.sort_by_key(|batch| batch.number);
        if let (Some(compressor), Some(folder)) = (self.compressor.take(), self.folder) {
            let sizes = compressor.finish()?;
            for batch in &mut batches {
                batch.bytes = sizes.get(&folder.batch(batch.number)).copied().context("write batch")?;
            }
        }
        Ok((batches, warnings))
    }
}

/// What becomes of a valid record.
enum Passed {
    In,
    LeftOut,
    Rejected(SourceViolation),
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
        let place = Place { source: self.source, line };
        match self.passes(place, resource_type, id.as_ref(), record) {
            Passed::In => {}
            Passed::LeftOut => {
                self.left_out += 1;
                return Ok(None);
            }
            Passed::Rejected(violation) => return Ok(Some(violation)),
        }
        if let Some(findings) = &mut self.findings {
            let file = self.names.get(self.source).map(String::as_str).unwrap_or_default();
            findings.accepted(file, line, record)?;
        }
        if let Some(references) = &mut self.references {
            references.note(resource_type, id.as_ref(), place, record);
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
        writing.batch.add(id.is_some(), record.len());
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
        if let Some(findings) = &mut self.findings {
            let file = self.names.get(self.source).map(String::as_str).unwrap_or_default();
            findings.rejected(file, line, violations)?;
        }
        match &mut self.held {
            Some(held) => held.violations(resource_type, Place { source: self.source, line }, violations),
            None => Ok(()),
        }
    }

    fn rejected_row(
        &mut self,
        header: &[&[u8]],
        row: &[&[u8]],
        delimiter: u8,
        violations: &[SourceViolation],
    ) -> Result<()> {
        let path = self.sources.get(self.source).map(|source| source.path.as_path());
        match (&mut self.held, path) {
            (Some(held), Some(path)) => held.row((self.source, path), header, row, delimiter, violations),
            _ => Ok(()),
        }
    }

    fn doubtful(&mut self, resource_type: ResourceType, field: &str, doubt: Doubt, records: u64) {
        *self.warnings.entry((resource_type, field.to_owned(), doubt)).or_default() += records;
    }
}
