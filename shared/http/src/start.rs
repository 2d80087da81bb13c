//! What the two routes that start jobs share: the idempotency key, the start, the answer.

use api::{AcceptJobError, Accepted};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use model::{Fingerprint, IdempotencyKey, JobId, JobType, MAX_UPLOAD_BYTES};
use ports::METRICS;
use records::ResourceType;
use serde::Serialize;

use crate::answer::{Billing, Reply};
use crate::error::{ApiError, ErrorCode};
use crate::middleware::Call;

/// The `data` of the 202.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartedJob<'a> {
    job_id: JobId,
    status: &'static str,
    message: &'a str,
}

/// The job that was asked for, as the audit tells it.
pub struct RequestedJob<'a> {
    pub job_type: JobType,
    pub types: &'a [ResourceType],
    /// How many records there are, where that is known.
    pub records: Option<u64>,
}

/// Answers 202 with `message` to a call for a job, and tells the audit.
pub fn accepted(
    call: &Call,
    requested: &RequestedJob<'_>,
    accepted: Result<Accepted, AcceptJobError>,
    message: &str,
) -> Result<Reply, ApiError> {
    let Accepted { job_id, replayed, bulk, requests } = accepted.map_err(|error| refusal(call, error))?;
    let (tenant, environment) = (&call.principal.partition.tenant, call.principal.partition.environment);
    let job_type = requested.job_type.as_str();
    tracing::info!(audit = "job.started", request_id = %call.request_id, %tenant, %environment,
        key_id = call.principal.key_id, %job_id, job_type, types = ResourceType::names(requested.types),
        records = requested.records, replayed, "job started");
    if !replayed {
        tracing::info!(target: METRICS, job_type, %job_id, %tenant, jobs_started = 1);
    }
    let data = StartedJob { job_id, status: "pending", message };
    let billing = if replayed { Billing::Nothing } else { Billing::Already(requests) };
    let reply = Reply::new(StatusCode::ACCEPTED, data, billing)?.bulk(bulk);
    Ok(if replayed { reply.header("idempotency-replayed", "true") } else { reply })
}

/// The call's `Idempotency-Key`, with what the call boils down to.
pub fn idempotency(
    request: &Request,
    fingerprint: Fingerprint,
) -> Result<Option<(IdempotencyKey, Fingerprint)>, ApiError> {
    let Some(header) = request.headers().get("idempotency-key") else { return Ok(None) };
    IdempotencyKey::parse(header.as_bytes())
        .map(|key| Some((key, fingerprint)))
        .map_err(|error| ApiError::invalid("Idempotency-Key", &error.to_string()))
}

impl ApiError {
    /// An upload above its limit, stated or made.
    #[must_use]
    pub fn upload_too_large() -> Self {
        Self::new(ErrorCode::PayloadTooLarge, format!("An upload must be at most {MAX_UPLOAD_BYTES} bytes"))
    }
}

fn upload_issue(rule: &str) -> ApiError {
    ApiError::invalid("uploadId", rule)
}

fn refusal(call: &Call, error: AcceptJobError) -> ApiError {
    match error {
        AcceptJobError::IdempotencyConflict => ApiError::new(
            ErrorCode::IdempotencyConflict,
            "This Idempotency-Key was used with another body in the last 24 hours",
        ),
        AcceptJobError::MonthFull => ApiError::month_full(call),
        // Clients go by these words: only the second one proves that nothing was accepted with the upload.
        AcceptJobError::UploadUsed(job_id) => upload_issue(&format!("Used by {job_id}")),
        AcceptJobError::UploadExpired => upload_issue("Expired"),
        AcceptJobError::UploadUnknown => upload_issue("Unknown upload"),
        AcceptJobError::UploadEmpty => upload_issue("Nothing has been uploaded"),
        AcceptJobError::UploadTooLarge => ApiError::upload_too_large(),
        AcceptJobError::HourFull(limit) => ApiError::new(ErrorCode::RateLimited, "Hourly bulk operation limit reached")
            .retry_after(limit.reset_seconds),
        AcceptJobError::Contention => ApiError::unavailable("lost every race for the acceptance"),
        AcceptJobError::Port(error) => error.into(),
    }
}
