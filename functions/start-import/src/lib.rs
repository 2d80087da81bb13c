//! `POST /v1/bulk/import`: checks the call, counts its lines, and starts an import.

use api::{ImportData, ImportRequest, ImportStarter};
use http::{
    ApiError, Call, Endpoint, Issues, JsonBody, Reply, Request, RequestLimitKind, RequestedJob, accepted, batch,
    idempotency, label, non_null, text,
};
use model::{Fingerprint, ImportFormat, JobType, Label, Scope, UploadId};
use records::ResourceType;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The endpoint.
pub struct StartImport {
    pub starter: ImportStarter,
}

/// The body, before it is validated: every member may be anything, so that all violations are found at once.
/// The data stays as it came until it is known to be a string, since it may be megabytes.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportBody<'a> {
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    upload_id: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    unmapped: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
}

impl Endpoint for StartImport {
    const SCOPE: Scope = Scope::Write;
    const LIMIT: RequestLimitKind = RequestLimitKind::Bulk;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let (asked, unknown) = body.parse()?;
        let (resource_type, data, format, label) = validate(&asked, unknown.issues())?;
        let records = match &data {
            ImportData::Inline { lines, .. } => Some(*lines),
            ImportData::Upload(_) => None,
        };
        let idempotency = idempotency(request, Fingerprint::of("POST", "/v1/bulk/import", body.bytes()))?;
        let requested = RequestedJob { job_type: JobType::Import, types: &[resource_type], records };
        let import = ImportRequest { resource_type, data, format, label, idempotency };
        let started = self.starter.start(&call.principal, &import).await;
        Ok(accepted(call, &requested, started, "Import job started")?.warnings(unknown.warnings()))
    }
}

fn validate(
    request: &ImportBody<'_>,
    mut issues: Issues,
) -> Result<(ResourceType, ImportData, ImportFormat, Option<Label>), ApiError> {
    let resource_type = batch::resource_type(request.resource_type, &mut issues);
    let format = batch::format(request.format, request.unmapped, &mut issues);
    let label = label(request.label, &mut issues);
    let import = match (non_null(request.data), non_null(request.upload_id)) {
        (None, Some(upload)) => {
            let upload = validate_upload(upload, &mut issues);
            resource_type.zip(upload.map(ImportData::Upload))
        }
        (data, upload) => {
            if upload.is_some() {
                issues.add("uploadId", "Must not be combined with data");
            }
            let data = batch::data(data, &mut issues);
            resource_type.zip(data.map(|(ndjson, lines)| ImportData::Inline { ndjson, lines }))
        }
    };
    let import = import.map(|(resource_type, data)| (resource_type, data, format, label));
    import.filter(|_| issues.is_empty()).ok_or_else(|| issues.into())
}

fn validate_upload(raw: &RawValue, issues: &mut Issues) -> Option<UploadId> {
    let id = text("uploadId", Some(raw), issues)?.parse().ok();
    if id.is_none() {
        issues.add("uploadId", "Must be an upload of yours, unused and not expired");
    }
    id
}
