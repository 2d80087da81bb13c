//! Requests and answers: timeouts, retries, TLS.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy, Timeout};

use crate::error::{ApiError, BuildError, Refused, SHORTEST_WAIT};
use crate::key::Key;
use crate::proxy::{self, Direct};

/// How often a call is made before it counts as failed.
const ATTEMPTS: u32 = 5;
/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// The longest wait that is taken from a `Retry-After`: in an hour every limit but the month's has a free slot.
const LONGEST_RETRY_AFTER: u64 = 3600;
/// The store's answers are looked at so far.
const MAX_STORE_ANSWER: u64 = 4096;
/// A rate limit's wait that is obeyed here; a longer one is for people to know about.
const LONGEST_RATE_WAIT: Duration = Duration::from_mins(1);
/// Answers are small but for a page of jobs.
const MAX_ANSWER: u64 = 16 << 20;

/// How the API's request ids begin.
const REQUEST_ID: &str = "req_";

/// What is asked of the API at a path.
#[derive(Clone, Copy)]
pub(crate) enum Request<'a> {
    Get,
    Delete,
    /// The `Idempotency-Key` is the same over all attempts.
    Post {
        body: Option<&'a Value>,
        idempotency_key: &'a str,
    },
}

/// A success.
pub(crate) struct Answer {
    pub(crate) data: Value,
    pub(crate) retry_after: Option<Duration>,
}

/// The content of a file, or a part of it.
pub(crate) struct Body {
    pub(crate) reader: Box<dyn Read>,
    /// Where in the file it begins.
    pub(crate) from: u64,
    /// What the file is, to tell whether the next piece is of the same.
    pub(crate) tag: Option<String>,
}

pub(crate) struct Transport {
    https: Agent,
    http: Agent,
    /// For hosts that are reached without a proxy.
    direct: Agent,
    without_proxy: Direct,
    base: String,
    key: Key,
    /// Hears of every wait of five seconds and more.
    pub(crate) on_wait: Option<OnWait>,
}

/// What hears of a wait: why, and for how long.
pub(crate) type OnWait = Box<dyn Fn(&ApiError, Duration)>;

impl Transport {
    pub(crate) fn new(base: String, key: Key, product: &str) -> Result<Self, BuildError> {
        let tls = tls()?;
        let variable = |name: &str| std::env::var(name).ok();
        let agent = |proxy: Option<Proxy>| -> Agent {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                // A redirect must not carry our headers to another host: it is followed by hand.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(proxy)
                .tls_config(tls.clone())
                .user_agent(product)
                .timeout_connect(Some(Duration::from_secs(15)))
                .timeout_recv_response(Some(Duration::from_mins(1)))
                .timeout_per_read(Some(Duration::from_mins(1)))
                .timeout_per_write(Some(Duration::from_mins(1)))
                .build();
            config.into()
        };
        let [https, http] = ["https", "http"].map(|scheme| proxy::of_scheme(scheme, variable));
        let (https, http, direct) = (agent(https?), agent(http?), agent(None));
        Ok(Self { https, http, direct, without_proxy: Direct::of(variable), base, key, on_wait: None })
    }

    fn agent(&self, url: &str) -> &Agent {
        if self.without_proxy.includes(url) {
            &self.direct
        } else if url.starts_with("https:") {
            &self.https
        } else {
            &self.http
        }
    }

    /// Makes a call until it succeeds, or repeating it is of no use.
    pub(crate) fn call(&self, path: &str, request: Request<'_>) -> Result<Answer, ApiError> {
        self.with_retries(|| self.send(path, request).and_then(read))
    }

    /// Deletes something. That it is not found means that it is deleted, where it was seen before and an earlier try may
    /// have had its effect.
    pub(crate) fn delete(&self, path: &str, is_seen: bool) -> Result<(), ApiError> {
        let mut may_be_done = false;
        self.with_retries(|| match self.send(path, Request::Delete).and_then(read_deleted) {
            Err(error) if may_be_done && error.is_not_found() => Ok(()),
            answer => {
                may_be_done |= is_seen && answer.as_ref().is_err_and(ApiError::may_have_acted);
                answer
            }
        })
    }

