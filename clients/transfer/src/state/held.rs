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
    /// Rows of the table in hand as they came. Sources are read one after the other, and there may be many.
    rows: Option<(usize, PartialFile)>,
}

struct Files {
    records: PartialFile,
    violations: PartialFile,
}

impl HeldRecords {
    #[expect(clippy::unnecessary_wraps, reason = "creating is fallible by nature")]
    pub(crate) fn create(folder: &StateFolder) -> Result<Self> {
        Ok(Self { folder: folder.clone(), files: BTreeMap::new(), rows: None })
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
        let file = match &mut self.rows {
            Some((of, file)) if *of == source => file,
            rows => {
                if let Some((_, before)) = rows.take() {
                    before.publish()?;
                }
                let mut file = PartialFile::create(&self.folder.rejected_rows(source, path)?)?;
                file.write_all(&rejected_header(header, delimiter)).context("write rejected rows")?;
                &mut rows.insert((source, file)).1
            }
        };
        file.write_all(&rejected_row(header, row, delimiter, violations)).context("write rejected rows")
    }

    pub(crate) fn publish(self) -> Result<()> {
        if let Some((_, rows)) = self.rows {
            rows.publish()?;
        }
        for files in self.files.into_values() {
            files.records.publish()?;
            files.violations.publish()?;
        }
        Ok(())
    }
}
