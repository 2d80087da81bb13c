//! `POST /v1/bulk/validate`: what an import of a batch would find, at once and without storing anything.

use http::{ApiError, Billing, Call, Endpoint, JobError, JsonBody, Reply, Request, StatusCode, batch};
use model::{LossLine, Scope, Validation};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The endpoint. It has no way to jobs, records or files.
pub struct ValidateRecords;

/// The body, before it is validated: every member may be anything, so that all violations are found at once.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchBody<'a> {
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    unmapped: Option<&'a RawValue>,
}

/// The `data` of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValidatedBatch {
    total_records: u64,
    valid_records: u64,
    invalid_records: u64,
    errors: Vec<JobError>,
    error_count: u64,
    errors_truncated: bool,
    /// Of FHIR resources: what flat records have no member for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    losses: Vec<LossLine>,
}

impl Endpoint for ValidateRecords {
    const SCOPE: Scope = Scope::Write;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let (BatchBody { resource_type, data, format, unmapped }, unknown) = body.parse()?;
        let mut issues = unknown.issues();
        let format = batch::format(format, unmapped, &mut issues);
        let resource_type = batch::resource_type(resource_type, &mut issues);
        let data = batch::data(data, &mut issues);
        let (Some(resource_type), Some((data, _lines)), true) = (resource_type, data, issues.is_empty()) else {
            return Err(issues.into());
        };
        if !call.has_room_in_month() {
            return Err(ApiError::month_full(call));
        }
        let schema = resource_type.schema();
        let Validation { total, valid, violations, violation_count, losses } =
            Validation::of(&schema, &call.principal.partition.tenant, format, &data);
        let validated = ValidatedBatch {
            total_records: total,
            valid_records: valid,
            invalid_records: total - valid,
            errors: violations.iter().map(JobError::from).collect(),
            error_count: violation_count,
            errors_truncated: violation_count > violations.len() as u64,
            losses,
        };
        Ok(Reply::new(StatusCode::OK, validated, Billing::Afterwards)?.warnings(unknown.warnings()))
    }
}