    /// Where a call redirects to.
    pub(crate) fn redirect(&self, path: &str) -> Result<String, ApiError> {
        self.with_retries(|| {
            let response = self.send(path, Request::Get)?;
            match header(response.headers(), "location") {
                Some(location) if response.status() == StatusCode::TEMPORARY_REDIRECT && is_ours(&response) => {
                    self.check_link(location)?;
                    Ok(location.to_owned())
                }
                _ => {
                    let status = response.status().as_u16();
                    read(response).and(Err(ApiError::NotTheApi(status)))
                }
            }
        })
    }

    fn send(&self, path: &str, request: Request<'_>) -> Result<Response<ureq::Body>, ApiError> {
        let url = format!("{}{path}", self.base);
        let agent = self.agent(&url);
        let key = self.key.expose();
        let sent = match request {
            Request::Get => agent.get(&url).header("x-api-key", key).call(),
            Request::Delete => agent.delete(&url).header("x-api-key", key).call(),
            Request::Post { body, idempotency_key } => {
                let post = agent.post(&url).header("x-api-key", key).header("idempotency-key", idempotency_key);
                match body {
                    Some(body) => post.header("content-type", "application/json").send(body.to_string()),
                    None => post.send_empty(),
                }
            }
        };
        sent.map_err(|error| network(&error))
    }

    fn with_retries<T>(&self, mut attempt: impl FnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let (mut made, mut pause) = (0, FIRST_PAUSE);
        loop {
            let began = Instant::now();
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let took = began.elapsed();
            let wait = match error.slot_in() {
                Some(slot) if slot <= LONGEST_RATE_WAIT => slot,
                None if error.is_passing() => match &error {
                    ApiError::Refused(refused) => {
                        refused.retry_after.map_or(pause, |after| after.clamp(SHORTEST_WAIT, LONGEST_RATE_WAIT))
                    }
                    _ => pause,
                },
                _ => return Err(error),
            };
            made += 1;
            if made >= ATTEMPTS {
                return Err(error);
            }
            if let Some(on_wait) = self.on_wait.as_ref().filter(|_| wait + took >= Duration::from_secs(5)) {
                on_wait(&error, wait);
            }
            std::thread::sleep(jittered(wait));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A link of an API that is reached with TLS must have it too.
    fn check_link(&self, url: &str) -> Result<(), ApiError> {
        let is_secure = url.starts_with("https://") || !self.base.starts_with("https:");
        if is_secure { Ok(()) } else { Err(ApiError::InsecureLink) }
    }

    /// Puts a file to a pre-signed URL. Its length is signed, so it is stated and never streamed in chunks.
    pub(crate) fn put(&self, url: &str, mut file: &File) -> Result<(), ApiError> {
        self.check_link(url)?;
        self.with_retries(|| {
            file.rewind().map_err(|error| ApiError::Network(error.to_string()))?;
            // An early refusal must arrive as what it is, not as a broken pipe.
            let sent = self.agent(url).put(url).header("expect", "100-continue").send(file);
            let mut response = sent.map_err(|error| network(&error))?;
            let status = response.status().as_u16();
            if response.status().is_success() {
                return Ok(());
            }
            let answer = response.body_mut().with_config().limit(MAX_STORE_ANSWER).read_to_vec().unwrap_or_default();
            let code = store_code(&String::from_utf8_lossy(&answer));
            // Not a refusal: the connection was too slow for the store.
            let is_passing = matches!(status, 408 | 429 | 500..) || code == "RequestTimeout";
            if is_passing {
                Err(ApiError::Network(format!("the store answered the upload with HTTP {status} {code}")))
            } else {
                Err(ApiError::StoreRefused { status, code })
            }
        })
    }

    /// Reads a file behind a pre-signed URL from this byte on, as long as it is the one with this tag.
    pub(crate) fn download(&self, url: &str, from: u64, tag: Option<&str>) -> Result<Body, ApiError> {
        let mut get = self.agent(url).get(url);
        if from > 0 {
            get = get.header("range", format!("bytes={from}-"));
            if let Some(tag) = tag {
                get = get.header("if-match", tag);
            }
        }
        let response = get.call().map_err(|error| network(&error))?;
        let tag = header(response.headers(), "etag").map(str::to_owned);
        let from = match response.status().as_u16() {
            200 => 0,
            206 => from,
            status @ (400 | 403 | 404) => return Err(ApiError::Gone(status)),
            412 | 416 => return Err(ApiError::Changed),
            status => return Err(ApiError::Network(format!("the download was refused with HTTP {status}"))),
        };
        Ok(Body { reader: Box::new(response.into_body().into_reader()), from, tag })
    }
}

/// Trusts what the system trusts, or the authorities of `SSL_CERT_FILE` and no others.
fn tls() -> Result<TlsConfig, BuildError> {
    let roots = match std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()) {
        Some(file) => {
            let pem = std::fs::read(&file)?;
            let authorities = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let authorities: Vec<_> = authorities.collect();
            if authorities.is_empty() {
                return Err(BuildError::NoAuthority);
            }
            RootCerts::new_with_certs(&authorities)
        }
        None => RootCerts::PlatformVerifier,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build())
}

/// The code in the XML of an error of S3 (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn store_code(answer: &str) -> String {
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    code.map(|(code, _)| code).filter(is_code).unwrap_or_default().to_owned()
}

