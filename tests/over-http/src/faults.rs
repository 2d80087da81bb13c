//! AWS with bad luck, for tests: what a test tells it to do wrong with an operation, it does, between the real
//! clients and the real network.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tokio::sync::Notify;

use aws::Aws;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The service refuses: too fast.
    Throttled,
    /// The service answers with a 500.
    ServerError,
    /// The service does not answer in time.
    TimedOut,
    /// The connection is cut before the call is sent.
    Cut,
    /// The call has its effect, and the answer is lost.
    AnswerLost,
    /// The answer's body breaks in its middle.
    BodyCut,
    /// The answer's body ends in its middle, as if it were whole.
    BodyEnds,
    /// The answer's body stands still in its middle, for ever.
    BodyStalls,
    /// The answer is of another range than was asked for: of objects alone.
    OtherRange,
    /// The answer is of another content than before: of objects alone.
    OtherETag,
    /// The answer is a 200 that holds an error: of copies and of completing uploads alone.
    ErrorInside,
    /// The call has its effect after 30 s.
    Hangs,
    /// Another transaction is at work on the same items: of writes to tables that transactions write to.
    Contended,
    /// The service answers that it has taken nothing: of `BatchWriteItem` alone.
    Unprocessed,
    /// The process dies before the call is sent: neither it nor any later one is ever made.
    Killed,
    /// The process dies when the call has had its effect.
    KilledAfter,
}

/// What goes wrong, and what was called.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    death: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// By operation: what goes wrong, and with how many calls.
    wrong: BTreeMap<String, (Fault, u32)>,
    /// What goes wrong with the call of this number, whatever it is.
    nth: Option<(u32, Fault)>,
    seen: BTreeSet<String>,
    calls: u32,
    hits: u32,
    is_dead: bool,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next `times` calls of an operation go wrong.
    pub fn inject(&self, operation: &str, fault: Fault, times: u32) {
        self.state().wrong.insert(operation.to_owned(), (fault, times));
    }

    /// Lets the call that follows after `calls` more go wrong, whatever it is.
    pub fn inject_after(&self, calls: u32, fault: Fault) {
        let mut state = self.state();
        state.nth = Some((state.calls + calls, fault));
    }

    /// Lets everything go well again; returns how many calls went wrong. The dead stay dead.
    #[must_use]
    pub fn lift(&self) -> u32 {
        let mut state = self.state();
        state.wrong.clear();
        state.nth = None;
        std::mem::take(&mut state.hits)
    }

    /// Forgets what was called so far.
    pub fn forget(&self) {
        let mut state = self.state();
        state.seen.clear();
        state.calls = 0;
    }

    /// How many calls were made so far, the SDK's own tries among them.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.state().calls
    }

    /// Returns when the process has died.
    pub async fn death(&self) {
        self.death.notified().await;
    }

    /// The operations that were called so far, as `PutItem clinik-bulk-jobs` or `UploadPart`.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.state().seen.iter().cloned().collect()
    }

    fn of(&self, operation: String) -> Option<Fault> {
        let mut state = self.state();
        if state.is_dead {
            return Some(Fault::Killed);
        }
        let number = state.calls;
        let fault = match state.wrong.get_mut(&operation) {
            Some((fault, times)) if *times > 0 => {
                *times -= 1;
                Some(*fault)
            }
            _ => state.nth.filter(|(nth, _)| *nth == number).map(|(_, fault)| fault),
        };
        state.hits += u32::from(fault.is_some());
        state.calls += 1;
        state.seen.insert(operation);
        state.is_dead = matches!(fault, Some(Fault::Killed | Fault::KilledAfter));
        fault
    }
}

/// AWS as the environment names it, with the faults before the network. Pauses between the SDK's own tries are short,
/// and the quota of retries is this connection's alone, as in a function: cases run side by side.
pub async fn aws_with(faults: &Faults) -> Aws {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let inner = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let client = SharedHttpClient::new(FaultyClient { inner, faults: faults.clone() });
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1));
    let config = aws_config::defaults(aws::behavior()).http_client(client).retry_config(retries);
    Aws::with_config(config.load().await, format!("connection {}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

#[derive(Debug)]
struct FaultyClient {
    inner: SharedHttpClient,
    faults: Faults,
}

impl HttpClient for FaultyClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnector { inner, faults: self.faults.clone() })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(fault) = self.faults.of(operation(&request)) else { return self.inner.call(request) };
        let answer = match fault {
            Fault::Throttled => Ok(throttled(&request)),
            Fault::ServerError => Ok(answer(500, "{}")),
            Fault::Contended => Ok(contended(&request)),
            Fault::TimedOut => Err(ConnectorError::timeout("as the test wants it".into())),
            Fault::Cut => Err(ConnectorError::io("as the test wants it".into())),
            Fault::Unprocessed => {
                Ok(answer(200, &json!({"UnprocessedItems": body(&request).get("RequestItems")}).to_string()))
            }
            Fault::ErrorInside => Ok(answer(
                200,
                "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>try again</Message></Error>",
            )),
            Fault::Hangs => {
                let call = self.inner.call(request);
                return HttpConnectorFuture::new(async move {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    call.await
                });
            }
            Fault::BodyCut | Fault::BodyEnds | Fault::BodyStalls | Fault::OtherRange | Fault::OtherETag => {
                let call = self.inner.call(request);
                return HttpConnectorFuture::new(async move { Ok(spoilt(call.await?, fault)) });
            }
            Fault::AnswerLost => {
                let call = self.inner.call(request);
                return HttpConnectorFuture::new(async move {
                    let _answer = call.await?;
                    Err(ConnectorError::io("as the test wants it".into()))
                });
            }
            Fault::Killed | Fault::KilledAfter => {
                let call = (fault == Fault::KilledAfter).then(|| self.inner.call(request));
                let death = self.faults.death.clone();
                return HttpConnectorFuture::new(async move {
                    if let Some(call) = call {
                        let _answer = call.await?;
                    }
                    death.notify_one();
                    std::future::pending().await
                });
            }
        };
        HttpConnectorFuture::ready(answer)
    }
}

