//! Where an export goes on: decided once, and moved on with every chunk that has arrived.

use jiff::Timestamp;
use records::{RecordId, ResourceType};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Progress, ResultFile};
use crate::changes::Stamp;
use crate::digest::SavedDigest;
use crate::files::{Chunks, MultipartId, ObjectKey};

/// The form of a checkpoint. The saved digest can be read by this version of `sha2` only.
const VERSION: u32 = 2;

/// Where an export goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportCheckpoint {
    v: u32,
    pub plan: ExportPlan,
    /// The files that are whole.
    pub files: Vec<ResultFile>,
    /// The position of the file that is written, among all files of the job.
    pub next_file: u32,
    /// That file, once something of it is written down; of another version, it is written anew.
    #[serde(default, deserialize_with = "of_this_version")]
    pub open: Option<OpenFile>,
    /// Whether any chunk was written, so that there is something to clear away.
    #[serde(default)]
    pub is_chunked: bool,
    /// How often the file that is written was begun anew, since something of it was gone.
    #[serde(default)]
    pub restarts: u32,
}

/// How an export reads: decided once, before anything is read, and changed by no takeover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportPlan {
    /// When reading began: what is written later may be missing.
    pub started_at: Timestamp,
    /// How many records were counted, eventually consistent.
    pub counted: u64,
    /// Up to which moment the change log is read.
    pub until: Timestamp,
    /// The types that are read by the change log; of all others every record is read.
    pub by_log: Vec<ResourceType>,
}

/// A file in the making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenFile {
    pub chunks: Chunks,
    /// Of the bytes in the chunks.
    pub digest: SavedDigest,
    /// Lines in the chunks.
    pub records: u64,
    /// Bytes in the chunks.
    pub bytes: u64,
    /// What follows the chunks, and is read back by whoever goes on.
    pub tail: Option<Tail>,
    /// Where reading goes on, after chunks and tail.
    pub position: Position,
    /// Once the file is read to its end: how it is put together. The list of chunks does not change any more.
    pub assembly: Option<AssemblyState>,
}

/// The open file, if it has the form of this version: another one must not make the whole job unreadable.
fn of_this_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OpenFile>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Open(Box<OpenFile>),
        Other(IgnoredAny),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(Stored::Open(open)) => Some(*open),
        Some(Stored::Other(_)) | None => None,
    })
}

/// What a worker had appended when it stopped, too little for a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    pub key: ObjectKey,
    pub bytes: u64,
    pub records: u64,
}

/// A file that is put together inside the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssemblyState {
    pub key: ObjectKey,
    pub upload: MultipartId,
    /// Chunks that are copied.
    pub copied: u32,
    /// Assemblies of this file that were begun before, and whose upload is gone.
    pub earlier: u32,
}

/// Where reading goes on, after what has been appended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The lanes that are read, each with its cursor.
    pub open: Vec<OpenLane>,
    /// The next lane to open.
    pub next_lane: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLane {
    pub lane: u32,
    pub cursor: Option<Cursor>,
}

/// What of a lane has been appended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cursor {
    /// A record of a shard.
    Record(RecordId),
    /// So many ids of a change item.
    Change { stamp: Stamp, done: u32 },
}

impl ExportCheckpoint {
    #[must_use]
    pub fn new(plan: ExportPlan) -> Self {
        Self { v: VERSION, plan, files: Vec::new(), next_file: 0, open: None, is_chunked: false, restarts: 0 }
    }

    /// The checkpoint as this version can go on from it: the open file of another version is written anew.
    #[must_use]
    pub fn readable(self) -> Self {
        let open = self.open.filter(|_| self.v == VERSION);
        Self { v: VERSION, open, ..self }
    }

    /// Whether the file that is written is being put together: nothing more is read for it.
    #[must_use]
    pub fn is_assembling(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.assembly.is_some())
    }

    /// Records in the files so far.
    pub fn records(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, OpenFile::records_in_all);
        self.files.iter().map(|file| file.records).sum::<u64>() + open
    }

    /// Records in the files that are whole; deletions are none.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.files.iter().filter(|file| file.has_records()).map(|file| file.records).sum()
    }

    /// What the job tells of it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { total: self.plan.counted, processed: self.records(), ..Progress::default() }
    }

    /// Grows with every whole file, chunk, record and copied part, and with nothing else; falls when a file is begun anew.
    #[must_use]
    pub fn measure(&self) -> (u32, u32, u64, u32) {
        let open = self.open.as_ref();
        let copied = open.and_then(|open| open.assembly.as_ref()).map_or(0, |assembly| assembly.copied);
        (self.next_file, open.map_or(0, |open| open.chunks.count()), self.records(), copied)
    }
}

impl OpenFile {
    fn records_in_all(&self) -> u64 {
        self.records + self.tail.as_ref().map_or(0, |tail| tail.records)
    }
}

impl Position {
    /// Sets what of a lane has been appended last.
    pub fn set(&mut self, lane: u32, cursor: Option<Cursor>) {
        match self.open.iter_mut().find(|open| open.lane == lane) {
            Some(open) => open.cursor = cursor,
            None => self.open.push(OpenLane { lane, cursor }),
        }
    }

    /// How many lanes are read to their end, and how far the others are that are begun.
    #[must_use]
    pub fn reached(&self) -> (usize, Vec<OpenLane>) {
        let begun = self.open.iter().filter(|open| open.cursor.is_some()).cloned().collect();
        ((self.next_lane as usize).saturating_sub(self.open.len()), begun)
    }

    pub fn close(&mut self, lane: u32) {
        self.open.retain(|open| open.lane != lane);
    }
}
