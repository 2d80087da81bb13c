//! The envelope: body and headers of every answer.

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::http::response::Builder;
use lambda_http::{Body, Response};
use model::{Environment, Plan, RateLimit, RequestId, Tenant, next_month};
use ports::MonthUsage;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_with::skip_serializing_none;

use crate::error::{ApiError, ErrorCode, Issue};

/// A moment as it is shown to clients.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A success, before the envelope is put around it.
#[derive(Debug)]
pub struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: ReplyBody,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) counted: Billing,
    pub(crate) bulk: Option<RateLimit>,
    pub(crate) warnings: Vec<String>,
}

/// What a success says.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// The `data` of the envelope.
    Data(Box<RawValue>),
    /// As it is, outside the envelope.
    Text(String),
    Nothing,
}

/// What a call counts in the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// Nothing.
    Nothing,
    /// So many requests, already written down.
    Already(u64),
    /// One request, to be written down once the answer stands.
    Afterwards,
}

impl Reply {
    /// A reply with this `data`.
    pub fn new(status: StatusCode, data: impl Serialize, counted: Billing) -> Result<Self, ApiError> {
        let data = to_raw_value(&data).map_err(ApiError::internal)?;
        Ok(Self::of(status, ReplyBody::Data(data), counted))
    }

    /// A reply of plain text.
    #[must_use]
    pub fn text(text: String, counted: Billing) -> Self {
        Self::of(StatusCode::OK, ReplyBody::Text(text), counted)
    }

    /// A reply without a body.
    #[must_use]
    pub fn empty(status: StatusCode, counted: Billing) -> Self {
        Self::of(status, ReplyBody::Nothing, counted)
    }

    fn of(status: StatusCode, body: ReplyBody, counted: Billing) -> Self {
        Self { status, body, headers: Vec::new(), counted, bulk: None, warnings: Vec::new() }
    }

    /// The reply with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The reply with what the caller should know besides.
    #[must_use]
    pub fn warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// The reply of a call that the hourly bulk limit governs.
    #[must_use]
    pub fn bulk(self, limit: RateLimit) -> Self {
        Self { bulk: Some(limit), ..self }
    }
}

/// The month's numbers as headers show them.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) tenant: Tenant,
    pub(crate) environment: Environment,
    pub(crate) usage: MonthUsage,
    pub(crate) billable: bool,
}

impl Quota {
    fn write(&self, mut response: Builder, now: Timestamp) -> Builder {
        let plan = self.tenant.plan;
        let limit = plan.per_month();
        let used = self.usage.of(plan.pool(Environment::Live));
        response = response
            .header("x-quota-limit", or_unlimited(limit))
            .header("x-quota-used", used.to_string())
            .header("x-quota-remaining", or_unlimited(limit.map(|limit| limit.saturating_sub(used))))
            .header("x-quota-billable", self.billable.to_string())
            .header("x-quota-reset", moment(next_month(now)));
        if let Some(over) = limit.and_then(|limit| used.checked_sub(limit)).filter(|over| *over > 0) {
            response = response.header("x-quota-overage", over.to_string());
        }
        if self.environment == Environment::Test {
            let used = self.usage.of(plan.pool(Environment::Test));
            response = response
                .header("x-sandbox-limit", or_unlimited(limit))
                .header("x-sandbox-used", used.to_string())
                .header("x-sandbox-remaining", or_unlimited(limit.map(|limit| limit.saturating_sub(used))));
        }
        response
    }

    /// Counts a call that has just been written down, so that the headers show it.
    pub(crate) fn add(&mut self, requests: u64) {
        self.billable = requests > 0;
        let used = match (self.tenant.plan, self.environment) {
            (Plan::Sandbox, _) => &mut self.usage.shared,
            (_, Environment::Live) => &mut self.usage.live,
            (_, Environment::Test) => &mut self.usage.test,
        };
        *used += requests;
    }
}

fn or_unlimited(number: Option<u64>) -> String {
    number.map_or_else(|| "unlimited".to_owned(), |number| number.to_string())
}

