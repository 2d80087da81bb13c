//! Makes records of FHIR's own resources. Nothing leaves the machine.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fhir::{EnteredInError, Entry, LossLine, LostElements, Unmapped};
use records::ResourceType;
use serde_json::json;
use sources::Source;
use transfer::files::{self, PartialFile};

use crate::cli::Fhir;
use crate::exit::{Exit, usage};
use crate::output::{Output, OutputFormat};

/// What a name of a type that nobody knows is shown as: a member may hold anything.
const OTHER: &str = "(other)";

/// The folder of the records, to be imported.
const RECORDS: &str = "records";

/// Types whose counts are shown by name at most.
const MAX_TYPES: usize = 200;

pub(super) fn fhir(arguments: &Fhir, output: &Output) -> Result<Exit> {
    let Fhir { files: named, out, unmapped } = arguments;
    let mut paths = Vec::new();
    for path in named {
        if path.is_dir() { paths.extend(resources_of(path)?) } else { paths.push(path.clone()) }
    }
    // Before a folder is made for nothing.
    for path in paths.iter().filter(|path| path.as_os_str() != "-") {
        std::fs::File::open(path)
            .map_err(|error| usage(format!("{}: cannot be opened: {error}", files::shown(path))))?;
    }
    if out.exists() && !files::entries(out)?.is_empty() {
        return Err(usage(format!("{} is not empty: name another folder", out.display())));
    }
    files::create_private_folder(&out.join(RECORDS))?;
    let mut converting = Converting::new(out, *unmapped);
    for path in &paths {
        converting.read(path, output).with_context(|| files::shown(path))?;
    }
    converting.end(output)
}

/// The files of a folder that hold resources.
fn resources_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files::entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
        let is_ours = matches!(plain, "manifest.json" | "export.json" | "deleted.ndjson") || plain.starts_with('.');
        if path.is_file() && !is_ours && [".json", ".ndjson", ".jsonl"].iter().any(|ending| plain.ends_with(ending)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(usage(format!("{} has no files that end in .json or .ndjson", folder.display())));
    }
    Ok(found)
}

/// What becomes of the resources.
struct Converting<'a> {
    out: &'a Path,
    unmapped: Unmapped,
    records: BTreeMap<ResourceType, (PartialFile, LostElements, u64)>,
    /// Resources that have no records here, and those that may not become any.
    unsupported: Option<PartialFile>,
    refused: Option<PartialFile>,
    /// How many of each type have no records here.
    strangers: BTreeMap<String, u64>,
    refusals: u64,
    /// What was written, so that a resource that stands in several Bundles becomes one record.
    seen: HashSet<[u8; 32]>,
    repeated: u64,
    line: Vec<u8>,
}

impl<'a> Converting<'a> {
    fn new(out: &'a Path, unmapped: Unmapped) -> Self {
        Self {
            out,
            unmapped,
            records: BTreeMap::new(),
            unsupported: None,
            refused: None,
            strangers: BTreeMap::new(),
            refusals: 0,
            seen: HashSet::new(),
            repeated: 0,
            line: Vec::new(),
        }
    }

