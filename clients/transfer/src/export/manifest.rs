//! The manifest of an export: where it is, the export is complete.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clinikapi::{Job, JobFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files;

/// The manifest's name.
pub(super) const FILE: &str = "manifest.json";
const VERSION: u32 = 2;

/// Whose records they are: those of two owners never meet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub url: String,
    pub tenant_id: String,
    pub environment: String,
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

/// The complete exports in a folder, oldest first.
pub(crate) fn chain(folder: &Path) -> Result<Vec<(PathBuf, Manifest)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.with_context(|| format!("read folder {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("read folder {}", folder.display()))?.path();
        if path.is_dir()
            && let Some(manifest) = Manifest::load(&path)?
        {
            found.push((path, manifest));
        }
    }
    // Of two that end at the same moment the whole one comes first.
    found.sort_by_key(|(_, manifest)| (manifest.moment(), manifest.since.clone()));
    Ok(found)
}

/// The newest complete export of this owner in a folder that the next one of these types can follow: of a chain without gaps.
pub fn newest(folder: &Path, types: &[&str], owner: &Owner) -> Result<Option<Manifest>> {
    let chain = chain(folder)?;
    let own = chain.iter().map(|(_, manifest)| manifest).filter(|manifest| manifest.owner == *owner);
    let covers = |manifest: &&Manifest| types.iter().all(|wanted| manifest.covers(wanted));
    Ok(gapless(own).into_iter().rfind(covers).cloned())
}
