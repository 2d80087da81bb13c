//! Puts records into batches as they come, and tells of those that are none of them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use clinikapi::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use records::{RecordId, ResourceType};
use sources::{Doubt, Sink, Source, SourceViolation, Taken, UNSUPPORTED, unusable};

use super::super::compress::Compressor;
use super::super::history::History;
use super::super::ids::{Ids, LastIds, Numbers, References, duplicate};
use super::super::request::SourceRequest;
use super::super::{BatchPlan, Sources, Warning, source_name};
use super::{Finding, Findings, shown_name};
use crate::fingerprint::Fingerprint;
use crate::place::Place;
use crate::state::{HeldRecords, LineMap, StateFolder};

/// Pieces of this size go to the compressor.
const PIECE: usize = 1 << 18;

/// The id of an invalid record, if that can be read.
pub(super) fn id_of(record: &[u8]) -> Option<RecordId> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: RecordId,
    }
    serde_json::from_slice(record).ok().map(|named: Named| named.id)
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

/// Whether a record of so many bytes still fits into a batch.
fn has_room(batch: &BatchPlan, bytes: usize) -> bool {
    batch.records < MAX_BATCH_RECORDS && (batch.records == 0 || batch.bytes + (bytes as u64) < MAX_BATCH_BYTES)
}

/// A batch that is being written. Until it is compressed, its bytes are those of its lines.
struct Writing {
    batch: BatchPlan,
    lines: LineMap,
    piece: Vec<u8>,
}

