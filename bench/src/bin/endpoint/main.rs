//! What the benchmarks call in place of AWS: DynamoDB, S3 and SQS in one process on loopback, as little of
//! them as the workers and their peers use, and as fast as may be. It keeps records and files in memory,
//! counts calls, bytes and units, and can be slow or throttle like the real ones.
//!
//! `GET /_stats` shows the counts, `POST /_set?…` sets limits and resets them, `POST /_messages` takes the
//! messages out of the queue.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Everything that is kept, and counted.
#[derive(Default)]
struct State {
    tables: dynamodb::Tables,
    objects: s3::Objects,
    messages: Vec<String>,
    limits: Limits,
    stats: Stats,
}

/// How slow it is, and what it refuses.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// Write units that a partition key takes a second; 0 for any number.
    write_units: f64,
    /// What a batch write takes, in milliseconds.
    write_ms: u64,
    /// What a query takes, in milliseconds.
    query_ms: u64,
}

/// What has been done since the last reset.
#[derive(Debug, Clone, Default, Serialize)]
struct Stats {
    batch_writes: u64,
    items_written: u64,
    items_refused: u64,
    write_units: f64,
    counts: u64,
    queries: u64,
    read_units: f64,
    job_writes: u64,
    job_reads: u64,
    parts: u64,
    puts: u64,
    gets: u64,
    bytes_stored: u64,
    messages: u64,
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

    fn status(status: StatusCode) -> Self {
        Self { status, ..Self::new("") }
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

async fn answer(state: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let answer = match (head.uri.path(), target.split_once('.')) {
        ("/_stats", _) => Answer::new(serde_json::to_vec(&lock(&state).stats).unwrap_or_default()),
        ("/_messages", _) => {
            let messages = std::mem::take(&mut lock(&state).messages);
            Answer::new(serde_json::to_vec(&messages).unwrap_or_default())
        }
        ("/_set", _) => {
            let number = |name| parameter(query, name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
            let mut state = lock(&state);
            state.stats = Stats::default();
            state.limits = Limits {
                write_units: number("write_units").into(),
                write_ms: number("write_ms").into(),
                query_ms: number("query_ms").into(),
            };
            if parameter(query, "clear").is_some() {
                state.tables = dynamodb::Tables::default();
                state.objects = s3::Objects::default();
            }
            Answer::new("")
        }
        (_, Some(("AmazonSQS", _))) => {
            let mut state = lock(&state);
            state.stats.messages += 1;
            state.messages.push(String::from_utf8_lossy(&body).into_owned());
            Answer::new(r#"{"MessageId":"00000000-0000-0000-0000-000000000000","MD5OfMessageBody":""}"#)
        }
        (_, Some((_, operation))) => {
            let limits = lock(&state).limits;
            let wait = match operation {
                "BatchWriteItem" => limits.write_ms,
                "Query" => limits.query_ms,
                _ => 0,
            };
            if wait > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            }
            dynamodb::answer(&mut lock(&state), operation, &body)
        }
        (path, None) => s3::answer(&mut lock(&state), &head.method, path, query, body),
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
