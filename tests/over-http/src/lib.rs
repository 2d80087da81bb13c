//! A client of the deployed service, for the tests over HTTP. `make test` starts a stack of its own and
//! says in the environment where it is; without one these tests fail and say so.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use ports::Clock;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub mod faults;
mod service;

pub use service::{Request, Service};

/// A setting of the stack under test.
#[must_use]
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test`"))
}

/// Trusts the stack's own authority, and no other.
fn trust() -> TlsConfig {
    let pem = std::fs::read(setting("SSL_CERT_FILE")).expect("the stack's authority can be read");
    let authority = Certificate::from_pem(&pem).expect("the stack's authority is a certificate");
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[authority]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}

/// An answer of the service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: HashMap<String, String>,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The `data` of a success.
    #[must_use]
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    /// The `code` of an error.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The job that was started.
    #[must_use]
    pub fn job_id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.data()["jobId"].as_str().unwrap().to_owned()
    }
}

/// A client with one key.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    key: String,
}

impl Client {
    /// A client with the key that the environment names: `API_KEY` and its like.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::with_key(&setting(name))
    }

    /// A client with this key.
    #[must_use]
    pub fn with_key(key: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_mins(1)));
        Self { agent: config.tls_config(trust()).build().into(), base: setting("API_URL"), key: key.to_owned() }
    }

    /// A client of a new tenant with these limits, and its key.
    #[must_use]
    pub fn of_new_tenant(name: &str, limits: &[&str]) -> Self {
        let tenant = format!("{name}-{:x}", std::process::id());
        let _created = admin(&[&["tenant", "create", &tenant], limits].concat());
        Self::with_key(admin(&["key", "create", &tenant])["key"].as_str().unwrap())
    }

    /// The client's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sends a body as JSON, with further headers.
    #[must_use]
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("x-api-key", &self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    /// Sends a JSON body.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Creates an upload of so many bytes.
    #[must_use]
    pub fn create_upload(&self, bytes: usize) -> Answer {
        self.post("/v1/bulk/uploads", &json!({"bytes": bytes}))
    }

    /// Creates an upload of this content, and puts it there.
    #[must_use]
    pub fn uploaded(&self, content: &[u8]) -> Value {
        let created = self.create_upload(content.len());
        assert_eq!(created.status, 201, "{created:?}");
        let upload = created.data();
        assert_eq!(self.put(upload["uploadUrl"].as_str().unwrap(), content), 200);
        upload
    }

    /// Cancels a job.
    #[must_use]
    pub fn cancel(&self, id: &str) -> Answer {
        self.post_with(&format!("/v1/bulk/jobs/{id}/cancel"), &[], b"")
    }

    /// Deletes a job.
    #[must_use]
    pub fn delete(&self, id: &str) -> Answer {
        read(self.agent.delete(format!("{}/v1/bulk/jobs/{id}", self.base)).header("x-api-key", &self.key).call())
    }

    /// Asks with the client's key. A redirect is an answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        read(self.agent.get(format!("{}{path}", self.base)).header("x-api-key", &self.key).call())
    }

    /// Fetches a URL as it is, without a key.
    #[must_use]
    pub fn fetch(&self, url: &str) -> Answer {
        read(self.agent.get(url).call())
    }

    /// Puts bytes to a URL as it is, and returns the status.
    #[must_use]
    pub fn put(&self, url: &str, bytes: &[u8]) -> u16 {
        read(self.agent.put(url).send(bytes)).status
    }

    /// Starts an import.
    #[must_use]
    pub fn import(&self, resource_type: &str, data: &str) -> Answer {
        self.post("/v1/bulk/import", &json!({"resourceType": resource_type, "data": data}))
    }

    /// Starts an export.
    #[must_use]
    pub fn export(&self, types: &[&str], since: Option<&str>) -> Answer {
        let mut body = json!({"resourceTypes": types});
        if let Some(since) = since {
            body["since"] = since.into();
        }
        self.post("/v1/bulk/export", &body)
    }

    /// Asks for a job.
    #[must_use]
    pub fn job(&self, id: &str) -> Answer {
        self.get(&format!("/v1/bulk/jobs/{id}"))
    }

    /// Polls until a job has ended, and returns its last state.
    #[must_use]
    pub fn ended(&self, id: &str) -> Value {
        let start = Instant::now();
        let mut processed = 0;
        loop {
            let answer = self.job(id);
            assert_eq!(answer.status, 200, "{answer:?}");
            let job = answer.data();
            let now = job["processedRecords"].as_u64().unwrap();
            assert!(now >= processed, "progress went back: {job}");
            processed = now;
            match job["status"].as_str().unwrap() {
                "completed" | "failed" => return job,
                "pending" | "processing" => assert!(answer.headers.contains_key("retry-after")),
                other => panic!("unknown status {other}"),
            }
            assert!(start.elapsed() < Duration::from_mins(2), "job does not end: {job}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Imports, and waits for the job's end.
    #[must_use]
    pub fn imported(&self, resource_type: &str, data: &str) -> Value {
        self.ended(&self.import(resource_type, data).job_id())
    }

    /// Exports, waits for the job's end, and downloads the file.
    #[must_use]
    pub fn exported(&self, types: &[&str], since: Option<&str>) -> (Value, String) {
        let job = self.ended(&self.export(types, since).job_id());
        assert_eq!(job["status"], "completed", "{job}");
        let file = self.fetch(job["downloadUrl"].as_str().unwrap());
        assert_eq!(file.status, 200, "{file:?}");
        (job, file.text)
    }
}

fn read(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = sent.expect("the service answers");
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string().expect("the body is text");
    Answer { status, headers, text }
}

/// Calls the operator's command line and returns what it prints.
#[must_use]
pub fn admin(arguments: &[&str]) -> Value {
    let done = Command::new(setting("CLINIK_BULK_ADMIN")).args(["--output", "json"]).args(arguments).output();
    let done = done.expect("clinik-bulk-admin runs");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("clinik-bulk-admin prints JSON")
}

/// A deadline that no sweep of these tests meets.
#[must_use]
pub fn in_a_minute() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_mins(1)
}

/// Sweeps every second until told to stop, so that a test need not wait for the deployed sweeper's minutes.
pub fn sweep_until(stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::new().await;
        let sweeper = service.deployed_sweeper();
        while !stop.load(Ordering::Relaxed) {
            // What fails is found again a second later.
            let _swept = sweeper.sweep(in_a_minute()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Runs a script of boto3 against the stack: what an operator does to roles and queues.
pub fn boto3(script: &str) {
    let _said = python(&["-c", script]);
}

/// Something that the running stack holds.
#[derive(Debug, Deserialize)]
pub struct Evidence {
    /// Where it was found: `log …`, `metric`, `table …`, `queue …`, `name …` or `file …`.
    #[serde(rename = "where")]
    pub whence: String,
    /// What was found there.
    pub text: String,
}

/// Everything that the running stack holds, of these kinds (`logs`, `metrics`, `tables`, `queues`, `files`) or of all.
#[must_use]
pub fn evidence(kinds: &[&str]) -> Vec<Evidence> {
    let arguments = [&["local/evidence.py"], kinds].concat();
    python(&arguments).lines().map(|line| serde_json::from_str(line).expect("evidence")).collect()
}

fn python(arguments: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut python = Command::new(format!("{root}/.venv/bin/python"));
    let done = python.args(arguments).current_dir(root).output().expect("Python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// A clock that is wrong by so much.
pub struct Skewed(pub SignedDuration);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        runtime::SystemClock.now() + self.0
    }
}
