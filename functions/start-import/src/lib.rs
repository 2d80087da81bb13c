//! `POST /v1/bulk/import`: checks the call, counts its lines, and starts an import.

use bytes::Bytes;
use domain::{Fingerprint, Scope, Starter, UploadId, Work};
use edge::http::{ApiError, Call, Endpoint, Governor, Issue, JsonBody, Reply, Request, start};
use ndjson::LineCounter;
use records::ResourceType;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most records of one batch.
pub const MAX_RECORDS: u64 = 10_000;

/// The endpoint.
pub struct StartImport {
    /// Starts jobs.
    pub starter: Starter,
}

/// The body, before it is judged: every member may be anything, so that all faults are found at once.
/// The data stays as it came until it is known to be a string, since it may be megabytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportRequest<'a> {
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    upload_id: Option<&'a RawValue>,
}

impl Endpoint for StartImport {
    const SCOPE: Scope = Scope::Write;
    const GOVERNOR: Governor = Governor::Bulk;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let work = judge(&body.parse()?)?;
        let fingerprint = Fingerprint::of("POST", "/v1/bulk/import", body.bytes());
        start(&self.starter, call, request, work, fingerprint, "Import job started").await
    }
}

fn judge(request: &ImportRequest<'_>) -> Result<Work, ApiError> {
    let mut issues = Vec::new();
    let resource_type = judge_type(request.resource_type, &mut issues);
    let work = match (given(request.data), given(request.upload_id)) {
        (None, Some(upload)) => {
            let upload = judge_upload(upload, &mut issues);
            resource_type.zip(upload).map(|(resource_type, upload)| Work::ImportUpload { resource_type, upload })
        }
        (data, upload) => {
            if upload.is_some() {
                issues.push(Issue::new("uploadId", "Must not stand beside data"));
            }
            let data = judge_data(data, &mut issues);
            resource_type.zip(data).map(|(resource_type, (data, lines))| Work::Import { resource_type, data, lines })
        }
    };
    work.filter(|_| issues.is_empty()).ok_or_else(|| ApiError::validation(issues))
}

/// A member that is there and not null.
fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

fn judge_upload(raw: &RawValue, issues: &mut Vec<Issue>) -> Option<UploadId> {
    let id = text("uploadId", Some(raw), issues)?.parse().ok();
    if id.is_none() {
        issues.push(Issue::new("uploadId", "Must be an upload of yours, unused and not expired"));
    }
    id
}

/// A member's text; an issue when it is missing or something else.
fn text(name: &str, raw: Option<&RawValue>, issues: &mut Vec<Issue>) -> Option<String> {
    let rule = match raw.map(RawValue::get) {
        None | Some("null") => "Required",
        Some(raw) => match serde_json::from_str(raw) {
            Ok(text) => return Some(text),
            Err(_) => "Expected string",
        },
    };
    issues.push(Issue::new(name, rule));
    None
}

fn judge_type(raw: Option<&RawValue>, issues: &mut Vec<Issue>) -> Option<ResourceType> {
    let name = text("resourceType", raw, issues)?;
    let known = name.parse().ok();
    if known.is_none() {
        issues.push(Issue::new("resourceType", "Unknown resource type"));
    }
    known
}

fn judge_data(raw: Option<&RawValue>, issues: &mut Vec<Issue>) -> Option<(Bytes, u64)> {
    let data = text("data", raw, issues)?;
    let lines = count_lines(data.as_bytes());
    let rule = match lines {
        0 => "Must not be empty".to_owned(),
        1..=MAX_RECORDS => return Some((Bytes::from(data), lines)),
        _ => format!("Must have at most {MAX_RECORDS} records"),
    };
    issues.push(Issue::new("data", &rule));
    None
}

/// How many lines the data has. They are judged later.
fn count_lines(data: &[u8]) -> u64 {
    let mut lines = LineCounter::default();
    lines.push(data);
    lines.count()
}
