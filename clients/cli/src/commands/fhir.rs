//! Makes records of FHIR's own resources. Nothing leaves the machine.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fhir::{Converter, Entry, LossLine, Node, Unmapped};
use records::ResourceType;
use serde::de::IgnoredAny;
use serde_json::json;
use sources::{Source, SourceViolation};
use transfer::Manifest;
use transfer::files::{self, PartialFile};

use crate::cli::Fhir;
use crate::exit::{Exit, usage};
use crate::output::{Output, OutputFormat};

/// The folder of the records, to be imported.
const RECORDS: &str = "records";

pub(super) fn fhir(arguments: &Fhir, output: &Output) -> Result<Exit> {
    let Fhir { files: named, out, unmapped } = arguments;
    let mut paths = Vec::new();
    for path in named {
        if path.is_dir() { paths.extend(resources_of(path, output)?) } else { paths.push(path.clone()) }
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

/// The files of a folder that hold resources; what is passed over is told.
fn resources_of(folder: &Path, output: &Output) -> Result<Vec<PathBuf>> {
    let manifest = Manifest::load(folder)?;
    if manifest.as_ref().is_some_and(|manifest| manifest.format.is_none()) {
        return Err(usage(format!("{} is an export of records, not of FHIR: import it as it is", folder.display())));
    }
    let mut found = Vec::new();
    for path in files::entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
        // Every bulk export has a list of its files; of ours, what was deleted is no list of resources.
        let is_list = plain == "manifest.json"
            || manifest.is_some() && matches!(plain, "export.json" | "deleted.ndjson")
            || plain.starts_with('.');
        if path.is_file() && !is_list && [".json", ".ndjson", ".jsonl"].iter().any(|ending| plain.ends_with(ending)) {
            found.push(path);
        } else {
            output.say(&format!("note: {} is not read", files::shown(&path)));
        }
    }
    if found.is_empty() {
        return Err(usage(format!("{} has no files that end in .json or .ndjson", folder.display())));
    }
    Ok(found)
}

/// The records of a type.
struct OfType {
    converter: Converter,
    file: Option<PartialFile>,
    records: u64,
}

/// What becomes of the resources.
struct Converting<'a> {
    out: &'a Path,
    unmapped: Unmapped,
    types: BTreeMap<ResourceType, OfType>,
    /// Resources that have no records here, and those that may not become any.
    unsupported: Option<PartialFile>,
    refused: Option<PartialFile>,
    /// How many of each type have no records here.
    strangers: BTreeMap<String, u64>,
    refusals: u64,
    /// Resources with an id that were written, so that one that stands in several Bundles becomes one record.
    seen: HashSet<[u8; 32]>,
    repeated: u64,
    /// References that lead nowhere, in what was written.
    unresolved: u64,
}

impl<'a> Converting<'a> {
    fn new(out: &'a Path, unmapped: Unmapped) -> Self {
        Self {
            out,
            unmapped,
            types: BTreeMap::new(),
            unsupported: None,
            refused: None,
            strangers: BTreeMap::new(),
            refusals: 0,
            seen: HashSet::new(),
            repeated: 0,
            unresolved: 0,
        }
    }