/// Puts records into batches as they come.
#[derive(Default)]
pub(super) struct Planner<'a> {
    folder: Option<&'a StateFolder>,
    names: Vec<String>,
    source: usize,
    numbers: Numbers,
    sources: &'a [SourceRequest],
    pub(super) history: History,
    /// Where every id was first.
    ids: Ids,
    /// Which record with an id counts, where that is not the first one.
    pub(super) last: Option<LastIds>,
    /// What the sources were that were read to find these.
    pub(super) digests: Vec<Option<String>>,
    /// Lines that were rejected before, where these records are what became of them.
    pub(super) unchanged: HashSet<Fingerprint>,
    pub(super) references: Option<References>,
    findings: Option<&'a mut Findings<'a>>,
    /// How many records have a doubtful value, and where the first one is.
    warnings: BTreeMap<(ResourceType, String, Doubt), (u64, Place)>,
    /// Rejected records of the source in hand.
    pub(super) rejected: u64,
    /// Texts of all sources that no record is made of, but for those of types that have none.
    pub(super) refused: u64,
    /// Lines of it that are no part of what is imported.
    pub(super) left_out: u64,
    /// Bytes of its records.
    bytes: u64,
    /// Records and bytes of the sources before it.
    sizes: Vec<(u64, u64)>,
    open: BTreeMap<ResourceType, Writing>,
    closed: Vec<BatchPlan>,
    compressor: Option<Compressor>,
    held: Option<HeldRecords>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        sources: &'a [SourceRequest],
        folder: Option<&'a StateFolder>,
        history: History,
        findings: Option<&'a mut Findings<'a>>,
    ) -> Self {
        Self {
            folder,
            names: sources.iter().map(|source| source_name(&source.path)).collect(),
            sources,
            history,
            findings,
            compressor: folder.cloned().map(Compressor::start),
            held: folder.map(HeldRecords::new),
            ..Self::default()
        }
    }

    pub(super) fn begin_source(&mut self, source: usize) {
        (self.source, self.numbers) = (source, Numbers::default());
        (self.rejected, self.left_out, self.bytes) = (0, 0, 0);
    }

    /// Refuses a source that is an earlier one with another name: records without ids would be stored twice.
    pub(super) fn check_alike(&mut self, from: &Sources, at: usize, records: u64) -> Result<()> {
        let Some(source) = from.sources.get(at) else { return Ok(()) };
        let size = (records, self.bytes);
        for (earlier, of) in from.sources.iter().zip(&self.sizes) {
            let is_alike = *of == size && records > 0 && earlier.resource_type == source.resource_type;
            let is_ours = earlier.export.is_none() && source.export.is_none();
            if is_alike && is_ours && holds_the_same(&earlier.path, &source.path)? {
                return Err(unusable(format!("it holds the same as {}: name one of them", source_name(&earlier.path))));
            }
        }
        self.sizes.push(size);
        Ok(())
    }

    /// Why a valid record is rejected all the same, or that it is left out.
    fn passes(&mut self, place: Place, resource_type: ResourceType, id: Option<&RecordId>, record: &[u8]) -> Taken {
        let by_number = Place { line: self.numbers.next_on(place.line), ..place };
        // Hashing takes as long as validating does, and only a retry compares.
        if !self.unchanged.is_empty() && self.unchanged.contains(&Fingerprint::of_json(record)) {
            let message = "The line is as it was when it was rejected";
            return Taken::Rejected(SourceViolation::of_record("unchanged", message));
        }
        let Some(source) = self.sources.get(place.source) else { return Taken::In };
        if self.history.leaves_out(source, resource_type, id, record) {
            return Taken::LeftOut;
        }
        let Some(id) = id else { return Taken::In };
        match self.last.as_ref().and_then(|last| last.is_replaced(source, by_number, resource_type, id)) {
            Some(true) => return Taken::LeftOut,
            Some(false) => return Taken::In,
            None => {}
        }
        match self.ids.first(resource_type, id, place) {
            Some(first) => Taken::Rejected(duplicate(first, place.source, &self.names)),
            None => Taken::In,
        }
    }

    fn begin(&self, resource_type: ResourceType) -> Writing {
        let number = self.open.len() + self.closed.len() + 1;
        let batch = BatchPlan { number, resource_type, records: 0, bytes: 0, without_id: 0 };
        Writing { batch, lines: LineMap::default(), piece: Vec::new() }
    }

    fn close(&mut self, writing: Writing) -> Result<()> {
        let Writing { batch, lines, piece } = writing;
        if let Some(folder) = self.folder {
            lines.store(&folder.lines(batch.number))?;
            self.compress(|compressor| compressor.write(batch.number, piece) && compressor.close(batch.number))?;
        }
        self.closed.push(batch);
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

    /// Hands on what was found on a line, if anybody wants to hear it.
    fn hand_on(&mut self, Place { source, line }: Place, found: Finding<'_>) -> Result<()> {
        let Some(findings) = &mut self.findings else { return Ok(()) };
        findings(self.names.get(source).map(String::as_str).unwrap_or_default(), line, found)
    }

    /// Ends all batches.
    pub(super) fn finish(mut self) -> Result<(Vec<BatchPlan>, Vec<Warning>)> {
        for reference in self.references.take().map(References::missing).unwrap_or_default() {
            self.hand_on(reference.place, Finding::Missing(reference.violation()))?;
        }
        while let Some((_, writing)) = self.open.pop_first() {
            self.close(writing)?;
        }
        if let Some(held) = self.held.take() {
            held.publish()?;
        }
        let warnings = self.warnings.into_iter().map(|((resource_type, field, doubt), (records, first))| {
            let file = self.names.get(first.source).cloned().unwrap_or_default();
            Warning { resource_type, field, doubt, records, file, line: first.line }
        });
        let warnings = warnings.collect();
        let mut batches = self.closed;
        batches.sort_by_key(|batch| batch.number);
        if let Some(compressor) = self.compressor.take() {
            let sizes = compressor.finish()?;
            for batch in &mut batches {
                batch.bytes = sizes.get(&batch.number).copied().context("write batch")?;
            }
        }
        Ok((batches, warnings))
    }
}

