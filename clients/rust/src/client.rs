//! The bulk API over HTTP: one function a call.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::files;
use crate::output::Output;
use crate::settings::Settings;

mod error;
mod proxy;
mod transport;
mod wire;

pub(crate) use error::{ApiError, Refused};
pub(crate) use transport::Body;
pub(crate) use wire::{Job, JobFile, JobStatus, Limits, Upload};

use transport::{Method, Request, Transport};

/// The batch and body limits of the contract.
pub(crate) const MAX_BATCH_RECORDS: u64 = 10_000;
/// The most bytes an upload is filled with: below the service's 104,857,600.
pub(crate) const MAX_BATCH_BYTES: u64 = 100_000_000;
/// The longest raw line that the service reads.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// A client with one key.
pub(crate) struct Api {
    transport: Transport,
}

/// A job as it is now, and when to ask again.
#[derive(Debug)]
pub(crate) struct Polled {
    pub(crate) job: Job,
    /// The job as the service shows it.
    pub(crate) raw: Value,
    pub(crate) retry_after: Duration,
}

impl Api {
    pub(crate) fn new(settings: &Settings, output: &Output) -> Result<Self> {
        Ok(Self { transport: Transport::new(settings, output)? })
    }

    pub(crate) fn limits(&self) -> Result<(Limits, Value), ApiError> {
        let raw = self.transport.call(&Request::get("/v1/bulk/limits"))?.data;
        Ok((wire::parse(&raw)?, raw))
    }

    pub(crate) fn job(&self, id: &str) -> Result<Polled, ApiError> {
        let answer = self.transport.call(&Request::get(&job_path(id, "")?))?;
        let retry_after = answer.retry_after.unwrap_or(Duration::from_secs(1));
        Ok(Polled { job: wire::parse(&answer.data)?, raw: answer.data, retry_after })
    }

    /// A page of jobs, newest first, and the cursor of the next one.
    pub(crate) fn jobs(&self, query: &[(&str, String)]) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let page = self.transport.call(&Request::get(&format!("/v1/bulk/jobs?{}", pairs.join("&"))))?.data;
        let jobs = page.get("data").and_then(Value::as_array).cloned().ok_or(ApiError::NotTheApi)?;
        let more = page.get("hasMore").and_then(Value::as_bool).unwrap_or(false);
        let cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned).filter(|_| more);
        Ok((jobs, cursor))
    }

    /// A job as a page of jobs shows it.
    pub(crate) fn parse_job(raw: &Value) -> Result<Job, ApiError> {
        wire::parse(raw)
    }

    pub(crate) fn cancel(&self, id: &str) -> Result<Value, ApiError> {
        let path = job_path(id, "/cancel")?;
        Ok(self.transport.call(&Request { method: Method::Post, path: &path, body: None, key: &new_key()? })?.data)
    }

    pub(crate) fn delete(&self, id: &str) -> Result<(), ApiError> {
        let path = job_path(id, "")?;
        self.transport.call(&Request { method: Method::Delete, path: &path, body: None, key: "" }).map(|_| ())
    }

    /// Where to put so many bytes, exactly.
    pub(crate) fn create_upload(&self, bytes: u64) -> Result<Upload, ApiError> {
        let answer = self.transport.call(&Request::post("/v1/bulk/uploads", &json!({"bytes": bytes}), &new_key()?))?;
        wire::parse(&answer.data)
    }

    /// Starts an import or export, and returns its job. The same key never starts a second one.
    pub(crate) fn start(&self, path: &str, body: &Value, key: &str) -> Result<String, ApiError> {
        let answer = self.transport.call(&Request::post(path, body, key))?;
        answer.data.get("jobId").and_then(Value::as_str).map(str::to_owned).ok_or(ApiError::NotTheApi)
    }

    /// Puts a whole file to a pre-signed URL.
    pub(crate) fn put(&self, url: &str, file: &std::fs::File) -> Result<(), ApiError> {
        self.transport.put(url, file)
    }

    /// A job's file from this byte on. `tag` is what an earlier piece of it was: another one starts over.
    pub(crate) fn file(&self, id: &str, name: &str, from: u64, tag: Option<&str>) -> Result<Body, ApiError> {
        let url = self.transport.redirect(&job_path(id, &format!("/files/{}", encoded(name)))?)?;
        self.transport.download(&url, from, tag)
    }

    /// Waits.
    pub(crate) fn sleep(duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A key for one call: 128 random bits in hex.
pub(crate) fn new_key() -> Result<String, ApiError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|_| ApiError::Network("the system gives no random numbers".to_owned()))?;
    Ok(files::hex_of(&random))
}

/// An id comes from a person or a file: it must not reach into another path.
fn job_path(id: &str, rest: &str) -> Result<String, ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.bytes().all(allowed) {
        Ok(format!("/v1/bulk/jobs/{id}{rest}"))
    } else {
        Err(ApiError::NoSuchJob)
    }
}

/// A value of a query or a segment of a path.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
