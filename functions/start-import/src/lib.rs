//! `POST /v1/bulk/import`: checks the call, counts its lines, and starts an import.

use bytes::Bytes;
use domain::{Fingerprint, ImportData, ImportRequest, ImportStarter, JobType, Scope, UploadId};
use http::{ApiError, Asked, Call, Endpoint, Issue, JsonBody, Reply, Request, RequestLimitKind, accepted, idempotency};
use ndjson::LineCounter;
use records::ResourceType;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most records of one batch.
pub const MAX_RECORDS: u64 = 10_000;

/// The endpoint.
pub struct StartImport {
    pub starter: ImportStarter,
}

/// The body, before it is validated: every member may be anything, so that all faults are found at once.
/// The data stays as it came until it is known to be a string, since it may be megabytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportBody<'a> {
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    upload_id: Option<&'a RawValue>,
}

impl Endpoint for StartImport {
    const SCOPE: Scope = Scope::Write;
    const LIMIT: RequestLimitKind = RequestLimitKind::Bulk;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let (resource_type, data) = validate(&body.parse()?)?;
        let records = match &data {
            ImportData::Inline { lines, .. } => Some(*lines),
            ImportData::Upload(_) => None,
        };
        let idempotency = idempotency(request, Fingerprint::of("POST", "/v1/bulk/import", body.bytes()))?;
        let asked = Asked { job_type: JobType::Import, types: &[resource_type], records };
        let import = ImportRequest { resource_type, data, idempotency };
        let started = self.starter.start(&call.principal, &import).await;
        accepted(call, &asked, started, "Import job started")
    }
}

fn validate(request: &ImportBody<'_>) -> Result<(ResourceType, ImportData), ApiError> {
    let mut issues = Vec::new();
    let resource_type = validate_type(request.resource_type, &mut issues);
    let import = match (given(request.data), given(request.upload_id)) {
        (None, Some(upload)) => {
            let upload = validate_upload(upload, &mut issues);
            resource_type.zip(upload.map(ImportData::Upload))
        }
        (data, upload) => {
            if upload.is_some() {
                issues.push(Issue::new("uploadId", "Must not stand beside data"));
            }
            let data = validate_data(data, &mut issues);
            resource_type.zip(data.map(|(ndjson, lines)| ImportData::Inline { ndjson, lines }))
        }
    };
    import.filter(|_| issues.is_empty()).ok_or_else(|| ApiError::validation(issues))
}

/// A member that is there and not null.
fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

fn validate_upload(raw: &RawValue, issues: &mut Vec<Issue>) -> Option<UploadId> {
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

fn validate_type(raw: Option<&RawValue>, issues: &mut Vec<Issue>) -> Option<ResourceType> {
    let name = text("resourceType", raw, issues)?;
    let known = name.parse().ok();
    if known.is_none() {
        issues.push(Issue::new("resourceType", "Unknown resource type"));
    }
    known
}

fn validate_data(raw: Option<&RawValue>, issues: &mut Vec<Issue>) -> Option<(Bytes, u64)> {
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

/// How many lines the data has. They are validated later.
fn count_lines(data: &[u8]) -> u64 {
    let mut lines = LineCounter::default();
    lines.push(data);
    lines.count()
}