impl Sink for Planner<'_> {
    fn valid(&mut self, line: u64, resource_type: ResourceType, id: Option<RecordId>, record: &[u8]) -> Result<Taken> {
        self.bytes += record.len() as u64;
        let place = Place { source: self.source, line };
        match self.passes(place, resource_type, id.as_ref(), record) {
            Taken::In => {}
            Taken::LeftOut => {
                self.left_out += 1;
                return Ok(Taken::LeftOut);
            }
            rejected @ Taken::Rejected(_) => return Ok(rejected),
        }
        self.hand_on(place, Finding::Accepted(record))?;
        if let Some(references) = &mut self.references {
            references.note(resource_type, id.as_ref(), place, record);
        }
        if self.open.get(&resource_type).is_some_and(|writing| !has_room(&writing.batch, record.len()))
            && let Some(full) = self.open.remove(&resource_type)
        {
            self.close(full)?;
        }
        if !self.open.contains_key(&resource_type) {
            let begun = self.begin(resource_type);
            self.open.insert(resource_type, begun);
        }
        let writing = self.open.get_mut(&resource_type).context("open batch")?;
        writing.batch.records += 1;
        writing.batch.bytes += record.len() as u64 + 1;
        writing.batch.without_id += u64::from(id.is_none());
        writing.lines.push(place);
        if self.folder.is_some() {
            writing.piece.extend_from_slice(record);
            writing.piece.push(b'\n');
            if writing.piece.len() >= PIECE {
                let piece = std::mem::replace(&mut writing.piece, Vec::with_capacity(PIECE));
                let number = writing.batch.number;
                self.compress(|compressor| compressor.write(number, piece))?;
            }
        }
        Ok(Taken::In)
    }

    /// What of a chain is no part of its state has no violations: whoever mended it would bring it back.
    fn leaves_out(&mut self, line: u64, resource_type: ResourceType, record: &[u8]) -> bool {
        let place = Place { source: self.source, line: self.numbers.next_on(line) };
        let Some(source) = self.sources.get(self.source).filter(|source| source.export.is_some()) else {
            return false;
        };
        let id = id_of(record);
        let is_past = self.history.leaves_out(source, resource_type, id.as_ref(), record);
        let last = self.last.as_ref().zip(id.as_ref());
        let is_left_out =
            is_past || last.is_some_and(|(last, id)| last.is_replaced(source, place, resource_type, id) == Some(true));
        if is_left_out {
            self.bytes += record.len() as u64;
            self.left_out += 1;
        }
        is_left_out
    }

    fn rejected_bytes(&mut self, resource_type: ResourceType, bytes: &[u8], last: bool) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.held.as_mut().map_or(Ok(()), |held| held.bytes(resource_type, bytes, last))
    }

    fn rejected(&mut self, line: u64, resource_type: ResourceType, violations: &[SourceViolation]) -> Result<()> {
        self.rejected += 1;
        let place = Place { source: self.source, line };
        self.hand_on(place, Finding::Rejected(violations))?;
        self.held.as_mut().map_or(Ok(()), |held| held.violations(resource_type, place, violations))
    }

    fn rejected_row(
        &mut self,
        header: &[&[u8]],
        row: &[&[u8]],
        delimiter: u8,
        violations: &[SourceViolation],
    ) -> Result<()> {
        let path = self.sources.get(self.source).map(|source| source.path.as_path());
        let held = self.held.as_mut().zip(path);
        held.map_or(Ok(()), |(held, path)| held.row((self.source, path), header, row, delimiter, violations))
    }

    fn refused(
        &mut self,
        line: u64,
        resource_type: Option<ResourceType>,
        text: &[u8],
        violations: &[SourceViolation],
    ) -> Result<()> {
        self.rejected += 1;
        self.bytes += text.len() as u64;
        let is_unsupported = violations.iter().any(|violation| violation.code == UNSUPPORTED);
        self.refused += u64::from(!is_unsupported);
        let place = Place { source: self.source, line };
        self.hand_on(place, Finding::Rejected(violations))?;
        let held = self.held.as_mut();
        held.map_or(Ok(()), |held| held.refused(is_unsupported, place, resource_type, text, violations))
    }

    fn doubtful(&mut self, line: u64, resource_type: ResourceType, field: &str, doubt: Doubt) {
        let place = Place { source: self.source, line };
        self.warnings.entry((resource_type, field.to_owned(), doubt)).or_insert((0, place)).0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_at_its_limits() {
        let resource_type = ResourceType::Patient;
        let mut batch = BatchPlan { number: 1, resource_type, records: 0, bytes: 0, without_id: 0 };
        assert!(has_room(&batch, usize::MAX >> 1));
        (batch.records, batch.bytes) = (1, MAX_BATCH_BYTES - 9);
        assert!(has_room(&batch, 8) && !has_room(&batch, 9));
        (batch.records, batch.bytes) = (MAX_BATCH_RECORDS, 0);
        assert!(!has_room(&batch, 0));
    }
}
