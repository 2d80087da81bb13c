//! What was asked for, as a state folder keeps it: enough to plan again after an interruption.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clinikapi::JobFile;
use fhir::Unmapped;
use records::ResourceType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sources::{Format, format_of, unpacked_name, unusable};
use tables::UnknownColumns;

use super::MaxRejected;
use crate::export::{self, Link, Manifest, Owner};
use crate::failure::mismatch;
use crate::state::StateFolder;

/// An import as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportRequest {
    pub version: u32,
    pub run: String,
    #[serde(flatten)]
    pub from: Sources,
    #[serde(flatten)]
    pub reading: Reading,
    pub label: Option<String>,
    pub max_rejected: MaxRejected,
    /// Where it goes: a run never changes its service, tenant or environment.
    #[serde(flatten)]
    pub owner: Owner,
    /// The state folder of the import whose rejected records these are.
    pub retry_of: Option<PathBuf>,
    /// A live key was confirmed.
    pub confirmed: bool,
}

/// How the sources are read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    pub map: Option<PathBuf>,
    pub encoding: Option<String>,
    pub delimiter: Option<u8>,
    pub unknown: UnknownColumns,
    pub duplicates: Duplicates,
    /// What becomes of elements of FHIR that records have no member for.
    pub unmapped: Unmapped,
}

/// Which of several records with one id is imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// The first; the others are rejected.
    #[default]
    First,
    /// The last valid one; those before it are left out.
    Last,
}

impl Duplicates {
    /// Every choice, its name, and what it means.
    pub const ALL: [(Self, &str, &str); 2] = [
        (Self::First, "first", "Import the first, and reject the others"),
        (Self::Last, "last", "Import the last, and leave out those before it"),
    ];
}

/// What `TYPE FILE…` or `DIR` stands for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    pub sources: Vec<SourceRequest>,
    /// Files that say which records of the sources were deleted since.
    pub deletions: Vec<SourceRequest>,
    /// Exports among them were made at the same time: which version of a record is newer, its lines tell.
    pub overlap: bool,
    /// Files of a folder that are not read.
    pub passed_over: Vec<PathBuf>,
}

impl Sources {
    /// Whether there is more than one export among them: what stands in two of them is no duplicate.
    pub(super) fn is_chain(&self) -> bool {
        let exports = self.sources.iter().filter(|source| source.export.is_some());
        exports.map(|source| source.path.parent()).collect::<BTreeSet<_>>().len() > 1
    }

    /// Both kinds.
    pub fn files(&self) -> impl Iterator<Item = &SourceRequest> {
        self.sources.iter().chain(&self.deletions)
    }
}

/// A source as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRequest {
    pub path: PathBuf,
    /// `None` where every record names its own.
    pub resource_type: Option<ResourceType>,
    pub format: Format,
    /// Of what export it is a file, if of any.
    pub export: Option<OfExport>,
}

/// What an export says of one of its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfExport {
    /// What the file must be.
    pub file: JobFile,
    /// Whose records they are.
    pub owner: Owner,
    /// Types of its records that a later whole export replaces.
    pub skip: Vec<ResourceType>,
}

/// Finds the files that are meant. `is_incomplete`: a chain of exports may have gaps.
pub fn resolve_sources(what: &[PathBuf], format: Option<Format>, is_incomplete: bool) -> Result<Sources> {
    match what {
        _ if format == Some(Format::Fhir) => resources(what, is_incomplete),
        [folder] if folder.is_dir() => folder_sources(folder, format, is_incomplete),
        [one] => Err(unusable(format!(
            "{}: name a folder, or a type and its files (of FHIR's own resources: --format fhir, and files alone)",
            one.display()
        ))),
        [resource_type, files @ ..] => {
            let name = resource_type.to_str().unwrap_or_default();
            let resource_type = sources::resource_type(name).map_err(|wrong| unusable(format!("{name}: {wrong}")))?;
            let mut named = BTreeSet::new();
            let sources: Result<Vec<_>> = files
                .iter()
                .map(|path| {
                    check_once(path, &mut named)?;
                    of_manifest(file_source(absolute(path)?, Some(resource_type), format))
                })
                .collect();
            let mut sources = sources?;
            // It is taken with the records of its export, and holds none.
            sources.retain(|source| source.export.is_none() || !is_deletions(source));
            if sources.is_empty() {
                return Err(unusable("deleted.ndjson holds no records: name the export, or its files of records"));
            }
            let deletions = deletions_beside(&sources)?;
            // Each by itself, whatever it is a part of: the newest version of a record counts.
            let overlap = sources.iter().filter(|source| source.export.is_some()).count() > 1;
            Ok(Sources { sources, deletions, overlap, passed_over: Vec::new() })
        }
        [] => Err(unusable("name a folder, or a type and its files")),
    }
}

