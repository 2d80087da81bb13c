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
            records: job.files.iter().map(|file| file.records).sum(),
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
    found.sort_by_key(|(_, manifest)| manifest.moment());
    Ok(found)
}

/// The newest complete export of this owner in a folder that the next one of these types can follow.
pub fn newest(folder: &Path, types: &[&str], owner: &Owner) -> Result<Option<Manifest>> {
    let covers = |manifest: &Manifest| {
        manifest.owner == *owner
            && manifest.moment().is_some()
            && types.iter().all(|wanted| manifest.resource_types.iter().any(|known| known == wanted))
    };
    Ok(chain(folder)?.into_iter().map(|(_, manifest)| manifest).rfind(covers))
}
