//! The manifest of an export: where it is, the export is complete.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clinikapi::{Job, JobFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sources::unusable;

/// The manifest's name.
pub(crate) const FILE: &str = "manifest.json";
const VERSION: u32 = 2;

/// Whose records they are: those of two owners never meet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub url: String,
    pub tenant_id: String,
    pub environment: String,
}

impl Owner {
    /// Whether it is the same clinic's, in the same environment; the service may have moved.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.tenant_id == other.tenant_id && self.environment == other.environment
    }
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub version: u32,
    pub job_id: String,
    #[serde(flatten)]
    pub owner: Owner,
    pub resource_types: Vec<String>,
    /// Where the export begins; `None` where it holds everything.
    #[serde(default)]
    pub since: Option<String>,
    /// The next export of the chain begins here.
    pub transaction_time: String,
    pub created_at: String,
    #[serde(default)]
    pub completed_at: Option<String>,
    /// What its records are where they are no flat ones: `fhir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping_version: Option<u32>,
    pub records: u64,
    pub files: Vec<JobFile>,
}

impl Manifest {
    pub(super) fn of_job(job: &Job, owner: &Owner) -> Self {
        Self {
            version: VERSION,
            job_id: job.id.clone(),
            owner: owner.clone(),
            resource_types: job.resource_types.clone(),
            since: job.since.clone(),
            transaction_time: job.transaction_time.clone().unwrap_or_default(),
            created_at: job.created_at.clone(),
            completed_at: job.completed_at.clone(),
            format: job.format.clone(),
            mapping_version: job.mapping_version,
            records: job.total_records,
            files: job.files.clone(),
        }
    }

    pub(super) fn store(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(FILE), self)
    }

    /// The manifest of a folder, if it has one.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        // Of a page's manifest, or of another program's, nothing is said.
        let document: serde_json::Value = files::read_json(&path)?;
        if document.get("jobId").is_none() || document.get("transactionTime").is_none() {
            return Ok(None);
        }
        let manifest: Self = serde_json::from_value(document)
            .map_err(|_| anyhow::anyhow!("{} is not what this version writes", path.display()))?;
        anyhow::ensure!(manifest.version == VERSION, "{} was written by another version", path.display());
        Ok(Some(manifest))
    }

    fn moment(&self) -> Option<Timestamp> {
        self.transaction_time.parse().ok()
    }

    /// Whether it was being made while a later one began. So it is where the times are missing.
    fn overlaps(&self, later: &Self) -> bool {
        let ended: Option<Timestamp> = self.completed_at.as_ref().and_then(|at| at.parse().ok());
        let began: Option<Timestamp> = later.created_at.parse().ok();
        ended.zip(began).is_none_or(|(ended, began)| ended > began)
    }

    fn covers(&self, resource_type: &str) -> bool {
        self.resource_types.iter().any(|known| known == resource_type)
    }

    /// Whether nothing is missing between the exports before and this one: it begins no later than where one of them ends,
    /// for each of its types; or it holds everything.
    fn follows(&self, before: &[&Self]) -> bool {
        let Some(since) = &self.since else { return true };
        let Ok(since) = since.parse::<Timestamp>() else { return false };
        let reaches = |earlier: &&&Self| earlier.moment().is_some_and(|moment| since <= moment);
        self.resource_types.iter().all(|known| before.iter().filter(reaches).any(|earlier| earlier.covers(known)))
    }
}

/// Which of an owner's exports, oldest first, follow one another without a gap.
pub(crate) fn gapless<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<&'a Manifest> {
    manifests.fold(Vec::new(), |mut links, manifest| {
        if manifest.moment().is_some() && manifest.follows(&links) {
            links.push(manifest);
        }
        links
    })
}

/// An export of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
    /// Types that a later whole export replaces: an earlier export may hold records that the whole one no longer has.
    pub(crate) replaced: BTreeSet<String>,
}

impl Link {
    pub(crate) fn new(folder: PathBuf, manifest: Manifest) -> Self {
        Self { folder, manifest, replaced: BTreeSet::new() }
    }
}

