//! Reads the sources once, and writes the batches.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use encoding_rs::Encoding;
use jiff::Timestamp;
use records::{RecordId, ResourceType};
use sources::{Format, Resources, Sink, Source, SourceViolation, Taken, Types, Validator, read_ndjson, unusable};
use tables::{Effects, Map, Maps, TableOptions, check_header, read_table};

use super::history::History;
use super::ids::{LastIds, Numbers, References};
use super::request::{Duplicates, Reading, SourceRequest};
use super::{FhirPlan, Plan, SourcePlan, Sources, source_name};
use crate::events::{Events, Stage};
use crate::place::Place;
use crate::state::StateFolder;

mod planner;

use planner::{Planner, id_of};

/// What is found in a line while a plan is made.
pub enum Finding<'a> {
    /// A record that would be sent.
    Accepted(&'a [u8]),
    /// What is wrong with a record.
    Rejected(&'a [SourceViolation]),
    /// A record refers to one that is not there.
    Missing(SourceViolation),
}

/// Hears what is found: in which file, on which line, and what.
pub type Findings<'a> = dyn FnMut(&str, u64, Finding<'_>) -> Result<()> + 'a;

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
    pub findings: Option<&'a mut Findings<'a>>,
    /// Whether what records refer to must be among them.
    pub has_references: bool,
}

