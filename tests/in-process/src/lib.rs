//! What the tests of the functions' handlers share: the whole service on in-memory ports, the payloads
//! under `events/`, and answers in a form that reads well in a snapshot.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "helpers of tests"
)]

pub mod jobs;
pub mod network;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Authenticator, ExportStarter, ImportStarter, JobAcceptor, Uploader};
use engine::{ExportWorker, ImportWorker, JobDriver, JobWorker, Sweeper, Swept};
use http::{Fallback, Middleware};
use jiff::{SignedDuration, Timestamp};
use lambda_http::{Body, Request, Response};
use model::{ApiKey, ChunkSize, JobId, JobType, Partition, Plan, Scope, StoredKey, Tenant, Timings};
use ports::{Clock, IdSource, JobStore, KeyStore, UsageStore};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use testing::{Memory, MemoryClock, SeededIds};
use tokio::time::Instant;

/// The keys that the payloads under `events/` show.
pub const TEST_KEY: &str = "clk_test_EXAMPLEKEY000";

/// The job that the payloads under `events/` ask for.
pub const JOB_ID: &str = "job_01KF0G8B50ZZZZZZZZZZZZZZZZ";

/// When the tests' time begins.
pub const START: &str = "2026-01-15T09:15:00.000Z";

/// The whole service on in-memory ports, with two tenants and their keys.
pub struct Service {
    /// All stores and the queue.
    pub memory: Memory,
    /// The time; moves with tokio's.
    pub clock: Arc<MemoryClock>,
    ids: Arc<SeededIds>,
}

impl Service {
    /// A service at [`START`], with the keys of the payloads.
    pub async fn start() -> Self {
        let start: Timestamp = START.parse().unwrap();
        let service = Self {
            memory: Memory::new(),
            clock: Arc::new(MemoryClock::starting_at(start)),
            ids: Arc::new(SeededIds::new(1)),
        };
        for tenant in ["clinic-one", "clinic-two"] {
            service.tenant(tenant, Plan::Pro, 5).await;
        }
        let all = || vec![Scope::All];
        service.key(TEST_KEY, "clinic-one#test", all(), |_| {}).await;
        service.key("clk_live_EXAMPLEKEY000", "clinic-one#live", all(), |_| {}).await;
        service.key("clk_test_OTHERKEY00000", "clinic-two#test", all(), |_| {}).await;
        service.key("clk_test_READONLYKEY000", "clinic-one#test", vec![Scope::Read], |_| {}).await;
        service.key("clk_test_REVOKEDKEY000", "clinic-one#test", all(), |key| key.revoked_at = Some(start)).await;
        service.key("clk_test_EXPIREDKEY000", "clinic-one#test", all(), |key| key.expires_at = Some(start)).await;
        service
    }

    /// Adds a tenant, or changes it.
    pub async fn tenant(&self, id: &str, plan: Plan, bulk_operations_per_hour: u32) {
        let tenant = Tenant { id: id.parse().unwrap(), plan, bulk_operations_per_hour, overage: false };
        let before = self.memory.tenant(&tenant.id).await.unwrap();
        assert!(self.memory.save_tenant(&tenant, before.as_ref()).await.unwrap());
    }

    /// Adds a key, or changes it.
    pub async fn key(&self, key: &str, partition: &str, scopes: Vec<Scope>, change: impl FnOnce(&mut StoredKey)) {
        let mut stored = StoredKey {
            id: format!("key_{}", key.len()),
            hash: key.parse::<ApiKey>().unwrap().hash(),
            partition: partition.parse().unwrap(),
            scopes,
            created_at: self.clock.now(),
            expires_at: None,
            revoked_at: None,
        };
        change(&mut stored);
        let before = self.memory.find(&stored.hash).await.unwrap();
        assert!(self.memory.save(&stored, before.as_ref()).await.unwrap());
    }

    /// What stands before an endpoint; with nothing remembered.
    #[must_use]
    pub fn middleware(&self) -> Middleware {
        let memory = Arc::new(self.memory.clone());
        Middleware {
            authenticator: Authenticator::new(memory.clone(), memory.clone(), self.clock()),
            usage: memory,
            clock: self.clock(),
            ids: self.ids(),
            origins: Vec::new(),
        }
    }

    /// The routes without a key.
    #[must_use]
    pub fn fallback(&self) -> Fallback {
        Fallback { clock: self.clock(), ids: self.ids() }
    }

    /// What starts jobs of both types.
    #[must_use]
    pub fn acceptor(&self) -> JobAcceptor {
        let memory = Arc::new(self.memory.clone());
        JobAcceptor {
            acceptances: memory.clone(),
            jobs: memory.clone(),
            usage: memory.clone(),
            queue: memory,
            clock: self.clock(),
            ids: self.ids(),
            timings: Timings::default(),
            retention: Duration::from_hours(168),
        }
    }

    /// What starts imports.
    #[must_use]
    pub fn import_starter(&self) -> ImportStarter {
        ImportStarter { acceptor: self.acceptor(), objects: Arc::new(self.memory.clone()) }
    }

    /// What starts exports.
    #[must_use]
    pub fn export_starter(&self) -> ExportStarter {
        ExportStarter { acceptor: self.acceptor() }
    }

