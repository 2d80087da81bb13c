//! `POST /v1/bulk/export`: checks the call and starts an export.

use api::{ExportRequest, ExportStarter};
use fhir::MAPPING_VERSION;
use http::{
    ApiError, Call, Endpoint, Issues, JsonBody, Reply, Request, RequestLimitKind, RequestedJob, accepted, idempotency,
    label, meant_type, non_null, option, text,
};
use jiff::Timestamp;
use model::{Compression, ExportSpec, FileLayout, Fingerprint, JobType, Label, RecordFormat, Scope};
use records::ResourceType;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The endpoint.
pub struct StartExport {
    pub starter: ExportStarter,
}

/// The body, before it is validated: every member may be anything, so that all violations are found at once.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportBody<'a> {
    #[serde(borrow)]
    resource_types: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    files: Option<&'a RawValue>,
    #[serde(borrow)]
    compression: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
}

impl Endpoint for StartExport {
    const SCOPE: Scope = Scope::Write;
    const LIMIT: RequestLimitKind = RequestLimitKind::Bulk;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let (asked, unknown) = body.parse()?;
        let (spec, label) = validate(&asked, unknown.issues(), call.now)?;
        let idempotency = idempotency(request, Fingerprint::of("POST", "/v1/bulk/export", body.bytes()))?;
        let export = ExportRequest { spec, label, idempotency };
        let started = self.starter.start(&call.principal, &export).await;
        let requested = RequestedJob { job_type: JobType::Export, types: &export.spec.resource_types, records: None };
        Ok(accepted(call, &requested, started, "Export job started")?.warnings(unknown.warnings()))
    }
}

fn validate(
    request: &ExportBody<'_>,
    mut issues: Issues,
    now: Timestamp,
) -> Result<(ExportSpec, Option<Label>), ApiError> {
    let resource_types = validate_types(request.resource_types, &mut issues);
    let since = validate_since(request.since, now, &mut issues);
    let layouts = [("single", FileLayout::Single), ("perType", FileLayout::PerType)];
    let mut files = option("files", request.files, &layouts, &mut issues);
    let formats = [("flat", RecordFormat::Flat), ("fhir", RecordFormat::Fhir { mapping_version: MAPPING_VERSION })];
    let format = option("format", request.format, &formats, &mut issues);
    if let RecordFormat::Fhir { .. } = format {
        if non_null(request.files).is_some() && files == FileLayout::Single {
            issues.add("files", "Must be perType with format fhir");
        }
        files = FileLayout::PerType;
    }
    let compressions = [("none", Compression::None), ("gzip", Compression::Gzip)];
    let compression = option("compression", request.compression, &compressions, &mut issues);
    let label = label(request.label, &mut issues);
    if !issues.is_empty() {
        return Err(issues.into());
    }
    Ok((ExportSpec { resource_types, since, files, compression, format }, label))
}

/// The types, each once, in the order asked for.
fn validate_types(raw: Option<&RawValue>, issues: &mut Issues) -> Vec<ResourceType> {
    let mut known = Vec::new();
    let Some(raw) = non_null(raw) else {
        issues.add("resourceTypes", "Required");
        return known;
    };
    let Ok(names) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        issues.add("resourceTypes", "Expected array");
        return known;
    };
    if names.is_empty() {
        issues.add("resourceTypes", "Must not be empty");
    }
    for (index, raw) in names.into_iter().enumerate() {
        let path = format!("resourceTypes[{index}]");
        // `null` is no name, and not a missing one either.
        if raw.get() == "null" {
            issues.add(&path, "Expected string");
        } else if let Some(name) = text(&path, Some(raw), issues) {
            match name.parse::<ResourceType>() {
                Ok(name) if known.contains(&name) => {}
                Ok(name) => known.push(name),
                Err(_) => issues.add(&path, &format!("Unknown resource type{}", meant_type(&name))),
            }
        }
    }
    known
}

fn validate_since(raw: Option<&RawValue>, now: Timestamp, issues: &mut Issues) -> Option<Timestamp> {
    let text = text("since", Some(non_null(raw)?), issues)?;
    let rule = match parse_rfc3339(&text) {
        Some(since) if since <= now => return Some(since),
        Some(_) => "Must not be in the future",
        None => "Invalid date-time",
    };
    issues.add("since", rule);
    None
}

/// A moment, cut to nanoseconds: RFC 3339 allows any number of fraction digits, jiff nine.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    // jiff reads more than RFC 3339.
    if !records::is_rfc3339(text) {
        return None;
    }
    let Some((seconds, fraction)) = text.split_once('.') else { return text.parse().ok() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, offset) = fraction.split_at_checked(digits)?;
    format!("{seconds}.{}{offset}", digits.get(..9).unwrap_or(digits)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_rfc_3339_with_any_offset() {
        let at = |text: &str| parse_rfc3339(text).map(|moment| moment.to_string());
        assert_eq!(at("2025-01-01T00:00:00Z").as_deref(), Some("2025-01-01T00:00:00Z"));
        assert_eq!(at("2025-01-01T00:00:00.5+01:30").as_deref(), Some("2024-12-31T22:30:00.5Z"));
        let long = format!("2025-01-01T00:00:00.{}-01:00", "123456789".repeat(100));
        assert_eq!(at(&long).as_deref(), Some("2025-01-01T01:00:00.123456789Z"));
        for bad in ["2025-01-01", "2025", "2025-01-01T00:00:00", "2025-01-01T00:00Z", "yesterday", ""] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