/// Files of FHIR's resources of any types, and folders of them; an export as FHIR, or a chain of such.
fn resources(what: &[PathBuf], is_incomplete: bool) -> Result<Sources> {
    if let [folder] = what
        && folder.is_dir()
        && (Manifest::load(folder)?.is_some() || export::first_within(folder)?.is_some())
    {
        return folder_sources(folder, Some(Format::Fhir), is_incomplete);
    }
    let (mut found, mut named) = (Sources::default(), BTreeSet::new());
    for path in what {
        if path.to_str().is_some_and(|name| sources::resource_type(name).is_ok()) && !path.exists() {
            return Err(unusable(format!(
                "{}: resources name their types: name files or folders alone",
                path.display()
            )));
        }
        let all = if path.is_dir() { files::entries(path)? } else { vec![path.clone()] };
        if path.is_dir() && StateFolder::open(path).is_ok() {
            return Err(unusable(format!("{} is the state folder of an import: name files in it", path.display())));
        }
        for file in all {
            let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let name = unpacked_name(&name);
            // Every bulk export has a list of its files.
            let is_resources = name != "manifest.json"
                && !export::is_hidden(&file)
                && [".json", ".ndjson", ".jsonl"].iter().any(|ending| name.ends_with(ending));
            if path.is_dir() && file.is_dir() && !export::is_hidden(&file) {
                return Err(unusable(format!("{} is a folder in a folder: name it by itself", file.display())));
            }
            if path.is_dir() && !is_resources {
                found.passed_over.push(file);
            } else {
                check_once(&file, &mut named)?;
                found.sources.push(of_manifest(file_source(absolute(&file)?, None, Some(Format::Fhir)))?);
            }
        }
    }
    if found.sources.is_empty() {
        return Err(unusable("name files of resources, or folders with files that end in .json or .ndjson"));
    }
    Ok(found)
}

/// Refuses a file that is among those that were named before, by whatever name, and by links.
fn check_once(path: &Path, named: &mut BTreeSet<PathBuf>) -> Result<()> {
    if named.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())) {
        return Ok(());
    }
    Err(unusable(format!("{} is named twice", path.display())))
}

/// A file that is imported, as it is written down.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path == Path::new("-") { Ok(path.to_owned()) } else { files::absolute(path) }
}

fn file_source(path: PathBuf, resource_type: Option<ResourceType>, format: Option<Format>) -> SourceRequest {
    let format = format.or_else(|| format_of(&path)).unwrap_or(Format::Ndjson);
    SourceRequest { path, resource_type, format, export: None }
}

