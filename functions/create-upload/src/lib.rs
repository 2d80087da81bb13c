//! `POST /v1/bulk/uploads`: a place to put a batch that is too large for a call.

use domain::{CreateUploadError, MAX_UPLOAD_BYTES, Principal, Scope, UploadId, Uploader};
use http::{ApiError, Billing, Call, Endpoint, Reply, Request, RequestLimitKind, StatusCode};
use serde::Serialize;

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
    /// A pre-signed PUT, good until `expires_at`.
    upload_url: String,
    expires_at: String,
    max_bytes: u64,
}

impl Endpoint for CreateUpload {
    const SCOPE: Scope = Scope::Write;
    const LIMIT: RequestLimitKind = RequestLimitKind::Minute;

    /// The call needs no body, and looks at none.
    async fn call(&self, call: &Call, _request: &Request) -> Result<Reply, ApiError> {
        let (upload_id, url) = self.uploader.create(&call.principal).await.map_err(|error| match error {
            CreateUploadError::MonthFull => ApiError::month_full(call),
            CreateUploadError::Port(error) => error.into(),
        })?;
        let Principal { partition, key_id, .. } = &call.principal;
        tracing::info!(audit = "upload.created", request_id = %call.request_id, tenant = %partition.tenant,
            environment = %partition.environment, key_id, %upload_id, "upload created");
        let expires_at = format!("{:.3}", url.expires_at);
        let created = CreatedUpload { upload_id, upload_url: url.url, expires_at, max_bytes: MAX_UPLOAD_BYTES };
        Reply::new(StatusCode::CREATED, created, Billing::Already(1))
    }
}
