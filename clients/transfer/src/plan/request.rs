//! What was asked for, as a state folder keeps it: enough to plan again after an interruption.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use records::ResourceType;
use serde::{Deserialize, Serialize};

use super::{Format, MaxRejected, UnknownColumns};
use crate::exit::{Failure, usage};
use crate::export::{self, Manifest};
use crate::files;

/// An import as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportRequest {
    pub(crate) version: u32,
    pub(crate) run: String,
    pub(crate) sources: Vec<SourceRequest>,
    pub(crate) map: Option<PathBuf>,
    pub(crate) encoding: Option<String>,
    pub(crate) unknown: UnknownColumns,
    pub(crate) label: Option<String>,
    pub(crate) max_rejected: MaxRejected,
    /// Where it goes: a run never changes its service or environment.
    pub(crate) url: String,
    pub(crate) environment: String,
    /// Tells another key from this one, and nothing else.
    pub(crate) key_fingerprint: String,
    /// A live key was confirmed.
    pub(crate) confirmed: bool,
}

/// A source as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceRequest {
    pub(crate) path: PathBuf,
    /// `None` where every record names its own.
    pub(crate) resource_type: Option<ResourceType>,
    pub(crate) format: Format,
    /// Sources of a later stage replace records of earlier ones.
    pub(crate) stage: usize,
    /// What an export's manifest says of the file.
    pub(crate) expected: Option<Expected>,
}

/// What a file must be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) sha256: String,
    pub(crate) records: u64,
}

/// The format that a file's name tells.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        _ => None,
    }
}

/// What `TYPE FILE…` or `DIR` stands for.
pub(crate) fn resolve_sources(what: &[PathBuf], format: Option<Format>) -> Result<Vec<SourceRequest>> {
    match what {
        [folder] if folder.is_dir() => folder_sources(folder, format),
        [one] => Err(usage(format!("{}: name a folder, or a type and its files", one.display()))),
        [resource_type, files @ ..] => {
            let name = resource_type.to_str().unwrap_or_default();
            let resource_type = crate::cli::resource_type(name).map_err(|wrong| usage(format!("{name}: {wrong}")))?;
            let mut seen = BTreeSet::new();
            files
                .iter()
                .map(|path| {
                    if !seen.insert(path) {
                        return Err(usage(format!("{} is named twice", path.display())));
                    }
                    Ok(file_source(absolute(path)?, Some(resource_type), format))
                })
                .collect()
        }
        [] => Err(usage("name a folder, or a type and its files")),
    }
}

/// A later `resume` may run in another folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path == Path::new("-") {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn file_source(path: PathBuf, resource_type: Option<ResourceType>, format: Option<Format>) -> SourceRequest {
    let format = format.or_else(|| format_of(&path)).unwrap_or(Format::Ndjson);
    SourceRequest { path, resource_type, format, stage: 0, expected: None }
}

/// The files of a folder: an export, a chain of exports, or files named after types.
fn folder_sources(folder: &Path, format: Option<Format>) -> Result<Vec<SourceRequest>> {
    let folder = absolute(folder)?;
    if export::is_unfinished(&folder) {
        return Err(usage(format!("{} is an export that is not complete: resume it first", folder.display())));
    }
    if let Some(manifest) = Manifest::load(&folder)? {
        return manifest_sources(&folder, &manifest, 0);
    }
    let chain = export::chain(&folder)?;
    if !chain.is_empty() {
        let stages = chain.iter().enumerate();
        let stages = stages.map(|(stage, (folder, manifest))| manifest_sources(folder, manifest, stage));
        return Ok(stages.collect::<Result<Vec<_>>>()?.concat());
    }
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read folder {}", folder.display()))? {
        let path = entry.with_context(|| format!("read folder {}", folder.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        let stem = name.split('.').next().unwrap_or_default();
        let (Ok(resource_type), Some(found)) = (stem.parse(), format_of(&path)) else {
            return Err(usage(format!(
                "{} is not named after a type and a format, as Patient.ndjson or Observation.csv.gz",
                path.display()
            )));
        };
        sources.push(file_source(path, Some(resource_type), format.or(Some(found))));
    }
    if sources.is_empty() {
        return Err(usage(format!("{} has no files", folder.display())));
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn manifest_sources(folder: &Path, manifest: &Manifest, stage: usize) -> Result<Vec<SourceRequest>> {
    let source = |file: &crate::api::JobFile| {
        let resource_type = match &file.resource_type {
            Some(name) => Some(name.parse().map_err(|_| anyhow::anyhow!("{}: unknown type", folder.display()))?),
            None => None,
        };
        let expected = Some(Expected { sha256: file.sha256.clone(), records: file.records });
        let path = folder.join(&file.name);
        Ok(SourceRequest { path, resource_type, format: Format::Ndjson, stage, expected })
    };
    manifest.files.iter().map(source).collect()
}

impl SourceRequest {
    /// Whether the file is what the manifest says.
    pub(super) fn verify(&self, sha256: &str, records: u64) -> Result<()> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let name = self.path.display();
        if expected.sha256 != sha256 {
            return Err(Failure::Mismatch(format!("{name} is not the file of its manifest: its hash differs")).into());
        }
        if expected.records != records {
            let message = format!("{name} has {records} records, and its manifest says {}", expected.records);
            return Err(Failure::Mismatch(message).into());
        }
        Ok(())
    }
}

impl ImportRequest {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let request: Self = files::read_json(path)?;
        anyhow::ensure!(request.version == super::VERSION, "{} was written by another version", path.display());
        Ok(request)
    }
}
