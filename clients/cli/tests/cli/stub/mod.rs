//! A small bulk API in memory, on a port of this machine: what the contract says of jobs, uploads, files and limits.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

mod jobs;
mod server;

pub(crate) use jobs::Job;
pub(crate) use server::{Reply, Request};

pub(crate) const KEY: &str = "clk_test_0123456789abcdef";
/// A key of another tenant.
pub(crate) const OTHER_KEY: &str = "clk_test_anothertenant";
pub(crate) const LIVE_KEY: &str = "clk_live_0123456789abcdef";

/// When a hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The request has arrived, and nothing has been done.
    Before,
    /// All has been done, and the answer is about to be sent.
    After,
}

/// Answers instead of the stub, or `None` to let it go on.
pub(crate) type Hook = Box<dyn FnMut(&Request, Phase) -> Option<Reply> + Send>;

pub(crate) struct Upload {
    pub(crate) bytes: u64,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) used_by: Option<String>,
    pub(crate) is_expired: bool,
}

/// All that the service knows.
pub(crate) struct State {
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// Those that a start does not find any more; jobs still read them.
    pub(crate) forgotten_uploads: BTreeMap<String, Upload>,
    pub(crate) jobs: Vec<Job>,
    /// By `Idempotency-Key`: the body, and the job.
    pub(crate) starts: BTreeMap<String, (String, String)>,
    /// Stored records by type and id, and how often each was written.
    pub(crate) records: BTreeMap<(String, String), (String, u32)>,
    pub(crate) requests: Vec<Request>,
    pub(crate) operations_left: u32,
    /// Seconds to the next slot, told with a 429.
    pub(crate) slot_in: u64,
    pub(crate) month_used_up: bool,
    /// What limits tell of the month.
    pub(crate) month_left: u64,
    /// How often a job is polled before it ends.
    pub(crate) polls: u32,
    /// What the next job fails with.
    pub(crate) fail_with: Option<String>,
    /// Bytes after which a download breaks off; each piece is that long.
    pub(crate) cut_downloads: Option<usize>,
    /// A byte is changed in every download.
    pub(crate) corrupt_downloads: bool,
    /// The hashes of files are told in capitals.
    pub(crate) capital_hashes: bool,
    /// How many records files are said to hold, instead of how many they do.
    pub(crate) claimed_records: Option<u64>,
    /// Also when a record is put here.
    pub(crate) transaction_time: String,
    /// What exports with `since` name as deleted, by type and id.
    pub(crate) deleted: Vec<(String, String)>,
    next: u32,
}

pub(crate) struct Stub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Stub {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A base URL with a path, as a stage of API Gateway has.
        let url = format!("http://{}/stage/$default", listener.local_addr().unwrap());
        let state = State {
            uploads: BTreeMap::new(),
            forgotten_uploads: BTreeMap::new(),
            jobs: Vec::new(),
            starts: BTreeMap::new(),
            records: BTreeMap::new(),
            requests: Vec::new(),
            operations_left: 100,
            slot_in: 3600,
            month_used_up: false,
            month_left: 599_990,
            polls: 0,
            fail_with: None,
            cut_downloads: None,
            corrupt_downloads: false,
            capital_hashes: false,
            claimed_records: None,
            transaction_time: "2026-01-15T09:00:00Z".to_owned(),
            deleted: Vec::new(),
            next: 0,
        };
        let stub = Self { url, state: Arc::new(Mutex::new(state)), hook: Arc::default() };
        let (state, hook, host) = (stub.state.clone(), stub.hook.clone(), stub.host());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, hook, host) = (state.clone(), hook.clone(), host.clone());
                std::thread::spawn(move || server::serve(stream.unwrap(), &state, &hook, &host));
            }
        });
        stub
    }

    fn host(&self) -> String {
        self.url.split_once("/stage").unwrap().0.to_owned()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn on_request(&self, hook: impl FnMut(&Request, Phase) -> Option<Reply> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub(crate) fn no_hook(&self) {
        *self.hook.lock().unwrap() = None;
    }

    /// How often a call was made.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        state.requests.iter().filter(|request| request.method == method && request.path.contains(path)).count()
    }

    pub(crate) fn clear_requests(&self) {
        self.state().requests.clear();
    }

    /// Puts a record into the store.
    pub(crate) fn put(&self, resource_type: &str, id: &str, name: &str) {
        let at = self.state().transaction_time.clone();
        let meta = json!({"lastUpdated": at});
        let line = json!({"resourceType": resource_type, "id": id, "firstName": name, "lastName": "Doe", "meta": meta});
        let line = line.to_string();
        // As exports write it: the type comes first.
        let line = line.replacen(&format!(",\"resourceType\":\"{resource_type}\""), "", 1);
        let line = line.replacen('{', &format!("{{\"resourceType\":\"{resource_type}\","), 1);
        self.state().records.insert((resource_type.to_owned(), id.to_owned()), (line, 1));
    }

    /// Deletes a record as an operator does.
    pub(crate) fn delete(&self, resource_type: &str, id: &str) {
        let key = (resource_type.to_owned(), id.to_owned());
        self.state().records.remove(&key).unwrap();
        self.state().deleted.push(key);
    }
}

impl State {
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{:06}", self.next)
    }
}

/// An error of the contract's shape.
pub(crate) fn error(status: u16, code: &str, message: &str, issues: &[&str]) -> Reply {
    let issues: Vec<_> =
        issues.iter().map(|issue| json!({"severity": "error", "code": "invalid", "diagnostics": issue})).collect();
    let mut body = json!({"error": message, "message": message, "code": code, "requestId": "req_stub"});
    if !issues.is_empty() {
        body["issues"] = json!(issues);
        body["issue"] = json!(issues);
    }
    Reply::json(status, &body).with("x-request-id", "req_stub")
}

pub(crate) fn success(status: u16, data: &Value) -> Reply {
    Reply::json(status, &json!({"data": data, "meta": {"requestId": "req_stub"}})).with("x-request-id", "req_stub")
}