impl<'a> BuildInput<'a> {
    /// That of a plan which is only looked at, and of whose records nobody hears.
    #[must_use]
    pub fn new(run: &'a str, from: &'a Sources, reading: &'a Reading, events: &'a dyn Events) -> Self {
        Self { run, from, reading, folder: None, retry_of: None, events, findings: None, has_references: false }
    }
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
        if !source.format.is_table() {
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
/// and that the map fits. Nothing is taken from pipes. Returns what is no error and may not be meant.
pub fn check_sources(from: &Sources, reading: &Reading) -> Result<Vec<String>> {
    let opened = Opened::open(reading)?;
    let mut effects: Vec<(&Map, Option<Effects>)> = Vec::new();
    for source in from.files() {
        let SourceRequest { path, format, resource_type, .. } = source;
        let check = || {
            let encoding = opened.encoding(source)?;
            let table = resource_type.filter(|_| format.is_table());
            sources::check_source(path, *format, encoding, |lines| match table {
                Some(of) => check_header(lines, &opened.table(source)?, &of.schema()).map(Some),
                None => Ok(None),
            })
        };
        let effect = check().with_context(|| shown_name(path))?;
        effects.extend(opened.map(source)?.map(|map| (map, effect)));
        if reading.duplicates == Duplicates::Last && !path.is_file() {
            return Err(unusable(format!(
                "{}: --duplicates last reads everything twice, and this can be read once: store it in a file",
                shown_name(path)
            )));
        }
    }
    for (map, _) in &effects {
        let of_map: Option<Vec<_>> =
            effects.iter().filter(|(other, _)| std::ptr::eq(*other, *map)).map(|(_, effect)| *effect).collect();
        // What a pipe will bring nobody knows.
        of_map.map_or(Ok(()), |effects| map.check_effects(&effects))?;
    }
    let tables = from.files().filter(|source| source.format.is_table());
    let tables: Vec<_> = tables.filter_map(|source| Some((source.resource_type?, source.path.as_path()))).collect();
    let mut notes = opened.maps.as_ref().map(|maps| maps.unused(&tables)).unwrap_or_default();
    notes.extend(from.passed_over.iter().map(|path| format!("{} is not read", files::shown(path))));
    Ok(notes)
}

/// Reads all sources, and makes the plan of them.
pub fn build(input: BuildInput<'_>) -> Result<Plan> {
    if let Some(folder) = input.folder {
        folder.clear()?;
    }
    let BuildInput { run, from, reading, folder, retry_of, events, findings, has_references } = input;
    let opened = Opened::open(reading)?;
    let new_resources = || Resources::new(reading.unmapped, reading.duplicates == Duplicates::Last);
    let mut planner = Planner::new(&from.sources, folder, History::read(from)?, findings);
    if let Some(first) = retry_of {
        planner.unchanged = StateFolder::open(first)?.rejected_lines()?;
    }
    planner.references = has_references.then(References::default);
    planner.last = LastIds::needed(from, reading.duplicates);
    let twice = from.sources.iter().filter(|source| planner.last.as_ref().is_some_and(|last| last.is_for(source)));
    let bytes = |source: &SourceRequest| std::fs::metadata(&source.path).map_or(0, |found| found.len());
    events.begin(Stage::Reading, from.sources.iter().chain(twice).map(bytes).sum());
    let mut before: u64 = 0;
    if let Some(last) = &mut planner.last {
        let mut resources = new_resources();
        for (at, source) in from.sources.iter().enumerate() {
            if !last.is_for(source) {
                planner.digests.push(None);
                continue;
            }
            let numbers = Numbers::default();
            let mut places = LastPlaces { at, numbers, source, history: &planner.history, last };
            let mut seen = |bytes: u64| events.advance(before + bytes);
            let read = read_source(&opened, source, &mut resources, &mut places, &mut seen)
                .with_context(|| shown_name(&source.path))?;
            let (sha256, bytes) = read.digest;
            before += bytes;
            planner.digests.push(Some(sha256));
        }
    }
    let deleted = planner.history.deleted();
    let mut resources = new_resources();
    let sources = read_all(&opened, from, &mut planner, &mut resources, before, events)?;
    let fhir = from.sources.iter().any(|source| source.format == Format::Fhir).then(|| FhirPlan {
        refused: planner.refused,
        unsupported: resources.unsupported().clone(),
        losses: resources.losses(),
        unread: from.passed_over.iter().map(|path| path.display().to_string()).collect(),
    });
    let (batches, warnings) = planner.finish()?;
    Ok(Plan { run: run.to_owned(), created_at: Timestamp::now(), sources, deleted, batches, warnings, fhir })
}

/// Reads all sources for the plan; `before` are the bytes that were read to find which records count.
fn read_all(
    opened: &Opened<'_>,
    from: &Sources,
    planner: &mut Planner<'_>,
    resources: &mut Resources,
    mut before: u64,
    events: &dyn Events,
) -> Result<Vec<SourcePlan>> {
    let mut sources = Vec::new();
    for (at, source) in from.sources.iter().enumerate() {
        planner.begin_source(at);
        let mut seen = |bytes| events.advance(before + bytes);
        let read =
            read_source(opened, source, resources, planner, &mut seen).with_context(|| shown_name(&source.path))?;
        let (sha256, bytes) = read.digest;
        before += bytes;
        source.verify(&sha256, read.records).with_context(|| shown_name(&source.path))?;
        // What was found in the first reading is not what is there now.
        if planner.digests.get(at).is_some_and(|first| first.as_ref().is_some_and(|first| *first != sha256)) {
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
            left_out: planner.left_out + read.repeated,
            blank_rows: read.blank_rows,
        });
    }
    Ok(sources)
}

/// What a source was.
struct Read {
    records: u64,
    /// Resources that were there before.
    repeated: u64,
    blank_rows: u64,
    digest: (String, u64),
}

/// Reads a source from its beginning to its end. `seen` hears how many bytes of the file were read.
fn read_source(
    opened: &Opened<'_>,
    source: &SourceRequest,
    resources: &mut Resources,
    sink: &mut dyn Sink,
    seen: &mut dyn FnMut(u64),
) -> Result<Read> {
    let mut open = Source::open_hashed(&source.path)?.text(opened.encoding(source)?, source.format)?;
    let mut reader = std::mem::replace(&mut open.reader, Box::new(std::io::empty()));
    let mut seen = || seen(open.bytes());
    let (records, repeated, blank_rows) = match (source.format, source.resource_type) {
        (Format::Ndjson, resource_type) => {
            let mut types = match resource_type {
                Some(resource_type) => Types::One(Validator::of(resource_type)),
                None => Types::Named(HashMap::new()),
            };
            (read_ndjson(&mut reader, &mut types, sink, &mut seen)?, 0, 0)
        }
        (Format::Fhir, _) => {
            let count = resources.read(&mut reader, sink, &mut seen)?;
            (count.records, count.repeated, 0)
        }
        (_, resource_type) => {
            let resource_type = resource_type.context("a table needs its type")?;
            let options = opened.table(source)?;
            let count = read_table(&mut reader, &options, &Validator::of(resource_type), sink, &mut seen)?;
            (count.records, 0, count.blank)
        }
    };
    drop(reader);
    Ok(Read { records, repeated, blank_rows, digest: open.digest() })
}

/// Notes where every id is last: of exports among all records, else among the valid ones.
struct LastPlaces<'a> {
    at: usize,
    numbers: Numbers,
    source: &'a SourceRequest,
    history: &'a History,
    last: &'a mut LastIds,
}

