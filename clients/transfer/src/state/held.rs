//! Records that are never sent, since the service would reject them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use records::ResourceType;
use serde::{Deserialize, Serialize};
use sources::{SourceViolation, rejected_header, rejected_row};

use super::StateFolder;
use crate::batch::Place;
use crate::files::PartialFile;

/// What is wrong with one record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldRecord {
    pub source: usize,
    pub line: u64,
    pub violations: Vec<SourceViolation>,
}

/// Writes them while a plan is made.
pub(crate) struct HeldRecords {
    folder: StateFolder,
    files: BTreeMap<ResourceType, Files>,
    /// Rows of tables as they came, for each source.
    rows: BTreeMap<usize, PartialFile>,
}

struct Files {
    records: PartialFile,
    violations: PartialFile,
}

impl HeldRecords {
    #[expect(clippy::unnecessary_wraps, reason = "creating is fallible by nature")]
    pub(crate) fn create(folder: &StateFolder) -> Result<Self> {
        Ok(Self { folder: folder.clone(), files: BTreeMap::new(), rows: BTreeMap::new() })
    }

    fn of(&mut self, resource_type: ResourceType) -> Result<&mut Files> {
        match self.files.entry(resource_type) {
            std::collections::btree_map::Entry::Occupied(files) => Ok(files.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let records = PartialFile::create(&self.folder.held(resource_type, "records"))?;
                let violations = PartialFile::create(&self.folder.held(resource_type, "violations"))?;
                Ok(new.insert(Files { records, violations }))
            }
        }
    }

    /// Bytes of a record; the last ones end it.
    pub(crate) fn bytes(&mut self, resource_type: ResourceType, bytes: &[u8], last: bool) -> Result<()> {
        let records = &mut self.of(resource_type)?.records;
        let end: &[u8] = if last { b"\n" } else { b"" };
        records.write_all(bytes).and_then(|()| records.write_all(end)).context("write rejected records")
    }

    pub(crate) fn violations(
        &mut self,
        resource_type: ResourceType,
        place: Place,
        violations: &[SourceViolation],
    ) -> Result<()> {
        let held = HeldRecord { source: place.source, line: place.line, violations: violations.to_vec() };
        let mut line = serde_json::to_vec(&held)?;
        line.push(b'\n');
        self.of(resource_type)?.violations.write_all(&line).context("write violations")
    }

    /// A row of a table as it came, and what is wrong with it.
    pub(crate) fn row(
        &mut self,
        (source, path): (usize, &Path),
        header: &[&[u8]],
        row: &[&[u8]],
        delimiter: u8,
        violations: &[SourceViolation],
    ) -> Result<()> {
        let file = match self.rows.entry(source) {
            std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let target = self.folder.rejected_rows(source, path)?;
                let file = new.insert(PartialFile::create(&target)?);
                file.write_all(&rejected_header(header, delimiter)).context("write rejected rows")?;
                file
            }
        };
        file.write_all(&rejected_row(header, row, delimiter, violations)).context("write rejected rows")
    }

    pub(crate) fn publish(self) -> Result<()> {
        for rows in self.rows.into_values() {
            rows.publish()?;
        }
        for files in self.files.into_values() {
            files.records.publish()?;
            files.violations.publish()?;
        }
        Ok(())
    }
}
