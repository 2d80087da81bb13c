//! Where an export goes on: decided once, and moved on with every part that has arrived.

use std::fmt;

use jiff::Timestamp;
use records::{RecordId, ResourceType};
use serde::{Deserialize, Serialize};

use crate::files::{ObjectKey, Parts};
use crate::jobs::ResultFile;
use crate::ports::{MultipartId, Stamp};

/// Part numbers that one worker may have in use beyond the checkpoint; a takeover skips so many, since a zombie's
/// uploads may still arrive.
pub const MAX_PARTS_AHEAD: u32 = 16;

/// The form of a checkpoint. The saved digest can be read by this version of `sha2` only.
const VERSION: u32 = 1;

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
    /// That file, once parts of it have arrived.
    pub open: Option<OpenFile>,
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

/// A file of which parts have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenFile {
    pub key: ObjectKey,
    pub upload: MultipartId,
    /// The next part number.
    pub next_number: u32,
    pub(crate) parts: Parts,
    pub(super) position: Position,
    pub(super) digest: SavedDigest,
    /// Lines in the parts.
    pub records: u64,
    /// Bytes in the parts.
    pub bytes: u64,
    /// Whether the file is read to its end: nothing of it is read or uploaded again.
    pub is_whole: bool,
}

/// A digest's state, part of which may be text of a record: never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SavedDigest(pub(super) String);

impl fmt::Debug for SavedDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SavedDigest(…)")
    }
}

/// Where reading goes on, behind what has been appended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Position {
    /// The lanes that are read, each with its cursor.
    pub(super) open: Vec<OpenLane>,
    /// The next lane to open.
    pub(super) next_lane: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenLane {
    pub(super) lane: u32,
    pub(super) cursor: Option<Cursor>,
}

/// What of a lane has been appended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Cursor {
    /// A record of a shard.
    Record(RecordId),
    /// So many ids of a change item.
    Change { stamp: Stamp, done: u32 },
}

impl ExportCheckpoint {
    #[must_use]
    pub fn new(plan: ExportPlan) -> Self {
        Self { v: VERSION, plan, files: Vec::new(), next_file: 0, open: None }
    }

    /// The checkpoint as this version can go on from it: the open file of another version is written anew.
    pub(super) fn readable(self) -> Self {
        let open = self.open.filter(|_| self.v == VERSION);
        Self { v: VERSION, open, ..self }
    }

    /// Records in the files so far.
    pub(super) fn records(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.records);
        self.files.iter().map(|file| file.records).sum::<u64>() + open
    }
}

impl OpenFile {
    pub(crate) fn skip_part_numbers(&mut self) {
        self.next_number += MAX_PARTS_AHEAD;
    }
}

impl Position {
    /// Sets what of a lane has been appended last.
    pub(super) fn set(&mut self, lane: u32, cursor: Option<Cursor>) {
        match self.open.iter_mut().find(|open| open.lane == lane) {
            Some(open) => open.cursor = cursor,
            None => self.open.push(OpenLane { lane, cursor }),
        }
    }

    pub(super) fn close(&mut self, lane: u32) {
        self.open.retain(|open| open.lane != lane);
    }
}

/// An open file with all that one can have.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn open_file_for_tests(partition: &crate::identity::Partition, job: &crate::identity::JobId) -> OpenFile {
    let mut parts = Parts::default();
    parts.push(&crate::ports::UploadedPart { number: 1, etag: "\"tag\"".to_owned() });
    let mut position = Position { open: Vec::new(), next_lane: 3 };
    position.set(0, None);
    position.set(1, "r-1".to_owned().try_into().ok().map(Cursor::Record));
    position.set(2, Some(Cursor::Change { stamp: Stamp::first_of(Timestamp::UNIX_EPOCH), done: 7 }));
    OpenFile {
        key: ObjectKey::import(partition, job),
        upload: MultipartId("upload-1".to_owned()),
        next_number: 2,
        parts,
        position,
        digest: SavedDigest("00".to_owned()),
        records: 40,
        bytes: 9 << 20,
        is_whole: false,
    }
}