impl LastPlaces<'_> {
    fn note(&mut self, number: u64, resource_type: ResourceType, id: Option<&RecordId>, record: &[u8]) {
        if let Some(id) = id
            && !self.history.leaves_out(self.source, resource_type, Some(id), record)
        {
            self.last.note(self.source, Place { source: self.at, line: number }, resource_type, id, record);
        }
    }
}

impl Sink for LastPlaces<'_> {
    fn valid(&mut self, line: u64, resource_type: ResourceType, id: Option<RecordId>, record: &[u8]) -> Result<Taken> {
        let number = self.numbers.next_on(line);
        self.note(number, resource_type, id.as_ref(), record);
        // What can hardly be meant is told in the second reading.
        Ok(Taken::LeftOut)
    }

    /// The newest version is the newest, also where it is invalid: no older one takes its place.
    fn leaves_out(&mut self, line: u64, resource_type: ResourceType, record: &[u8]) -> bool {
        let number = self.numbers.next_on(line);
        if self.source.export.is_some() {
            self.note(number, resource_type, id_of(record).as_ref(), record);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use clinikapi::JobFile;
    use serde_json::{Value, json};

    use super::super::request::OfExport;
    use super::*;
    use crate::export::Owner;

    /// How much there was to read, and how far the reading was, time after time.
    #[derive(Default)]
    struct Heard {
        total: Cell<u64>,
        done: RefCell<Vec<u64>>,
    }

    impl Events for Heard {
        fn say(&self, _: &str) {}
        fn warn(&self, _: &str) {}
        fn event(&self, _: &Value) -> Result<()> {
            Ok(())
        }
        fn begin(&self, _: Stage, total: u64) {
            self.total.set(total);
        }
        fn set_total(&self, _: u64) {}
        fn advance(&self, done: u64) {
            self.done.borrow_mut().push(done);
        }
        fn job(&self, _: &str, _: u64, _: u64) {}
        fn job_ended(&self, _: &str) {}
    }

    #[test]
    fn what_is_read_twice_is_measured_twice() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let record = json!({"id": &name[..1], "firstName": "A", "lastName": "B"});
            std::fs::write(&path, format!("{record}\n")).unwrap();
            SourceRequest { path, resource_type: Some(ResourceType::Patient), format: Format::Ndjson, export: None }
        };
        let export = |name: &str| {
            let source = write(name);
            let (sha256, bytes) = files::digest(&source.path).unwrap();
            let file = JobFile { name: name.to_owned(), resource_type: None, records: 1, bytes, sha256 };
            let export = Some(OfExport { file, owner: Owner::default(), skip: Vec::new() });
            SourceRequest { export, ..source }
        };
        // Of a chain with a file of one's own the exports alone are read twice.
        let sources = vec![export("a/x"), export("b/x"), write("own")];
        let from = Sources { sources, ..Sources::default() };
        let sizes: Vec<_> = from.sources.iter().map(|source| std::fs::metadata(&source.path).unwrap().len()).collect();
        let all: u64 = sizes.iter().sum();
        for (duplicates, total) in [(Duplicates::First, 2 * all - sizes[2]), (Duplicates::Last, 2 * all)] {
            let (heard, reading) = (Heard::default(), Reading { duplicates, ..Reading::default() });
            build(BuildInput::new("", &from, &reading, &heard)).unwrap();
            let done = heard.done.into_inner();
            assert_eq!((heard.total.get(), done.last()), (total, Some(&total)), "{duplicates:?}");
            assert!(done.is_sorted(), "{done:?}");
        }
    }
}
