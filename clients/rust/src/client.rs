//! One function for each call of the bulk API.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use ureq::http::Uri;

use crate::error::{ApiError, BuildError, SHORTEST_WAIT};
use crate::key::Key;
use crate::transport::{Request, Transport};
use crate::wire::{self, Job, Limits, Upload};

/// The most records of one import.
pub const MAX_BATCH_RECORDS: u64 = 10_000;

/// The longest time between two polls of a job, whatever the service says.
const LONGEST_POLL: Duration = Duration::from_mins(5);

/// The most bytes an upload is filled with: below the service's 104,857,600.
pub const MAX_BATCH_BYTES: u64 = 100_000_000;

/// A client of one service with one key. Its calls wait for their answers; those that may be repeated are, with pauses,
/// when the network or the service fails for a moment.
pub struct Client {
    pub(crate) transport: Transport,
}

/// A job as it is now, and when to ask again.
pub struct Polled {
    pub job: Job,
    /// The job as the service shows it.
    pub raw: Value,
    pub retry_after: Duration,
}

/// Without the job as the service shows it: signed URLs are as good as keys.
impl fmt::Debug for Polled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, raw: _, retry_after } = self;
        formatter.debug_struct("Polled").field("job", job).field("retry_after", retry_after).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the service at this base URL. Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`),
    /// authorities those of the system, or of `SSL_CERT_FILE`. `product` is who calls, for the `User-Agent`: `my-tool/1.0`.
    pub fn new(url: &str, key: Key, product: &str) -> Result<Self, BuildError> {
        Ok(Self { transport: Transport::new(base_url(url)?, key, product)? })
    }

    /// Tells of a try that has failed, where it and the wait for the next one take five seconds or more: why, and how long
    /// the wait is.
    #[must_use]
    pub fn on_wait(mut self, tell: impl Fn(&ApiError, Duration) + 'static) -> Self {
        self.transport.on_wait = Some(Box::new(tell));
        self
    }

    /// What the plan allows and what is left, and the same as the service shows it.
    pub fn limits(&self) -> Result<(Limits, Value), ApiError> {
        let raw = self.transport.call("/v1/bulk/limits", Request::Get)?.data;
        Ok((wire::parse(&raw)?, raw))
    }

    /// A job.
    pub fn job(&self, id: &str) -> Result<Polled, ApiError> {
        let answer = self.transport.call(&job_path(id, "")?, Request::Get)?;
        let retry_after = answer.retry_after.unwrap_or(SHORTEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_POLL);
        Ok(Polled { job: job_of(&answer.data, id)?, raw: answer.data, retry_after })
    }

    /// A page of jobs, newest first, and the cursor of the next one.
    pub fn jobs(&self, query: &[(&str, String)]) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let page = self.transport.call(&format!("/v1/bulk/jobs?{}", pairs.join("&")), Request::Get)?.data;
        let jobs = page.get("data").and_then(Value::as_array).cloned().ok_or(ApiError::Unreadable)?;
        let more = page.get("hasMore").and_then(Value::as_bool).unwrap_or(false);
        let cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned).filter(|_| more);
        let was = query.iter().find(|(name, _)| *name == "cursor").map(|(_, was)| was);
        // Whoever follows a cursor that does not move never ends.
        let moves = cursor.as_ref().is_some_and(|cursor| !cursor.is_empty() && Some(cursor) != was);
        if more && !moves { Err(ApiError::Unreadable) } else { Ok((jobs, cursor)) }
    }

    /// A job as a page of jobs shows it.
    pub fn parse_job(raw: &Value) -> Result<Job, ApiError> {
        wire::parse(raw)
    }

    /// Cancels a job; one that has ended stays as it is.
    pub fn cancel(&self, id: &str) -> Result<Value, ApiError> {
        let (path, key) = (job_path(id, "/cancel")?, new_key()?);
        let raw = self.transport.call(&path, Request::Post { body: None, idempotency_key: &key })?.data;
        job_of(&raw, id).map(|_| raw)
    }

    /// Deletes a job that has ended, and its files.
    pub fn delete(&self, id: &str) -> Result<(), ApiError> {
        let path = job_path(id, "")?;
        // Seen first: "not found" behind a lost answer then means that it is done, and not that it never was this key's. A key
        // that may only write sees nothing, and is told so.
        let is_seen = match self.job(id) {
            Err(ApiError::Refused(refused)) if refused.status == 403 => false,
            seen => seen.map(|_| true)?,
        };
        self.transport.delete(&path, is_seen)
    }

    /// Where to put so many bytes, exactly.
    pub fn create_upload(&self, bytes: u64) -> Result<Upload, ApiError> {
        let (body, key) = (json!({"bytes": bytes}), new_key()?);
        let post = Request::Post { body: Some(&body), idempotency_key: &key };
        wire::parse(&self.transport.call("/v1/bulk/uploads", post)?.data)
    }

    /// Starts an import or export, and returns its job. The same key never starts a second one.
    pub fn start(&self, path: &str, body: &Value, key: &str) -> Result<String, ApiError> {
        let answer = self.transport.call(path, Request::Post { body: Some(body), idempotency_key: key })?;
        answer.data.get("jobId").and_then(Value::as_str).map(str::to_owned).ok_or(ApiError::Unreadable)
    }

    /// Puts a whole file to a pre-signed URL.
    pub fn put(&self, url: &str, file: &std::fs::File) -> Result<(), ApiError> {
        self.transport.put(url, file)
    }

    /// Where a job's file is, for some minutes.
    pub(crate) fn file_link(&self, id: &str, name: &str) -> Result<String, ApiError> {
        self.transport.redirect(&job_path(id, &format!("/files/{}", encoded(name)))?)
    }
}

/// The base URL, without a slash at its end: `https` with a host, or `http` on this machine, since a key must not travel in
/// the clear.
pub fn base_url(url: &str) -> Result<String, BuildError> {
    let wrong = |message: &str| Err(BuildError::Url(message.to_owned()));
    let Ok(uri) = url.parse::<Uri>() else { return wrong("the base URL is not a URL: it begins with https://") };
    let host = uri.host().unwrap_or_default();
    let is_loopback = host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    let is_local = is_loopback || matches!(host, "localhost" | "[::1]");
    match uri.scheme_str() {
        _ if host.is_empty() || uri.query().is_some() => wrong("the base URL needs https:// and a host, and no query"),
        Some("https") => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") if is_local => Ok(url.trim_end_matches('/').to_owned()),
        _ => wrong("the base URL begins with https://, or with http:// where the service runs on this machine"),
    }
}

/// The job of this id that an answer shows.
fn job_of(raw: &Value, id: &str) -> Result<Job, ApiError> {
    let job: Job = wire::parse(raw)?;
    if job.id == id { Ok(job) } else { Err(ApiError::OtherJob) }
}

/// A key for one call: 128 random bits in hex.
pub fn new_key() -> Result<String, ApiError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|_| ApiError::Network("the system gives no random numbers".to_owned()))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
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

/// What is encoded. A comma is not: it stands between the values of a filter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',');

/// A value of a query or a segment of a path.
fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_travels_in_the_clear() {
        assert_eq!(base_url("https://api.example/base/").unwrap(), "https://api.example/base");
        assert!(base_url("http://127.0.0.1:4566/_aws/execute-api/x/$default").is_ok());
        for bad in [
            "http://api.example",
            "ftp://api.example",
            "api.example",
            "https://",
            "https://a/?b=c",
            "http://127.example@evil",
            "http://127.evil.example",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
