//! What the benchmarks call in place of AWS: DynamoDB, S3 and SQS in one process on loopback, as little of
//! them as the workers and their peers use, and as fast as may be. It keeps records and files in memory,
//! counts calls, bytes and units, and can be slow, throttle or fail like the real ones.
//!
//! `GET /_stats` shows the counts, `POST /_set?…` sets limits and a fault and resets the counts,
//! `POST /_messages` takes the messages out of the queue.

use std::io::{Error, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;

mod dynamodb;
mod s3;

/// How long a call waits that is not answered: longer than any client does.
const NEVER: Duration = Duration::from_mins(1);

/// Everything that is kept, and counted.
#[derive(Default)]
struct State {
    tables: dynamodb::Tables,
    objects: s3::Objects,
    messages: Vec<String>,
    limits: Limits,
    fault: Option<Fault>,
    stats: Stats,
}

/// How slow it is, and what it refuses.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Write units that a partition key takes a second; 0 for any number.
    write_units: f64,
    /// Read units that a partition key gives a second; 0 for any number.
    read_units: f64,
    /// What a write of records takes.
    write_time: Duration,
    /// What a query or look-up takes.
    query_time: Duration,
    /// When these limits were set: every bucket was empty then.
    since: Instant,
}

impl Default for Limits {
    fn default() -> Self {
        let (write_time, query_time) = (Duration::ZERO, Duration::ZERO);
        Self { write_units: 0.0, read_units: 0.0, write_time, query_time, since: Instant::now() }
    }
}

/// One write of records that fails.
#[derive(Debug)]
struct Fault {
    /// So many writes from now on, that one included.
    countdown: u64,
    kind: FaultKind,
}

#[derive(Debug, Clone, Copy)]
enum FaultKind {
    /// The connection ends without an answer.
    Reset,
    /// A 500.
    ServerError,
    /// No answer, for longer than any client waits.
    Timeout,
    /// All of it is refused for now.
    Throttle,
}

impl Fault {
    /// Reads `<n>,<kind>`.
    fn parse(text: &str) -> Option<Self> {
        let (countdown, kind) = text.split_once(',')?;
        let kind = match kind {
            "reset" => FaultKind::Reset,
            "500" => FaultKind::ServerError,
            "timeout" => FaultKind::Timeout,
            "throttle" => FaultKind::Throttle,
            _ => return None,
        };
        Some(Self { countdown: countdown.parse().ok().filter(|countdown| *countdown > 0)?, kind })
    }
}

/// What has been done since the last reset; and what is kept now.
#[derive(Debug, Clone, Default, Serialize)]
struct Stats {
    /// Calls of `BatchWriteItem`, and the records in them.
    batch_writes: u64,
    items_written: u64,
    items_refused: u64,
    write_units: f64,
    /// Calls of `PutItem` with change items.
    change_puts: u64,
    change_puts_refused: u64,
    change_units: f64,
    /// Writes of records that were made to fail.
    faults: u64,
    /// Queries that only count, by `Select`.
    counts: u64,
    count_units: f64,
    /// Queries of records, the bytes of the items they read, and those that were throttled, counts included.
    queries: u64,
    query_bytes: usize,
    queries_refused: u64,
    /// Queries of change logs.
    log_queries: u64,
    /// Calls of `BatchGetItem`, the keys in them, and those that were left out of the answer.
    batch_gets: u64,
    keys_asked: u64,
    keys_unprocessed: u64,
    /// Of queries and look-ups of the records table; counts have their own.
    read_units: f64,
    job_writes: u64,
    job_reads: u64,
    parts: u64,
    part_lists: u64,
    puts: u64,
    gets: u64,
    bytes_stored: usize,
    messages: u64,
    /// Bytes of all items that are kept now, as DynamoDB counts them.
    record_bytes: usize,
    change_bytes: usize,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer: status, headers, body.
struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    fn new(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: body.into() }
    }

    fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The value of a query parameter.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