    /// What creates uploads.
    #[must_use]
    pub fn uploader(&self) -> Uploader {
        let memory = Arc::new(self.memory.clone());
        Uploader { usage: memory.clone(), signer: memory, clock: self.clock(), ids: self.ids() }
    }

    fn driver(&self) -> JobDriver {
        let memory = Arc::new(self.memory.clone());
        let timings = Timings::default();
        JobDriver {
            jobs: memory.clone(),
            queue: memory.clone(),
            files: memory,
            clock: self.clock(),
            ids: self.ids(),
            timings,
        }
    }

    /// What works on imports.
    #[must_use]
    pub fn import_worker(&self) -> ImportWorker {
        let memory = Arc::new(self.memory.clone());
        ImportWorker { driver: self.driver(), records: memory.clone(), objects: memory.clone(), multipart: memory }
    }

    /// What works on exports.
    #[must_use]
    pub fn export_worker(&self) -> ExportWorker {
        let memory = Arc::new(self.memory.clone());
        ExportWorker {
            driver: self.driver(),
            records: memory.clone(),
            objects: memory.clone(),
            multipart: memory,
            chunk_size: ChunkSize::default(),
        }
    }

    /// One sweep, with time enough.
    pub async fn sweep(&self) -> Swept {
        self.sweeper().sweep(Instant::now() + Duration::from_mins(1)).await
    }

    /// What redrives due jobs.
    #[must_use]
    pub fn sweeper(&self) -> Sweeper {
        let memory = Arc::new(self.memory.clone());
        let timings = Timings::default();
        Sweeper { jobs: memory.clone(), imports: memory.clone(), exports: memory, clock: self.clock(), timings }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn ids(&self) -> Arc<dyn IdSource> {
        self.ids.clone()
    }

    /// Works on all messages in the queues, and on those that come of it.
    pub async fn work(&self) {
        loop {
            let messages = self.memory.take_messages();
            if messages.is_empty() {
                return;
            }
            for (partition, id) in messages {
                let job = JobStore::get(&self.memory, &partition, &id, self.clock.now()).await.unwrap();
                let worker: Box<dyn JobWorker> = match job.map(|job| job.job_type()) {
                    Some(JobType::Export) => Box::new(self.export_worker()),
                    Some(JobType::Import) | None => Box::new(self.import_worker()),
                };
                let deadline = Instant::now() + Duration::from_mins(10);
                worker.deliver(&partition, &id, deadline).await.unwrap();
            }
        }
    }

    /// The moment `seconds` after [`START`].
    #[must_use]
    pub fn at(seconds: i64) -> Timestamp {
        START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All Rust files below a folder.
#[must_use]
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// The partition of [`TEST_KEY`].
#[must_use]
pub fn test_partition() -> Partition {
    "clinic-one#test".parse().unwrap()
}

/// The job of the payloads.
#[must_use]
pub fn job_id() -> JobId {
    JOB_ID.parse().unwrap()
}

/// A payload's text: `events/<function>/<name>.json`.
#[must_use]
pub fn payload(function: &str, name: &str) -> String {
    let events = root().join("events").join(function);
    std::fs::read_to_string(events.join(format!("{name}.json"))).expect("payload is there")
}

/// A payload of API Gateway as the handler gets it.
#[must_use]
pub fn request(function: &str, name: &str) -> Request {
    let event = serde_json::from_str(&payload(function, name)).expect("payload is of API Gateway");
    http::request_of(event).expect("payload's body is what it says")
}

/// Hands a payload of SQS to a processor of a service without jobs, and returns the ids of the messages that have to
/// come again.
pub async fn messages_to_retry(function: &str, name: &str) -> Vec<String> {
    let service = Service::start().await;
    let event = serde_json::from_str(&payload(function, name)).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let worker: Box<dyn JobWorker> = match function {
        "run-import" => Box::new(service.import_worker()),
        _ => Box::new(service.export_worker()),
    };
    let response = processor::handle(worker.as_ref(), event, deadline).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// An answer as a snapshot shows it: status, headers, body.
#[must_use]
pub fn shown(response: &Response<Body>) -> Value {
    let headers = response.headers().iter();
    let headers: Map<_, _> = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    json!({"status": response.status().as_u16(), "headers": headers, "body": body(response)})
}

/// An answer's body.
#[must_use]
pub fn body(response: &Response<Body>) -> Value {
    match response.body() {
        Body::Text(text) if text.is_empty() => Value::Null,
        Body::Text(text) => serde_json::from_str(text).expect("body is JSON"),
        other => panic!("body is text, not {other:?}"),
    }
}

/// For every payload of a function a test that its answer is the one of the snapshot, and one that no
/// payload is left out.
#[macro_export]
macro_rules! payload_tests {
    ($answer:path, $directory:literal, $($test:ident: $name:literal),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $test() {
            insta::assert_json_snapshot!($name, $answer($name).await);
        })*

        #[test]
        fn every_payload_has_a_test() {
            let tested = [$($name),*];
            for entry in std::fs::read_dir($directory).unwrap() {
                let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
                assert!(tested.contains(&name.as_str()), "{name}");
            }
        }
    };
}
