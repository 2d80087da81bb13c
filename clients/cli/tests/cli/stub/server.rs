//! HTTP/1.1, as much as the client speaks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Hook, KEY, LIVE_KEY, OTHER_KEY, Phase, State, Upload, error, jobs, success};

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// The connection is closed without an answer.
    pub(crate) drop: bool,
}

impl Reply {
    pub(crate) fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body, cut: None, drop: false }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string().into_bytes()).with("content-type", "application/json")
    }

    pub(crate) fn dropped() -> Self {
        Self { drop: true, ..Self::bytes(0, Vec::new()) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

pub(super) fn serve(stream: TcpStream, state: &Mutex<State>, hook: &Mutex<Option<Hook>>, host: &str) {
    stream.set_nodelay(true).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, &mut writer, state) {
        let ask = |phase| hook.lock().unwrap().as_mut().and_then(|hook| hook(&request, phase));
        let reply = ask(Phase::Before).unwrap_or_else(|| {
            let reply = {
                let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                state.requests.push(request.clone());
                answer(&request, &mut state, host)
            };
            ask(Phase::After).unwrap_or(reply)
        });
        if reply.drop || !write_reply(&mut writer, &reply) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, writer: &mut TcpStream, state: &Mutex<State>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    assert!(request.header("transfer-encoding").is_none(), "bodies have their length: {request:?}");
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    if request.header("expect") == Some("100-continue") {
        // As S3: a length that was not signed is refused before the body is sent.
        let is_signed = {
            let state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let upload = request.path.rsplit('/').next().and_then(|id| state.uploads.get(id));
            upload.is_some_and(|upload| upload.bytes == length as u64)
        };
        if !is_signed {
            let _ = writer.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return None;
        }
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn write_reply(writer: &mut TcpStream, reply: &Reply) -> bool {
    let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body)).is_ok() && reply.cut.is_none()
}

fn answer(request: &Request, state: &mut State, host: &str) -> Reply {
    if let Some(rest) = request.path.strip_prefix("/s3/") {
        assert!(request.header("x-api-key").is_none(), "our key went to another host: {request:?}");
        return storage(request, rest, state);
    }
    let Some(path) = request.path.strip_prefix("/stage/$default/v1/bulk") else {
        return error(404, "NOT_FOUND", "Not found", &[]);
    };
    match request.header("x-api-key") {
        Some(KEY | LIVE_KEY | OTHER_KEY) => {}
        Some(key) if key.ends_with("readonly") && request.method == "GET" => {}
        Some(key) if key.ends_with("readonly") => {
            return error(403, "INSUFFICIENT_SCOPE", "The key lacks the scope", &[]);
        }
        _ => return error(401, "INVALID_KEY", "Unknown key", &[]),
    }
    if request.method == "POST" {
        assert!(request.header("idempotency-key").is_some_and(|key| !key.is_empty()), "{request:?}");
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["limits"]) => success(200, &limits(state, request)),
        ("POST", ["uploads"]) => create_upload(request, state, host),
        ("POST", ["import"]) => jobs::start(request, state, "import"),
        ("POST", ["export"]) => jobs::start(request, state, "export"),
        ("GET", ["jobs"]) => jobs::list(query, state),
        ("GET", ["jobs", id]) => jobs::show(id, state),
        ("POST", ["jobs", id, "cancel"]) => jobs::cancel(id, state),
        ("DELETE", ["jobs", id]) => jobs::delete(id, state),
        ("GET", ["jobs", id, "files", name]) => match state.jobs.iter().find(|job| job.id == *id) {
            Some(job) if job.files.contains_key(*name) => Reply::bytes(307, Vec::new())
                .with("x-request-id", "req_stub")
                .with("location", &format!("{host}/s3/file/{id}/{name}?signature=secret")),
            _ => error(404, "NOT_FOUND", "Not found", &[]),
        },
        _ => error(404, "NOT_FOUND", "Not found", &[]),
    }
}

fn limits(state: &State, request: &Request) -> Value {
    let environment = if request.header("x-api-key") == Some(LIVE_KEY) { "live" } else { "test" };
    let tenant = if request.header("x-api-key") == Some(OTHER_KEY) { "other-clinic" } else { "clinic" };
    json!({"tenantId": tenant, "plan": "pro", "environment": environment,
        "bulkOperations": {"limit": 5, "remaining": state.operations_left.min(5), "resetSeconds": state.slot_in},
        "requestsPerMinute": {"limit": 1000, "remaining": 999, "resetSeconds": 60},
        "requestsPerMonth": {"limit": 600_000, "used": 10, "remaining": state.month_left, "resetAt": "2026-02-01T00:00:00Z"},
        "batch": {"maxRecords": 10_000, "maxBodyBytes": 4_500_000, "maxUploadBytes": 104_857_600}})
}

fn create_upload(request: &Request, state: &mut State, host: &str) -> Reply {
    let Some(bytes) = request.json()["bytes"].as_u64().filter(|bytes| *bytes > 0) else {
        return error(422, "VALIDATION_ERROR", "Validation failed", &["bytes: Required"]);
    };
    let id = state.new_id("upl");
    state.uploads.insert(id.clone(), Upload { bytes, content: None, used_by: None, is_expired: false });
    success(
        201,
        &json!({"uploadId": id, "uploadUrl": format!("{host}/s3/upload/{id}"), "expiresAt": "2026-01-15T10:00:00Z",
        "maxBytes": 104_857_600}),
    )
}

fn storage(request: &Request, rest: &str, state: &mut State) -> Reply {
    let rest = rest.split('?').next().unwrap();
    let parts: Vec<_> = rest.split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("PUT", ["upload", id]) => match state.uploads.get_mut(*id) {
            Some(upload) if upload.bytes == request.body.len() as u64 => {
                upload.content = Some(request.body.clone());
                Reply::bytes(200, Vec::new())
            }
            _ => Reply::bytes(403, Vec::new()),
        },
        ("GET", ["file", id, name]) => {
            let Some(job) = state.jobs.iter().find(|job| job.id == *id) else { return Reply::bytes(404, Vec::new()) };
            let mut content = job.files[*name].clone();
            if state.corrupt_downloads && !content.is_empty() {
                content[0] ^= 1;
            }
            let from = request
                .header("range")
                .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
            let mut reply = match from {
                Some(from) if from >= content.len() => return Reply::bytes(416, Vec::new()),
                Some(from) => Reply::bytes(206, content[from..].to_vec()),
                None => Reply::bytes(200, content),
            };
            reply.cut = state.cut_downloads.filter(|cut| *cut < reply.body.len());
            reply.with("etag", &format!("\"{id}-{name}\""))
        }
        _ => Reply::bytes(404, Vec::new()),
    }
}