/// What of a chain makes its state: of each type the last whole export, and what follows it without a gap.
/// `is_incomplete`: gaps are meant.
pub(crate) fn restorable(chain: Vec<Export>, is_incomplete: bool) -> Result<Vec<Link>> {
    let mut replaced: BTreeSet<String> = BTreeSet::new();
    let mut kept = Vec::new();
    for (folder, mut manifest) in chain.into_iter().rev() {
        let is_whole = manifest.since.is_none();
        let all = std::mem::take(&mut manifest.resource_types);
        manifest.resource_types = all.iter().filter(|known| !replaced.contains(*known)).cloned().collect();
        manifest.files.retain(|file| file.resource_type.as_ref().is_none_or(|known| !replaced.contains(known)));
        let of_link: BTreeSet<_> = all.iter().filter(|known| replaced.contains(*known)).cloned().collect();
        if is_whole {
            replaced.extend(all);
        }
        if !manifest.resource_types.is_empty() {
            kept.push(Link { folder, manifest, replaced: of_link });
        }
    }
    kept.reverse();
    let links = gapless(kept.iter().map(|link| &link.manifest));
    let is_loose = |link: &&Link| !links.iter().any(|known| known.job_id == link.manifest.job_id);
    if let Some(Link { folder, .. }) = kept.iter().find(is_loose).filter(|_| !is_incomplete) {
        let gap = if links.is_empty() {
            "holds only what changed since a moment, and the export before it is missing"
        } else {
            "begins behind the end of the exports before it, and what changed between is missing"
        };
        return Err(unusable(format!(
            "{} {gap}: export everything anew, or add --incomplete to restore what there is",
            folder.display()
        )));
    }
    Ok(kept)
}

/// Whether two exports of a type were made at the same time, so that the later one may hold the older version of a record.
pub(crate) fn overlap(links: &[Link]) -> bool {
    links.iter().enumerate().any(|(at, Link { manifest: later, .. })| {
        links.iter().take(at).any(|Link { manifest: earlier, .. }| {
            earlier.resource_types.iter().any(|known| later.covers(known)) && earlier.overlaps(later)
        })
    })
}

/// Whether a name begins with a dot: what is called so belongs to the system, or to us.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// An export that a folder holds, complete or not.
pub fn first_within(folder: &Path) -> Result<Option<PathBuf>> {
    let is_export = |path: &PathBuf| path.join(FILE).exists() || path.join(super::STATE_FILE).exists();
    Ok(files::entries(folder)?.into_iter().find(|path| !is_hidden(path) && is_export(path)))
}

/// The complete exports in a folder, oldest first.
pub(crate) fn chain(folder: &Path) -> Result<Vec<(PathBuf, Manifest)>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for path in files::entries(folder)? {
        if path.is_dir()
            && !is_hidden(&path)
            && let Some(manifest) = Manifest::load(&path)?
        {
            found.push((path, manifest));
        }
    }
    // Of two that end at the same moment the whole one comes first; of an export and a link to it, or a copy, one is enough.
    found.sort_by_key(|(folder, manifest)| (manifest.moment(), manifest.since.clone(), folder.is_symlink()));
    let mut seen: HashMap<String, Manifest> = HashMap::new();
    for (folder, manifest) in &found {
        if let Some(other) = seen.insert(manifest.job_id.clone(), manifest.clone())
            && other != *manifest
        {
            return Err(unusable(format!("{} and another folder say different things of one job", folder.display())));
        }
    }
    let mut known = BTreeSet::new();
    found.retain(|(_, manifest)| known.insert(manifest.job_id.clone()));
    Ok(found)
}

/// A complete export, in its folder.
pub type Export = (PathBuf, Manifest);

/// The newest complete exports of this owner and format in a folder that the next one of these types can follow, and goes on from: what a
/// restore would need, the newest last.
pub fn newest(folder: &Path, types: &[&str], owner: &Owner, format: Option<&str>) -> Result<Vec<Export>> {
    let mut chain = chain(folder)?;
    chain.retain(|(_, manifest)| manifest.owner == *owner && manifest.format.as_deref() == format);
    let links: Vec<_> = gapless(chain.iter().map(|(_, manifest)| manifest));
    let covers = |manifest: &Manifest| types.iter().all(|wanted| manifest.covers(wanted));
    let Some(newest) = links.iter().rposition(|link| covers(link)) else { return Ok(Vec::new()) };
    let first = links.iter().take(newest + 1).rposition(|link| covers(link) && link.since.is_none()).unwrap_or(0);
    let wanted: BTreeSet<_> = links.iter().take(newest + 1).skip(first).map(|link| link.job_id.clone()).collect();
    chain.retain(|(_, manifest)| wanted.contains(&manifest.job_id));
    Ok(chain)
}