/// What every answer tells of its call.
pub(crate) struct Envelope {
    pub(crate) request_id: RequestId,
    pub(crate) now: Timestamp,
    /// The limit that governs the call, once the caller is known.
    pub(crate) rate: Option<RateLimit>,
    pub(crate) quota: Option<Quota>,
}

impl Envelope {
    pub(crate) fn success(&self, reply: &Reply) -> Response<Body> {
        let media_type = match &reply.body {
            ReplyBody::Data(_) => Some("application/json"),
            ReplyBody::Text(_) => Some("text/plain; charset=utf-8"),
            ReplyBody::Nothing => None,
        };
        let mut response = self.headers(reply.status, media_type);
        for (name, value) in &reply.headers {
            response = response.header(*name, value);
        }
        let data = match &reply.body {
            ReplyBody::Data(data) => data,
            ReplyBody::Text(text) => return with_body(response, Body::Text(text.clone())),
            // A text all the same: `"body": null` is not everywhere an empty one.
            ReplyBody::Nothing => return with_body(response, Body::Text(String::new())),
        };
        let meta = Meta {
            request_id: self.request_id.to_string(),
            timestamp: moment(self.now),
            status: reply.status.as_u16(),
            rate_limit_total: self.rate.map(|rate| rate.total),
            rate_limit_remaining: self.rate.map(|rate| rate.remaining),
            rate_limit_reset: self.rate.map(|rate| rate.reset_seconds),
            warnings: &reply.warnings,
        };
        finish(response, &SuccessBody { data, meta })
    }

    pub(crate) fn error(&self, error: &ApiError) -> Response<Body> {
        let body = ErrorBody {
            error: error.code.title(),
            message: &error.message,
            code: error.code,
            request_id: self.request_id.to_string(),
            issues: &error.issues,
            issue: &error.issues,
        };
        let mut response = self.headers(error.code.status(), Some("application/json"));
        if error.code.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1: every 401 names a scheme.
            response = response.header("www-authenticate", r#"Bearer realm="clinikapi""#);
        }
        if let Some(seconds) = error.retry_after_seconds {
            response = response.header("retry-after", seconds.to_string());
        }
        finish(response, &body)
    }

    fn headers(&self, status: StatusCode, media_type: Option<&str>) -> Builder {
        let mut response = Response::builder().status(status);
        if let Some(media_type) = media_type {
            response = response.header("content-type", media_type);
        }
        response = response
            .header("cache-control", "no-store")
            .header("x-request-id", self.request_id.to_string())
            .header("x-timestamp", moment(self.now));
        if let Some(rate) = self.rate {
            response = response
                .header("x-ratelimit-limit", rate.total.to_string())
                .header("x-ratelimit-remaining", rate.remaining.to_string())
                .header("x-ratelimit-reset", rate.reset_seconds.to_string());
        }
        match &self.quota {
            Some(quota) => quota.write(response, self.now),
            None => response,
        }
    }
}

#[derive(Serialize)]
struct SuccessBody<'a> {
    data: &'a RawValue,
    meta: Meta<'a>,
}

#[skip_serializing_none]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    request_id: String,
    timestamp: String,
    status: u16,
    rate_limit_total: Option<u64>,
    rate_limit_remaining: Option<u64>,
    rate_limit_reset: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// `issues` is what the documentation names, `issue` what the published SDK reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error: &'static str,
    message: &'a str,
    code: ErrorCode,
    request_id: String,
    #[serde(skip_serializing_if = "<[Issue]>::is_empty")]
    issues: &'a [Issue],
    #[serde(skip_serializing_if = "<[Issue]>::is_empty")]
    issue: &'a [Issue],
}

fn finish(response: Builder, body: &impl Serialize) -> Response<Body> {
    // Structs of strings and numbers always serialise, and all header values are of our own making.
    with_body(response, Body::Text(serde_json::to_string(body).unwrap_or_default()))
}

fn with_body(response: Builder, body: Body) -> Response<Body> {
    response.body(body).unwrap_or_else(|_| {
        let mut broken = Response::new(Body::Empty);
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

/// An answer outside the envelope, for `/health`.
pub(crate) fn plain(body: &impl Serialize) -> Response<Body> {
    finish(Response::builder().header("content-type", "application/json").header("cache-control", "no-store"), body)
}
