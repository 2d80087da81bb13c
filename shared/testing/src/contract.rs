//! What every implementation of the ports does: one list of behaviours, run by the in-memory ports and
//! by the AWS adapters, so that tests on memory say something about production.
//!
//! Each function panics when a behaviour is missing. They use partitions of their own, named by `seed`,
//! so that they can run against a store in use.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::missing_panics_doc,
    reason = "a suite of assertions"
)]

use jiff::Timestamp;
use model::{
    AssemblyState, Chunks, Compression, Cursor, Environment, ExportSpec, FileLayout, ImportSource, Job, JobId, JobSpec,
    Month, MultipartId, NewJob, ObjectKey, OpenFile, Partition, Pool, Position, RecordFormat, Reservation, SavedDigest,
    Stamp, Tail, Token, UploadId,
};
use ports::IdSource;
use records::{ResourceType, StoredLine};

use crate::memory::SeededIds;

mod jobs;
mod objects;
mod records_of;
mod usage;

pub use jobs::{Jobs, jobs};
pub use objects::{Objects, objects};
pub use records_of::{Records, records};
pub use usage::{keys, usage};

/// Things to work with that no other run of the suite has.
struct Fixture {
    ids: SeededIds,
    now: Timestamp,
    partition: Partition,
}

impl Fixture {
    fn new(seed: u64, now: Timestamp) -> Self {
        let ids = SeededIds::new(seed);
        let tenant = format!("contract-{:032x}", ids.random()).parse().unwrap();
        Self { ids, now, partition: Partition { tenant, environment: Environment::Test } }
    }

    /// The same tenant in the other environment.
    fn live(&self) -> Partition {
        Partition { environment: Environment::Live, ..self.partition.clone() }
    }

    fn later(&self, seconds: i64) -> Timestamp {
        self.now + jiff::SignedDuration::from_secs(seconds)
    }

    fn export_job(&self, requests: u64) -> Job {
        let resource_types = vec![ResourceType::Patient, ResourceType::Encounter];
        let spec = ExportSpec {
            resource_types,
            since: Some(self.later(-60)),
            files: FileLayout::PerType,
            compression: Compression::Gzip,
            format: RecordFormat::Flat,
        };
        self.job(requests, true, JobSpec::Export(spec))
    }

    /// A job whose records are still to be counted and reserved.
    fn import_job(&self, requests: u64) -> Job {
        let key = ObjectKey::upload(&self.partition, &UploadId::new(self.now, self.ids.random()));
        let source = ImportSource::Upload { key, etag: "\"tag\"".to_owned(), month_limit: None };
        self.job(
            requests,
            false,
            JobSpec::Import { resource_type: ResourceType::Patient, source, format: model::ImportFormat::Flat },
        )
    }

    fn job(&self, requests: u64, counted: bool, spec: JobSpec) -> Job {
        Job::new(NewJob {
            label: None,
            partition: self.partition.clone(),
            id: JobId::new(self.now, self.ids.random()),
            spec,
            total: 0,
            counted,
            reservation: Reservation { pool: Pool::Test, month: Month::of(self.now), requests },
            created_at: self.now,
            expires_at: self.later(7 * 86_400),
            due_at: self.later(300),
        })
    }

    fn patient(&self, id: &str, name: &str) -> StoredLine {
        self.patient_with_note(id, name, "")
    }

    fn patient_with_note(&self, id: &str, name: &str, note: &str) -> StoredLine {
        let schema = ResourceType::Patient.schema();
        let line = format!(r#"{{"id":"{id}","firstName":"{name}","lastName":"Contract","note":"{note}"}}"#);
        let record = schema.scan(line.as_bytes()).unwrap();
        record.into_stored(self.partition.tenant.as_str(), || unreachable!("the line has an id")).unwrap()
    }
}

/// An open file with all that one can have.
fn open_file(partition: &Partition, job: &JobId) -> OpenFile {
    let mut chunks = Chunks::default();
    for token in [1, 1, 2] {
        chunks.push(&Token::new(token));
    }
    let mut position = Position { open: Vec::new(), next_lane: 3 };
    position.set(0, None);
    position.set(1, "r-1".to_owned().try_into().ok().map(Cursor::Record));
    position.set(2, Some(Cursor::Change { stamp: Stamp::first_of(Timestamp::UNIX_EPOCH), done: 7 }));
    OpenFile {
        chunks,
        digest: SavedDigest("00".to_owned()),
        records: 40,
        bytes: 9 << 20,
        tail: Some(Tail { key: ObjectKey::import(partition, job), bytes: 3, records: 1 }),
        position,
        assembly: Some(AssemblyState {
            key: ObjectKey::import(partition, job),
            upload: MultipartId("upload-1".to_owned()),
            copied: 2,
            earlier: 1,
        }),
    }
}
