//! The manifest of an export: where it is, the export is complete.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clinikapi::{Job, JobFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sources::unusable;

use crate::files;

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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
        let manifest: Self = files::read_json(&path)?;
        anyhow::ensure!(manifest.version == VERSION, "{} was written by another version", path.display());
        Ok(Some(manifest))
    }

    fn moment(&self) -> Option<Timestamp> {
        self.transaction_time.parse().ok()
    }

    /// Whether it was being made while a later one began: which of their versions of a record is newer cannot be told. So it is
    /// where the times are missing.
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

/// What of a chain makes its state: of each type the last whole export, and what follows it. An earlier one may hold records
/// that the whole one no longer has.
pub(crate) fn restorable(chain: Vec<(PathBuf, Manifest)>) -> Result<Vec<(PathBuf, Manifest)>> {
    let mut replaced: BTreeSet<String> = BTreeSet::new();
    let mut kept = Vec::new();
    for (folder, mut manifest) in chain.into_iter().rev() {
        let is_whole = manifest.since.is_none();
        let all = std::mem::take(&mut manifest.resource_types);
        manifest.resource_types = all.iter().filter(|known| !replaced.contains(*known)).cloned().collect();
        if manifest.resource_types.len() < all.len() && !manifest.resource_types.is_empty() {
            let is_mixed =
                manifest.files.iter().any(|file| file.resource_type.is_none() && file.name != super::DELETED);
            if is_mixed {
                return Err(unusable(format!(
                    "{} holds types that a later export replaces as a whole, and others, in one file: import the folders one by one",
                    folder.display()
                )));
            }
            manifest.files.retain(|file| file.resource_type.as_ref().is_none_or(|known| !replaced.contains(known)));
        }
        if is_whole {
            replaced.extend(all);
        }
        if !manifest.resource_types.is_empty() {
            kept.push((folder, manifest));
        }
    }
    kept.reverse();
    let links = gapless(kept.iter().map(|(_, manifest)| manifest));
    let is_loose = |(_, manifest): &&(PathBuf, Manifest)| !links.iter().any(|link| link.job_id == manifest.job_id);
    if let Some((loose, _)) = kept.iter().find(is_loose) {
        return Err(unusable(format!(
            "{} begins behind the end of the exports before it, and what changed between is missing: import the folders one by \
             one, or export everything anew",
            loose.display()
        )));
    }
    check_overlaps(&kept)?;
    Ok(kept)
}

/// Of every type the last export has to hold the newest versions: it began when all before it were made. It also settles which
/// of two earlier ones that overlapped is right, for it holds what changed while they were made.
fn check_overlaps(links: &[(PathBuf, Manifest)]) -> Result<()> {
    let types: BTreeSet<_> = links.iter().flat_map(|(_, manifest)| &manifest.resource_types).collect();
    for known in types {
        let mut of_type = links.iter().filter(|(_, manifest)| manifest.covers(known));
        let Some((last, manifest)) = of_type.next_back() else { continue };
        if let Some((other, _)) = of_type.find(|(_, other)| other.overlaps(manifest)) {
            return Err(unusable(format!(
                "{} was begun while {} was being made, and which versions of {known} are newer cannot be told: export {known} once \
                 more with --since-last, and restore then",
                last.display(),
                other.display()
            )));
        }
    }
    Ok(())
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
    // Of two that end at the same moment the whole one comes first.
    found.sort_by_key(|(_, manifest)| (manifest.moment(), manifest.since.clone()));
    Ok(found)
}

/// A complete export, in its folder.
pub type Export = (PathBuf, Manifest);

/// The newest complete export of this owner in a folder that the next one of these types can follow: of a chain without gaps.
pub fn newest(folder: &Path, types: &[&str], owner: &Owner) -> Result<Option<Export>> {
    let mut chain = chain(folder)?;
    chain.retain(|(_, manifest)| manifest.owner == *owner);
    let links = gapless(chain.iter().map(|(_, manifest)| manifest));
    let covers = |manifest: &Manifest| types.iter().all(|wanted| manifest.covers(wanted));
    let newest = links.into_iter().rfind(|link| covers(link)).map(|link| link.job_id.clone());
    Ok(chain.into_iter().rfind(|(_, manifest)| Some(&manifest.job_id) == newest.as_ref()))
}