    /// Reads a file: NDJSON of resources or Bundles, or one of them over many lines.
    fn read(&mut self, path: &Path, output: &Output) -> Result<()> {
        let mut reader = BufReader::new(Source::open(path)?.reader);
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).context("read source")? == 0 {
                return Ok(());
            }
            number += 1;
            let text = std::str::from_utf8(&line).unwrap_or_default().trim().trim_start_matches('\u{feff}');
            if text.is_empty() && line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match fhir::entries(text) {
                Ok(entries) => entries.into_iter().try_for_each(|entry| self.take(path, number, entry, output))?,
                // A document that is written over many lines.
                Err(_) if number == 1 && text.starts_with('{') => {
                    reader.read_to_end(&mut line).context("read source")?;
                    let whole = std::str::from_utf8(&line).unwrap_or_default().trim_start_matches('\u{feff}');
                    let entries = fhir::entries(whole)
                        .ok()
                        .context("it is no FHIR JSON: neither a resource or Bundle a line, nor one document")?;
                    return entries
                        .into_iter()
                        .zip(1..)
                        .try_for_each(|(entry, number)| self.take(path, number, entry, output));
                }
                Err(_) => self.refuse(path, number, text.as_bytes(), "invalid_json", "it is no JSON object", output)?,
            }
        }
    }

    fn take(
        &mut self,
        path: &Path,
        number: u64,
        Entry { resource_type, resource }: Entry,
        output: &Output,
    ) -> Result<()> {
        let name = resource_type.unwrap_or_default();
        let Ok(known) = name.parse::<ResourceType>() else {
            let is_name = (3..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            let has_room = self.strangers.len() < MAX_TYPES || self.strangers.contains_key(&name);
            let shown = if is_name && has_room { name } else { OTHER.to_owned() };
            *self.strangers.entry(shown).or_default() += 1;
            return push(&mut self.unsupported, &self.out.join("unsupported.ndjson"), resource.as_bytes());
        };
        let losses = match fhir::read_fhir(known, resource.as_bytes(), self.unmapped, &mut self.line) {
            None => {
                return self.refuse(path, number, resource.as_bytes(), "invalid_json", "it is no JSON object", output);
            }
            Some(Err(EnteredInError { element })) => {
                let element = fhir::told(&element);
                let rule = format!("{element}: Must not be entered-in-error: it would become a record that counts");
                return self.refuse(path, number, resource.as_bytes(), "entered_in_error", &rule, output);
            }
            Some(Ok(losses)) => losses,
        };
        if let Some(element) = losses.modifier().filter(|_| self.unmapped == Unmapped::Drop) {
            let rule = format!("{}: Changes what the record means, and the record cannot say it", fhir::told(element));
            return self.refuse(path, number, resource.as_bytes(), "modifier_lost", &rule, output);
        }
        let hash = files::sha256(&self.line);
        if !self.seen.insert(hash) {
            self.repeated += 1;
            return Ok(());
        }
        if !self.records.contains_key(&known) {
            let file = PartialFile::create(&self.out.join(RECORDS).join(format!("{known}.ndjson")))?;
            self.records.insert(known, (file, LostElements::new(self.unmapped), 0));
        }
        let (file, lost, count) = self.records.get_mut(&known).context("file of the type")?;
        lost.add(&losses);
        *count += 1;
        file.write_all(&self.line).and_then(|()| file.write_all(b"\n")).context("write records")
    }

    fn refuse(
        &mut self,
        path: &Path,
        number: u64,
        resource: &[u8],
        code: &str,
        rule: &str,
        output: &Output,
    ) -> Result<()> {
        self.refusals += 1;
        let file = files::shown(path);
        output.event(&json!({"event": "error", "file": file, "line": number, "code": code, "message": rule}))?;
        if output.format() == OutputFormat::Text {
            output.say(&format!("{file}:{number}: {rule} [{code}]"));
        }
        push(&mut self.refused, &self.out.join("refused.ndjson"), resource)
    }

    /// Makes the files whole, and says what came of it.
    fn end(self, output: &Output) -> Result<Exit> {
        let (mut losses, mut counts) = (Vec::<LossLine>::new(), BTreeMap::new());
        for (resource_type, (file, lost, count)) in self.records {
            file.publish()?;
            losses.extend(lost.lines(resource_type));
            counts.insert(resource_type.as_str(), count);
        }
        for file in [self.unsupported, self.refused].into_iter().flatten() {
            file.publish()?;
        }
        let mut report = PartialFile::create(&self.out.join("losses.ndjson"))?;
        for line in &losses {
            serde_json::to_writer(&mut report, line).context("write losses")?;
            report.write_all(b"\n").context("write losses")?;
        }
        report.publish()?;
        let (records, strangers): (u64, u64) = (counts.values().sum(), self.strangers.values().sum());
        let folder = self.out.join(RECORDS);
        let is_whole = strangers + self.refusals == 0;
        let exit = if is_whole { Exit::Done } else { Exit::Rejected };
        output.event_or_document(
            &json!({"event": "summary", "records": counts, "repeated": self.repeated, "refused": self.refusals,
            "unsupported": self.strangers, "losses": losses, "folder": folder, "exitCode": exit.code()}),
        )?;
        if output.format() == OutputFormat::Text {
            for (resource_type, count) in &counts {
                output.say(&format!("{resource_type}: {count} records"));
            }
            for LossLine { resource_type, element, records, kept, modifier } in &losses {
                let kept = if *kept { "kept in x-fhir" } else { "left out" };
                let meaning = if *modifier { "; it changes what a record means: look at these" } else { "" };
                output.say(&format!("lost: {resource_type} {element}: {records} records, {kept}{meaning}"));
            }
            for (name, count) in &self.strangers {
                output.say(&format!("no records here for {name}: {count} resources, in unsupported.ndjson"));
            }
            if self.repeated > 0 {
                output.say(&format!("{} resources stood there again, and are written once", self.repeated));
            }
            if self.refusals > 0 {
                output.say(&format!("{} refused, in refused.ndjson", self.refusals));
            }
            output.say(&format!("{records} records; validate, then import them: {}", output.next("import", &folder)));
        }
        Ok(exit)
    }
}

/// Adds a line to a file that begins with its first.
fn push(file: &mut Option<PartialFile>, path: &Path, line: &[u8]) -> Result<()> {
    let file = match file {
        Some(file) => file,
        file => file.insert(PartialFile::create(path)?),
    };
    // On one line, whatever it was: a document may be written over many.
    let flat: Vec<u8> = line.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    file.write_all(&flat).and_then(|()| file.write_all(b"\n")).with_context(|| format!("write {}", path.display()))
}
