//! What a chain of exports says was deleted: a restore leaves it out.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use records::{RecordId, ResourceType};
use serde::Deserialize;
use sources::Source;

use super::request::SourceRequest;
use super::source_name;

/// The last export of the chain that names a record as deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions(HashMap<(ResourceType, RecordId), usize>);

/// A line of `deleted.ndjson`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    resource_type: ResourceType,
    id: RecordId,
}

impl Deletions {
    /// Reads files of deletions, each as its manifest says it is, in the order of the chain.
    pub(super) fn read(files: &[SourceRequest]) -> Result<Self> {
        let mut deletions = Self::default();
        for file in files {
            deletions.add(file).with_context(|| source_name(&file.path))?;
        }
        Ok(deletions)
    }

    fn add(&mut self, file: &SourceRequest) -> Result<()> {
        let mut open = Source::open_hashed(&file.path)?;
        let mut lines = 0;
        let reader = std::mem::replace(&mut open.reader, Box::new(std::io::empty()));
        for line in BufReader::new(reader).lines() {
            let line = line.context("read deletions")?;
            lines += 1;
            // An error of serde_json would show the line.
            let Ok(Deleted { resource_type, id }) = serde_json::from_str(&line) else {
                anyhow::bail!("line {lines} names no deleted record");
            };
            self.0.insert((resource_type, id), file.stage);
        }
        file.verify(&open.digest().0, lines)
    }

    /// Whether a record of an export of this stage was deleted later, or while that export was being made.
    pub(super) fn cover(&self, resource_type: ResourceType, id: Option<&RecordId>, stage: usize) -> bool {
        let Some(id) = id.filter(|_| !self.0.is_empty()) else { return false };
        self.0.get(&(resource_type, id.clone())).is_some_and(|deleted| *deleted >= stage)
    }
}
