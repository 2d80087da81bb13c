//! What a chain of exports says of a record besides a line: that it was deleted, or that a later whole export replaces it. Such
//! a line is left out of a restore.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use jiff::Timestamp;
use records::{RecordId, ResourceType};
use serde::Deserialize;
use sources::{Format, Source};

use super::request::{SourceRequest, Sources};
use super::source_name;

type Key = (ResourceType, RecordId);

/// What is known of the records of exports.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When a record was deleted last.
    deleted: HashMap<Key, Timestamp>,
}

/// A line of `deleted.ndjson`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletionLine {
    resource_type: ResourceType,
    id: RecordId,
    deleted_at: Timestamp,
}

/// When the record of an exported line was written.
pub(super) fn last_updated(record: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Line {
        meta: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        last_updated: Timestamp,
    }
    serde_json::from_slice(record).ok().map(|line: Line| line.meta.last_updated)
}

impl History {
    /// Reads the files of deletions, each as its manifest says it is.
    pub(super) fn read(from: &Sources) -> Result<Self> {
        let mut history = Self::default();
        for file in &from.deletions {
            history.add(file).with_context(|| source_name(&file.path))?;
        }
        Ok(history)
    }

    fn add(&mut self, file: &SourceRequest) -> Result<()> {
        let mut open = Source::open_hashed(&file.path)?;
        let mut lines = 0;
        let reader = std::mem::replace(&mut open.reader, Box::new(std::io::empty()));
        for line in BufReader::new(reader).lines() {
            let line = line.context("read deletions")?;
            lines += 1;
            // An error of serde_json would show the line.
            let Ok(DeletionLine { resource_type, mut id, deleted_at }) = serde_json::from_str(&line) else {
                anyhow::bail!("line {lines} names no deleted record");
            };
            if file.format == Format::Fhir {
                id = RecordId::try_from(fhir::id_from_fhir(id.as_str())).unwrap_or(id);
            }
            let known = self.deleted.entry((resource_type, id)).or_insert(deleted_at);
            *known = deleted_at.max(*known);
        }
        file.verify(&open.digest().0, lines)
    }

    /// How many records are named as deleted.
    pub(super) fn deleted(&self) -> u64 {
        self.deleted.len() as u64
    }

    /// Whether a line of an export is no part of the state that is restored: a later whole export replaces all of its type, or
    /// its record was deleted after it was written.
    pub(super) fn leaves_out(
        &self,
        source: &SourceRequest,
        resource_type: ResourceType,
        id: Option<&RecordId>,
        record: &[u8],
    ) -> bool {
        // What is not of an export has no history.
        let Some(export) = &source.export else { return false };
        if export.skip.contains(&resource_type) {
            return true;
        }
        let Some(id) = id.filter(|_| !self.deleted.is_empty()) else { return false };
        let Some(deleted) = self.deleted.get(&(resource_type, id.clone())) else { return false };
        last_updated(record).is_some_and(|written| *deleted >= written)
    }
}