    /// Reads a file: NDJSON of resources or Bundles, or one of them over many lines.
    fn read(&mut self, path: &Path, output: &Output) -> Result<()> {
        let mut reader = BufReader::new(Source::open(path)?.reader);
        let (mut line, mut number, mut is_first) = (Vec::new(), 0, true);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).context("read source")? == 0 {
                return Ok(());
            }
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let text = text_of(&line);
            match text.map(fhir::entries) {
                Some(Ok(entries)) => {
                    entries.into_iter().try_for_each(|entry| self.take(path, number, &entry, output))?;
                }
                _ if is_first && text.is_some_and(is_cut_off) => {
                    reader.read_to_end(&mut line).context("read source")?;
                    let entries = text_of(&line)
                        .and_then(|whole| fhir::entries(whole).ok())
                        .context("It is no FHIR JSON: neither a resource or Bundle a line, nor one document")?;
                    let mut entries = entries.iter().zip(1..);
                    return entries.try_for_each(|(entry, number)| self.take(path, number, entry, output));
                }
                _ => self.refuse(path, number, &line, "invalid_json", "It is no JSON object", output)?,
            }
            is_first = false;
        }
    }

    fn take(&mut self, path: &Path, number: u64, entry: &Entry, output: &Output) -> Result<()> {
        let resource = entry.resource.as_bytes();
        if entry.is_deletion {
            let rule = "The Bundle deletes this resource: it becomes no record, and an import deletes none";
            return self.refuse(path, number, resource, "deletion", rule, output);
        }
        let name = entry.resource_type.as_deref().unwrap_or_default();
        let Ok(known) = name.parse::<ResourceType>() else {
            *self.strangers.entry(fhir::resource_type(name).to_owned()).or_default() += 1;
            return push(&mut self.unsupported, &self.out.join("unsupported.ndjson"), resource);
        };
        let of_type = self.types.entry(known).or_insert_with(|| OfType {
            converter: Converter::new(known, self.unmapped),
            file: None,
            records: 0,
        });
        let losses = match of_type.converter.convert(resource) {
            Ok(losses) => losses,
            Err(violations) => {
                let first = violations.into_iter().next().map(SourceViolation::from).context("no rule was told")?;
                return self.refuse(path, number, resource, &first.code, &first.message, output);
            }
        };
        if entry.id.is_some() && !self.seen.insert(hash_of(&entry.resource)) {
            self.repeated += 1;
            return Ok(());
        }
        let path = self.out.join(RECORDS).join(format!("{known}.ndjson"));
        of_type.converter.losses.add(&losses);
        of_type.records += 1;
        self.unresolved += fhir::unresolved(&entry.resource);
        push(&mut of_type.file, &path, &of_type.converter.flat)
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
        for (resource_type, OfType { converter, file, records }) in self.types {
            let Some(file) = file else { continue };
            file.publish()?;
            losses.extend(converter.losses.lines(resource_type));
            counts.insert(resource_type.as_str(), records);
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
            "unsupported": self.strangers, "unresolvedReferences": self.unresolved, "losses": losses, "folder": folder, "exitCode": exit.code()}),
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
            if self.unresolved > 0 {
                output.say(&format!("{} references lead nowhere: they name no type and id", self.unresolved));
            }
            if self.refusals > 0 {
                output.say(&format!("{} refused, in refused.ndjson", self.refusals));
            }
            output.say(&format!("{records} records; validate, then import them: {}", output.next("import", &folder)));
        }
        Ok(exit)
    }
}

/// A text without the mark that some programs begin one with; `None` where it is no UTF-8.
fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(|text| text.trim().trim_start_matches('\u{feff}'))
}

/// Whether a JSON text goes on behind its end, as the first line of a document over many lines.
fn is_cut_off(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// The same resource has the same one, however it is indented.
fn hash_of(resource: &str) -> [u8; 32] {
    Node::parse(resource)
        .map_or_else(|_| files::sha256(resource.as_bytes()), |node| files::sha256(node.to_json().as_bytes()))
}

/// Adds a line to a file that begins with its first.
fn push(file: &mut Option<PartialFile>, path: &Path, line: &[u8]) -> Result<()> {
    let file = match file {
        Some(file) => file,
        file => file.insert(PartialFile::create(path)?),
    };
    // On one line, whatever it was: a document may be written over many.
    let mut parts = line.split(|byte| matches!(byte, b'\n' | b'\r'));
    let written = parts.try_for_each(|part| file.write_all(part));
    written.and_then(|()| file.write_all(b"\n")).with_context(|| format!("write {}", path.display()))
}
