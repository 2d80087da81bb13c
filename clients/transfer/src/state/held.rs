//! Records that are never sent, since the service would reject them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use records::ResourceType;
use serde::{Deserialize, Serialize};
use sources::SourceViolation;
use tables::{rejected_header, rejected_row};

use super::StateFolder;
use crate::place::Place;
use files::PartialFile;

/// What is wrong with one record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldRecord {
    pub source: usize,
    pub line: u64,
    /// Where the file that it stands in does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<ResourceType>,
    pub violations: Vec<SourceViolation>,
}

/// Writes them while a plan is made.
pub(crate) struct HeldRecords {
    folder: StateFolder,
    /// By their paths.
    files: BTreeMap<PathBuf, PartialFile>,
    /// Rows of the table in hand as they came. Sources are read one after the other, and there may be many.
    rows: Option<(usize, PartialFile)>,
}

impl HeldRecords {
    pub(crate) fn new(folder: &StateFolder) -> Self {
        Self { folder: folder.clone(), files: BTreeMap::new(), rows: None }
    }

    fn file(&mut self, path: PathBuf) -> Result<&mut PartialFile> {
        match self.files.entry(path) {
            std::collections::btree_map::Entry::Occupied(file) => Ok(file.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let file = PartialFile::create(new.key())?;
                Ok(new.insert(file))
            }
        }
    }

    /// Bytes of a record; the last ones end it.
    pub(crate) fn bytes(&mut self, resource_type: ResourceType, bytes: &[u8], last: bool) -> Result<()> {
        let records = self.file(self.folder.held(resource_type, "records"))?;
        let end: &[u8] = if last { b"\n" } else { b"" };
        records.write_all(bytes).and_then(|()| records.write_all(end)).context("write rejected records")
    }

    pub(crate) fn violations(
        &mut self,
        resource_type: ResourceType,
        place: Place,
        violations: &[SourceViolation],
    ) -> Result<()> {
        let line = line_of(place, None, violations)?;
        self.file(self.folder.held(resource_type, "violations"))?.write_all(&line).context("write violations")
    }

    /// A text that no record is made of.
    pub(crate) fn refused(
        &mut self,
        is_unsupported: bool,
        place: Place,
        resource_type: Option<ResourceType>,
        text: &[u8],
        violations: &[SourceViolation],
    ) -> Result<()> {
        let path = if is_unsupported { self.folder.unsupported() } else { self.folder.refused() };
        // On one line, whatever it was: a document may be written over many.
        let mut line: Vec<_> = text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
        line.push(b'\n');
        self.file(path)?.write_all(&line).context("write refused resources")?;
        let line = line_of(place, resource_type, violations)?;
        self.file(self.folder.refusals())?.write_all(&line).context("write refused resources")
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
        self.files.into_values().try_for_each(PartialFile::publish)
    }
}

fn line_of(place: Place, resource_type: Option<ResourceType>, violations: &[SourceViolation]) -> Result<Vec<u8>> {
    let Place { source, line } = place;
    let mut text = serde_json::to_vec(&HeldRecord { source, line, resource_type, violations: violations.to_vec() })?;
    text.push(b'\n');
    Ok(text)
}