/// The files of a folder: an export, a chain of exports, or files named after types.
fn folder_sources(folder: &Path, format: Option<Format>, is_incomplete: bool) -> Result<Sources> {
    let folder = absolute(folder)?;
    if export::is_unfinished(&folder) {
        return Err(unusable(format!("{} is an export that is not complete: resume it first", folder.display())));
    }
    if let Some(manifest) = Manifest::load(&folder)? {
        if let Some(within) = export::first_within(&folder)? {
            return Err(unusable(format!(
                "{} is an export itself, and holds {}: move what belongs to it into a folder of its own",
                folder.display(),
                within.display()
            )));
        }
        export::check::restorable(&folder, &manifest, format)?;
        if manifest.since.is_some() && !is_incomplete {
            return Err(unusable(format!(
                "{} holds only what changed since a moment: name the folder with the exports before it, or add --incomplete to \
                 restore it alone",
                folder.display()
            )));
        }
        return of_chain(&[Link::new(folder, manifest)]);
    }
    if export::first_within(&folder)?.is_some() {
        check_beside(&folder)?;
    }
    let chain = export::chain(&folder)?;
    if let Some(((_, first), others)) = chain.split_first() {
        if others.iter().any(|(_, manifest)| !manifest.owner.is_same(&first.owner)) {
            return Err(unusable(format!(
                "{} holds exports of more than one tenant or environment: name the folder of one of them",
                folder.display()
            )));
        }
        chain.iter().try_for_each(|(link, manifest)| export::check::restorable(link, manifest, format))?;
        return of_chain(&export::restorable(chain, is_incomplete)?);
    }
    let mut sources = Vec::new();
    for path in files::entries(&folder)? {
        if export::is_hidden(&path) {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split('.').next().unwrap_or_default();
        let (Ok(resource_type), Some(found)) = (stem.parse(), format_of(&path)) else {
            return Err(unusable(format!(
                "{} is not named after a type and a format, as Patient.ndjson or Observation.csv.gz (FHIR's own resources may be \
                 named as they like: --format fhir)",
                path.display()
            )));
        };
        sources.push(file_source(absolute(&path)?, Some(resource_type), format.or(Some(found))));
    }
    if sources.is_empty() {
        return Err(unusable(format!("{} has no files", folder.display())));
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    for pair in sources.windows(2) {
        if let [plain, gzip] = pair
            && gzip.path.to_str() == plain.path.to_str().map(|path| format!("{path}.gz")).as_deref()
        {
            return Err(unusable(format!("{} is there twice, plain and gzip", plain.path.display())));
        }
    }
    Ok(Sources { sources, ..Sources::default() })
}

/// Beside exports nothing is passed over in silence.
fn check_beside(folder: &Path) -> Result<()> {
    for path in files::entries(folder)? {
        if export::is_hidden(&path) {
            continue;
        }
        if export::is_unfinished(&path) {
            return Err(unusable(format!("{} is an export that is not complete: resume it first", path.display())));
        }
        // Every file system of some kinds has one, and nobody may look into it.
        if path.ends_with("lost+found") {
            continue;
        }
        if path.is_dir() && Manifest::load(&path)?.is_none() {
            return Err(unusable(format!(
                "{} lies beside exports and has no manifest.json: if it is a part of the backup, restore what is missing of it; \
                 otherwise move it away",
                path.display()
            )));
        }
        if !path.is_dir() {
            return Err(unusable(format!("{} lies beside exports: move it away, or name it", path.display())));
        }
    }
    Ok(())
}

/// A file of an export that is named by itself is still of its owner, and what its manifest says.
fn of_manifest(source: SourceRequest) -> Result<SourceRequest> {
    let Some(manifest) = source.path.parent().map(Manifest::load).transpose()?.flatten() else { return Ok(source) };
    let name = source.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let file = manifest.files.into_iter().find(|file| file.name == name);
    let export = file.map(|file| OfExport { file, owner: manifest.owner, skip: Vec::new() });
    Ok(SourceRequest { export, ..source })
}

/// Exports one after the other, oldest first.
fn of_chain(links: &[Link]) -> Result<Sources> {
    let overlap = export::overlap(links);
    let files = links.iter().map(link_sources).collect::<Result<Vec<_>>>()?.concat();
    let (deletions, sources) = files.into_iter().partition(is_deletions);
    Ok(Sources { sources, deletions, overlap, passed_over: Vec::new() })
}

/// What the exports of files that are named by themselves say was deleted meanwhile.
fn deletions_beside(sources: &[SourceRequest]) -> Result<Vec<SourceRequest>> {
    let of_exports = sources.iter().filter(|source| source.export.is_some());
    let folders: BTreeSet<_> = of_exports.filter_map(|source| source.path.parent()).collect();
    let mut deletions = Vec::new();
    for folder in folders {
        let manifest = Manifest::load(folder)?.context("the export's manifest is gone")?;
        let files = link_sources(&Link::new(folder.to_owned(), manifest))?.into_iter();
        deletions.extend(files.filter(is_deletions));
    }
    Ok(deletions)
}

fn is_deletions(file: &SourceRequest) -> bool {
    file.path.file_name().is_some_and(|name| name == export::DELETED)
}

fn link_sources(Link { folder, manifest, replaced }: &Link) -> Result<Vec<SourceRequest>> {
    let parse = |name: &String| -> Result<ResourceType> {
        name.parse().map_err(|_| anyhow::anyhow!("{}: unknown type", folder.display()))
    };
    let skip = replaced.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let source = |file: &JobFile| {
        let path = folder.join(&file.name);
        let resource_type = file.resource_type.as_ref().map(parse).transpose()?;
        let format = if manifest.format.is_some() { Format::Fhir } else { Format::Ndjson };
        let export = OfExport { file: file.clone(), owner: manifest.owner.clone(), skip: skip.clone() };
        Ok(SourceRequest { path, resource_type, format, export: Some(export) })
    };
    manifest.files.iter().map(source).collect()
}

impl SourceRequest {
    /// Whether the file is what the manifest says.
    pub(super) fn verify(&self, sha256: &str, records: u64) -> Result<()> {
        let Some(OfExport { file: expected, .. }) = &self.export else { return Ok(()) };
        let name = self.path.display();
        if !export::check::has_hash(expected, sha256) {
            return Err(mismatch(format!("{name} is not the file of its manifest: its hash differs")));
        }
        if expected.records != records {
            let message = format!("{name} has {records} records, and its manifest says {}", expected.records);
            return Err(mismatch(message));
        }
        Ok(())
    }
}

impl ImportRequest {
    /// The request of a state folder. All that lies beside it is of the same version.
    pub fn load(path: &Path) -> Result<Self> {
        let document: Value = files::read_json(path)?;
        let version = document.get("version").and_then(Value::as_u64);
        // First: what another version has written may have another form.
        anyhow::ensure!(
            version.is_none_or(|version| version == u64::from(crate::VERSION)),
            "{} was written by another version of clinik-bulk: go on with that one",
            path.display()
        );
        serde_json::from_value(document)
            .map_err(|_| anyhow::anyhow!("{} is not what this version writes", path.display()))
    }
}