fn set(state: &mut State, query: &str) {
    let number = |name| parameter(query, name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    if parameter(query, "clear").is_some() {
        state.tables = dynamodb::Tables::default();
        state.objects = s3::Objects::default();
    }
    state.stats = Stats::default();
    state.limits = Limits {
        write_units: number("write_units").into(),
        read_units: number("read_units").into(),
        write_time: Duration::from_millis(number("write_ms").into()),
        query_time: Duration::from_millis(number("query_ms").into()),
        since: Instant::now(),
    };
    state.fault = parameter(query, "fault").and_then(Fault::parse);
}

fn stats(state: &State) -> Stats {
    let (record_bytes, change_bytes) = state.tables.bytes();
    Stats { record_bytes, change_bytes, ..state.stats.clone() }
}

/// The fault of this write of records, if it is the one to fail.
fn fault(state: &mut State) -> Option<FaultKind> {
    let fault = state.fault.as_mut()?;
    fault.countdown -= 1;
    if fault.countdown > 0 {
        return None;
    }
    state.stats.faults += 1;
    state.fault.take().map(|fault| fault.kind)
}

/// An error ends the connection without an answer.
async fn answer_dynamodb(state: &Shared, operation: &str, body: &[u8]) -> Result<Answer, Error> {
    let (wait, fault) = {
        let mut state = lock(state);
        let limits = state.limits;
        match operation {
            "BatchWriteItem" => (limits.write_time, fault(&mut state)),
            "PutItem" if dynamodb::is_put_of_records(body) => (limits.write_time, fault(&mut state)),
            "Query" | "BatchGetItem" => (limits.query_time, None),
            _ => (Duration::ZERO, None),
        }
    };
    if wait > Duration::ZERO {
        tokio::time::sleep(wait).await;
    }
    match fault {
        None => Ok(dynamodb::answer(&mut lock(state), operation, body)),
        Some(FaultKind::Reset) => Err(ErrorKind::ConnectionReset.into()),
        Some(FaultKind::Timeout) => {
            tokio::time::sleep(NEVER).await;
            Err(ErrorKind::TimedOut.into())
        }
        Some(FaultKind::ServerError) => {
            let refusal = dynamodb::refusal("InternalServerError");
            Ok(refusal.with_status(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Some(FaultKind::Throttle) => Ok(dynamodb::refusal("ProvisionedThroughputExceededException")),
    }
}

async fn answer(state: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let header = |name: &'static str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let target = header("x-amz-target").unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let answer = match (head.uri.path(), target.split_once('.')) {
        ("/_stats", _) => Answer::new(serde_json::to_vec(&stats(&lock(&state))).unwrap_or_default()),
        ("/_messages", _) => {
            let messages = std::mem::take(&mut lock(&state).messages);
            Answer::new(serde_json::to_vec(&messages).unwrap_or_default())
        }
        ("/_set", _) => {
            set(&mut lock(&state), query);
            Answer::new("")
        }
        (_, Some(("AmazonSQS", _))) => {
            let mut state = lock(&state);
            state.stats.messages += 1;
            state.messages.push(String::from_utf8_lossy(&body).into_owned());
            Answer::new(r#"{"MessageId":"00000000-0000-0000-0000-000000000000","MD5OfMessageBody":""}"#)
        }
        (_, Some((_, operation))) => answer_dynamodb(&state, operation, &body).await?,
        (path, None) => {
            let request = s3::Request {
                path,
                query,
                range: header("range"),
                if_match: header("if-match"),
                copy_source: header("x-amz-copy-source"),
            };
            s3::answer(&mut lock(&state), &head.method, &request, body)
        }
    };
    let mut response = Response::builder().status(answer.status).header("x-amz-request-id", "0");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if head.method == Method::HEAD { Bytes::new() } else { answer.body };
    Ok(response.body(Full::new(body)).unwrap_or_default())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let state = Shared::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            // A client that goes away ends its connection: nothing to tell.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
