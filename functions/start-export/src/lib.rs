//! `POST /v1/bulk/export`: checks the call and starts an export.

use domain::{Compression, ExportRequest, ExportSpec, ExportStarter, FileLayout, Fingerprint, JobType, Scope};
use http::{ApiError, Asked, Call, Endpoint, Issue, JsonBody, Reply, Request, RequestLimitKind, accepted, idempotency};
use jiff::Timestamp;
use records::ResourceType;
use serde::Deserialize;
use serde_json::Value;

/// The endpoint.
pub struct StartExport {
    pub starter: ExportStarter,
}

/// The body, before it is judged: every member may be anything, so that all faults are found at once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportBody {
    resource_types: Option<Value>,
    since: Option<Value>,
}

impl Endpoint for StartExport {
    const SCOPE: Scope = Scope::Write;
    const LIMIT: RequestLimitKind = RequestLimitKind::Bulk;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let spec = validate(&body.parse()?, call.now)?;
        let idempotency = idempotency(request, Fingerprint::of("POST", "/v1/bulk/export", body.bytes()))?;
        let export = ExportRequest { spec, idempotency };
        let started = self.starter.start(&call.principal, &export).await;
        let asked = Asked { job_type: JobType::Export, types: &export.spec.resource_types, records: None };
        accepted(call, &asked, started, "Export job started")
    }
}

fn validate(request: &ExportBody, now: Timestamp) -> Result<ExportSpec, ApiError> {
    let mut issues = Vec::new();
    let resource_types = validate_types(request.resource_types.as_ref(), &mut issues);
    let since = validate_since(request.since.as_ref(), now, &mut issues);
    if !issues.is_empty() {
        return Err(ApiError::validation(issues));
    }
    Ok(ExportSpec { resource_types, since, files: FileLayout::default(), compression: Compression::default() })
}

/// The types, each once, in the order asked for.
fn validate_types(types: Option<&Value>, issues: &mut Vec<Issue>) -> Vec<ResourceType> {
    let mut known = Vec::new();
    match types {
        None | Some(Value::Null) => issues.push(Issue::new("resourceTypes", "Required")),
        Some(Value::Array(names)) if names.is_empty() => {
            issues.push(Issue::new("resourceTypes", "Must have at least 1 items"));
        }
        Some(Value::Array(names)) => {
            for (index, name) in names.iter().enumerate() {
                let path = format!("resourceTypes[{index}]");
                match name.as_str().map(str::parse::<ResourceType>) {
                    Some(Ok(name)) if known.contains(&name) => {}
                    Some(Ok(name)) => known.push(name),
                    Some(Err(_)) => issues.push(Issue::new(&path, "Unknown resource type")),
                    None => issues.push(Issue::new(&path, "Expected string")),
                }
            }
        }
        Some(_) => issues.push(Issue::new("resourceTypes", "Expected array")),
    }
    known
}

fn validate_since(since: Option<&Value>, now: Timestamp, issues: &mut Vec<Issue>) -> Option<Timestamp> {
    let rule = match since? {
        Value::Null => return None,
        Value::String(text) => match parse_rfc3339(text) {
            Some(since) if since <= now => return Some(since),
            Some(_) => "Must not be in the future",
            None => "Invalid date-time",
        },
        _ => "Expected string",
    };
    issues.push(Issue::new("since", rule));
    None
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    // jiff reads more than RFC 3339.
    records::is_rfc3339(text).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_rfc_3339_with_any_offset() {
        let at = |text: &str| parse_rfc3339(text).map(|moment| moment.to_string());
        assert_eq!(at("2025-01-01T00:00:00Z").as_deref(), Some("2025-01-01T00:00:00Z"));
        assert_eq!(at("2025-01-01T00:00:00.5+01:30").as_deref(), Some("2024-12-31T22:30:00.5Z"));
        for bad in ["2025-01-01", "2025", "2025-01-01T00:00:00", "2025-01-01T00:00Z", "yesterday", ""] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
