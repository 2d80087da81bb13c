//! What the two routes that start jobs share: the idempotency key, the start, the answer.

use domain::{
    Fingerprint, IdempotencyKey, JobId, JobType, MAX_UPLOAD, METRICS, StartError, StartJob, Started, Starter, Work,
};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use records::ResourceType;
use serde::Serialize;

use super::answer::{Counted, Reply};
use super::error::{ApiError, ErrorCode, Issue};
use super::gate::Call;

/// The `data` of the 202.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartedJob<'a> {
    job_id: JobId,
    status: &'static str,
    message: &'a str,
}

/// What was asked for, as the audit tells it.
struct Asked {
    job_type: JobType,
    types: String,
    records: Option<u64>,
}

impl Asked {
    fn of(work: &Work) -> Self {
        let types = ResourceType::names(work.resource_types());
        Self { job_type: work.job_type(), types, records: work.records() }
    }
}

/// Starts a job for a call whose body has been judged, and answers 202 with `message`.
pub async fn start(
    starter: &Starter,
    call: &Call,
    request: &Request,
    work: Work,
    fingerprint: Fingerprint,
    message: &str,
) -> Result<Reply, ApiError> {
    let idempotency = idempotency_key(request)?.map(|key| (key, fingerprint));
    let asked = Asked::of(&work);
    let started = starter.start(&call.principal, StartJob { work, idempotency }).await;
    let Started { job_id, replayed, bulk, requests } = started.map_err(|error| refusal(call, error))?;
    let (tenant, environment) = (&call.principal.partition.tenant, call.principal.partition.environment);
    tracing::info!(audit = "job.started", request_id = %call.request_id, %tenant, %environment,
        key_id = call.principal.key_id, %job_id, job_type = asked.job_type.as_str(), types = asked.types,
        records = asked.records, replayed, "job started");
    if !replayed {
        tracing::info!(target: METRICS, job_type = asked.job_type.as_str(), %job_id, %tenant, jobs_started = 1);
    }
    let data = StartedJob { job_id, status: "pending", message };
    let counted = if replayed { Counted::Nothing } else { Counted::Already(requests) };
    let reply = Reply::new(StatusCode::ACCEPTED, data, counted)?.bulk(bulk);
    Ok(if replayed { reply.header("idempotency-replayed", "true") } else { reply })
}

fn idempotency_key(request: &Request) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(header) = request.headers().get("idempotency-key") else { return Ok(None) };
    IdempotencyKey::parse(header.as_bytes()).map(Some).map_err(|_| {
        ApiError::validation(vec![Issue::new("Idempotency-Key", "Must be 1 to 255 visible ASCII characters")])
    })
}

fn upload_issue(rule: &str) -> ApiError {
    ApiError::validation(vec![Issue::new("uploadId", rule)])
}

fn refusal(call: &Call, error: StartError) -> ApiError {
    match error {
        StartError::IdempotencyConflict => ApiError::new(
            ErrorCode::IdempotencyConflict,
            "This Idempotency-Key was used with another body in the last 24 hours",
        ),
        StartError::MonthFull => ApiError::month_full(call),
        StartError::UploadUnusable => upload_issue("Must be an upload of yours, unused and not expired"),
        StartError::UploadEmpty => upload_issue("Nothing has been uploaded to it"),
        StartError::UploadTooLarge => {
            ApiError::new(ErrorCode::PayloadTooLarge, format!("An upload must be at most {MAX_UPLOAD} bytes"))
        }
        StartError::HourFull(limit) => {
            ApiError::new(ErrorCode::RateLimited, "All bulk operations of this hour are used up")
                .retry_after(limit.reset_seconds)
        }
        StartError::Contention => ApiError::unavailable("lost every race for the acceptance"),
        StartError::Port(error) => error.into(),
    }
}
