//! `POST /v1/bulk/uploads`: a place to put a batch that is too large for a call.

use api::{CreateUploadError, Uploader};
use http::{
    ApiError, Billing, Call, Endpoint, ErrorCode, Issues, JsonBody, Reply, Request, StatusCode, moment, non_null,
};
use model::{MAX_UPLOAD_BYTES, Principal, Scope, UploadId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The endpoint.
pub struct CreateUpload {
    /// Creates uploads.
    pub uploader: Uploader,
}

/// The `data` of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedUpload {
    upload_id: UploadId,
    /// A pre-signed PUT of just the stated length, good until `expires_at`.
    upload_url: String,
    expires_at: String,
    max_bytes: u64,
}

/// The body, before it is validated.
#[derive(Default, Deserialize, Serialize)]
struct UploadBody<'a> {
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
}

/// The exact length of what will be uploaded: a whole number in any spelling.
fn validate(body: &UploadBody<'_>, mut issues: Issues) -> Result<u64, ApiError> {
    let raw = non_null(body.bytes).map(RawValue::get);
    // By the standard library: what no double holds is infinite, with its sign, where serde has an error.
    let number = raw.and_then(|raw| raw.parse::<f64>().ok());
    let rule = match number {
        None if raw.is_none() => "Required",
        None => "Expected integer",
        Some(number) if number.is_finite() && number.fract() != 0.0 => "Expected integer",
        Some(number) if number < 1.0 => "Must be at least 1",
        Some(_) if !issues.is_empty() => return Err(issues.into()),
        Some(number) if number > MAX_LENGTH => return Err(ApiError::upload_too_large()),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within the bounds")]
        Some(number) => return Ok(number as u64),
    };
    issues.add("bytes", rule);
    Err(issues.into())
}

/// [`MAX_UPLOAD_BYTES`], which a double holds exactly.
#[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
const MAX_LENGTH: f64 = MAX_UPLOAD_BYTES as f64;

impl Endpoint for CreateUpload {
    const SCOPE: Scope = Scope::Write;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let body = JsonBody::read(request)?;
        let (asked, unknown) = body.parse()?;
        let bytes = validate(&asked, unknown.issues())?;
        let (upload_id, url) = self.uploader.create(&call.principal, bytes).await.map_err(|error| match error {
            CreateUploadError::MonthFull => ApiError::month_full(call),
            CreateUploadError::TooManyOpen { until } => {
                let seconds = u64::try_from(until.as_second() - call.now.as_second()).unwrap_or(0);
                ApiError::new(ErrorCode::RateLimited, "Too many open uploads; import them, or wait until they expire")
                    .retry_after(seconds)
            }
            CreateUploadError::Port(error) => error.into(),
        })?;
        let Principal { partition, key_id, .. } = &call.principal;
        tracing::info!(audit = "upload.created", request_id = %call.request_id, tenant = %partition.tenant,
            environment = %partition.environment, key_id, %upload_id, "upload created");
        let expires_at = moment(url.expires_at);
        let created = CreatedUpload { upload_id, upload_url: url.url, expires_at, max_bytes: MAX_UPLOAD_BYTES };
        Ok(Reply::new(StatusCode::CREATED, created, Billing::Already(1))?.warnings(unknown.warnings()))
    }
}