/// Reads an answer of the API.
fn read(mut response: Response<ureq::Body>) -> Result<Answer, ApiError> {
    let status = response.status();
    let seconds = header(response.headers(), "retry-after").and_then(|text| text.parse::<u64>().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)));
    let request_id = header(response.headers(), "x-request-id").unwrap_or_default().to_owned();
    let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(|error| network(&error))?;
    let foreign = || ApiError::NotTheApi(status.as_u16());
    let mut body: Value = serde_json::from_slice(&body).map_err(|_| foreign())?;
    if status.is_success() {
        let data = body.get_mut("data").map(Value::take).ok_or_else(foreign)?;
        return Ok(Answer { data, retry_after });
    }
    let text = |name| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // Every error of the API has its code; the gateway's own have none.
    if text("code").is_empty() {
        return Err(foreign());
    }
    let issues = body.get("issues").and_then(Value::as_array).into_iter().flatten();
    let issues = issues.filter_map(|issue| issue.get("diagnostics").and_then(Value::as_str)).map(str::to_owned);
    let message = match text("message") {
        message if message.is_empty() => status.canonical_reason().unwrap_or("refused").to_owned(),
        message => message,
    };
    let request_id = if request_id.is_empty() { text("requestId") } else { request_id };
    Err(ApiError::Refused(Box::new(Refused {
        status: status.as_u16(),
        code: text("code"),
        message,
        issues: issues.collect(),
        request_id,
        retry_after,
    })))
}

/// Reads the answer to a deletion: a 204 without a body, which the API's own header tells from that of somebody on the way.
fn read_deleted(response: Response<ureq::Body>) -> Result<(), ApiError> {
    let status = response.status();
    if status == StatusCode::NO_CONTENT && is_ours(&response) {
        return Ok(());
    }
    read(response).and(Err(ApiError::NotTheApi(status.as_u16())))
}

/// Whether the API itself has answered, and nobody on the way.
fn is_ours(response: &Response<ureq::Body>) -> bool {
    header(response.headers(), "x-request-id").is_some_and(|id| id.starts_with(REQUEST_ID))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What happened, without the URL: a pre-signed one is as good as a key.
fn network(error: &ureq::Error) -> ApiError {
    let reason = match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => "no connection in time".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "host not found".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::ConnectProxyFailed(_) => "the proxy refused the connection".to_owned(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Tls(reason) => format!("TLS: {reason}"),
        _ => "the connection broke".to_owned(),
    };
    ApiError::Network(reason)
}

/// Up to a quarter more, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0u8; 1];
    // Without random numbers everybody comes at the same time: no worse than before.
    let _ = getrandom::fill(&mut random);
    pause + pause.mul_f64(f64::from(random[0]) / 1024.0)
}