/// An answer of which something is wrong behind its status.
fn spoilt(mut response: HttpResponse, fault: Fault) -> HttpResponse {
    match fault {
        Fault::OtherRange => {
            let range = response.headers().get("content-range").map(|range| range.replacen("bytes ", "bytes 9", 1));
            response.headers_mut().insert("content-range", range.unwrap_or_else(|| "bytes 9-9/10".to_owned()));
        }
        Fault::OtherETag => {
            response.headers_mut().insert("etag", "\"another\"");
        }
        _ => {
            let length = response.headers().get("content-length").and_then(|length| length.parse().ok());
            let left = length.unwrap_or(1_usize) / 2;
            return response.map(|inner| SdkBody::from_body_1_x(BrokenBody { inner, left, fault }));
        }
    }
    response
}

/// A body that is as it should be up to its middle.
struct BrokenBody {
    inner: SdkBody,
    /// Bytes that come before it breaks.
    left: usize,
    fault: Fault,
}

impl http_body::Body for BrokenBody {
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        if self.left == 0 {
            return match self.fault {
                Fault::BodyCut => Poll::Ready(Some(Err("connection broke, as the test wants it".into()))),
                Fault::BodyStalls => Poll::Pending,
                _ => Poll::Ready(None),
            };
        }
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        Poll::Ready(Some(Ok(frame.map_data(|mut data| {
            data.truncate(self.left);
            self.left -= data.len();
            data
        }))))
    }
}

fn answer(status: u16, body: &str) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap_or_else(|_| unreachable!("a status"));
    HttpResponse::new(status, SdkBody::from(body))
}

/// As each of the services says it.
fn throttled(request: &HttpRequest) -> HttpResponse {
    match request.headers().get("x-amz-target") {
        Some(target) if target.starts_with("DynamoDB") => {
            answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#)
        }
        Some(_) => answer(400, r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#),
        None => answer(503, "<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"),
    }
}

/// A transaction is cancelled for its last item, a write of one item is refused.
fn contended(request: &HttpRequest) -> HttpResponse {
    let body = body(request);
    let Some(items) = body.get("TransactItems").and_then(Value::as_array) else {
        return answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException"}"#);
    };
    let mut reasons = vec![json!({"Code": "None"}); items.len()];
    if let Some(last) = reasons.last_mut() {
        *last = json!({"Code": "TransactionConflict"});
    }
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    answer(400, &json!({"__type": kind, "CancellationReasons": reasons}).to_string())
}

fn body(request: &HttpRequest) -> Value {
    request.body().bytes().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null)
}

/// The name of an operation: of DynamoDB and SQS the header tells it, of S3 method and query.
fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        let name = target.rsplit('.').next().unwrap_or(target);
        let body = body(request);
        let tables =
            body.get("RequestItems").and_then(Value::as_object).and_then(|tables| tables.keys().next().cloned());
        let table = body.get("TableName").and_then(Value::as_str).map(str::to_owned).or(tables);
        return table.map_or(name.to_owned(), |table| format!("{name} {table}"));
    }
    let query = request.uri().split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let name = match request.method() {
        "PUT" if has("uploadId") => "UploadPartCopy",
        "PUT" => "PutObject",
        "POST" if has("uploads") => "CreateMultipartUpload",
        "POST" if has("delete") => "DeleteObjects",
        "POST" => "CompleteMultipartUpload",
        "DELETE" => "AbortMultipartUpload",
        "HEAD" => "HeadObject",
        _ if has("uploadId") => "ListParts",
        _ if has("uploads") => "ListMultipartUploads",
        _ if has("list-type") => "ListObjectsV2",
        _ => "GetObject",
    };
    name.to_owned()
}
