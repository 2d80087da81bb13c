//! The middleware: what is checked before any endpoint sees a call, in the contract's order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::{AuthenticationError, Authenticator};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::Method;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::{Body, Request, RequestExt, Response};
use model::{ApiKey, Environment, FileDigest, Month, Principal, RateLimit, RequestId, Scope, next_month};
use ports::{Clock, IdSource, KeyStore, METRICS, MonthUsage, UsageStore};
use runtime::{SystemClock, SystemIds};
use serde_json::json;

use crate::answer::{Billing, Envelope, Quota, Reply, moment, plain};
use crate::error::{ApiError, ErrorCode};
use crate::event::GatewayRequestId;

/// One call that has passed the middleware.
pub struct Call {
    /// Names the call, to the client and in the log.
    pub request_id: RequestId,
    /// When it came.
    pub now: Timestamp,
    /// Who calls.
    pub principal: Principal,
    /// The plan's calls a minute, this one counted.
    pub minute: RateLimit,
    /// The month's requests, this one not counted.
    pub month: MonthUsage,
}

impl Call {
    /// Whether the month's pool of the caller has room for this call.
    #[must_use]
    pub fn has_room_in_month(&self) -> bool {
        let Principal { partition, tenant, .. } = &self.principal;
        let used = self.month.of(tenant.plan.pool(partition.environment));
        tenant.refusing_limit(partition.environment).is_none_or(|limit| used < limit)
    }
}

/// Which limit an answer's `rateLimit` numbers speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLimitKind {
    /// The plan's calls a minute.
    Minute,
    /// The bulk operations an hour.
    Bulk,
}

/// An endpoint: one route's work.
pub trait Endpoint: Send + Sync {
    /// What the key must allow.
    const SCOPE: Scope;
    /// Which limit governs the call.
    const LIMIT: RequestLimitKind = RequestLimitKind::Minute;

    /// Does what the call asks for.
    fn call(&self, call: &Call, request: &Request) -> impl Future<Output = Result<Reply, ApiError>> + Send;
}

/// What the middleware works with.
pub struct Middleware {
    /// Finds out who calls.
    pub authenticator: Authenticator,
    /// Counts calls.
    pub usage: Arc<dyn UsageStore>,
    /// Hashes of the secrets of which every call has to show one; without any, calls come by any way.
    pub origins: Vec<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
}

/// An endpoint with the middleware around it.
pub struct Api<E> {
    middleware: Middleware,
    endpoint: E,
}

/// Within so long a call has an answer of ours, before the gateway's 30 s end and the client gets one that says
/// nothing: they include the start of a new sandbox, for which Lambda allows 10 s
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// For so long an answer that stands already waits for what only decorates or counts it.
const BEST_EFFORT_WITHIN: Duration = Duration::from_secs(1);

const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Refuses calls that ask for another method than the one they use.
pub(crate) fn check_method_override(request: &Request) -> Result<(), ApiError> {
    if METHOD_OVERRIDES.iter().any(|name| request.headers().contains_key(*name)) {
        return Err(ApiError::new(ErrorCode::MethodOverrideRejected, "Method override headers are not accepted"));
    }
    Ok(())
}

fn read_key(request: &Request) -> Result<ApiKey, ApiError> {
    let headers = request.headers();
    let key = headers.get("x-api-key").filter(|key| !key.as_bytes().trim_ascii().is_empty());
    let shown = match (key, headers.get(AUTHORIZATION)) {
        (Some(key), _) => key.to_str().ok(),
        (None, Some(authorization)) => authorization.to_str().ok().and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        }),
        (None, None) => {
            return Err(ApiError::new(ErrorCode::Unauthorized, "Missing API key: send it in the header x-api-key"));
        }
    };
    shown.and_then(|key| key.parse().ok()).ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidKeyFormat, "An API key is clk_live_ or clk_test_ and 6 to 128 of A-Za-z0-9")
    })
}

impl ApiError {
    /// The month's pool of the caller has no room.
    #[must_use]
    pub fn month_full(call: &Call) -> Self {
        let code = match call.principal.partition.environment {
            Environment::Live => ErrorCode::MonthlyQuotaExceeded,
            Environment::Test => ErrorCode::SandboxQuotaExceeded,
        };
        let seconds = next_month(call.now).as_second() - call.now.as_second();
        Self::new(code, "Monthly request quota exceeded").retry_after(u64::try_from(seconds).unwrap_or(0))
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Unknown => Self::new(ErrorCode::InvalidKey, "The API key is not valid"),
            AuthenticationError::Revoked => Self::new(ErrorCode::KeyRevoked, "The API key was revoked"),
            AuthenticationError::Expired => Self::new(ErrorCode::KeyExpired, "The API key has expired"),
            AuthenticationError::Port(error) => error.into(),
        }
    }
}

impl<E: Endpoint> Api<E> {
    /// An endpoint with middleware around it.
    pub fn new(middleware: Middleware, endpoint: E) -> Self {
        Self { middleware, endpoint }
    }

    /// Answers one call; a panic on the way is an answer of 500, and the process lives on.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let mut envelope = self.middleware.envelope();
        let answering = AssertUnwindSafe(self.answer(&mut envelope, &request)).catch_unwind();
        let answer = match tokio::time::timeout(ANSWER_WITHIN, answering).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => {
                // It is answered, so that Lambda counts no error.
                tracing::info!(target: METRICS, panics = 1);
                Err(ApiError::internal("handler panicked"))
            }
            Err(_elapsed) => Err(ApiError::unavailable("dependencies did not answer in time")),
        };
        let tenant = envelope.quota.as_ref().map_or("", |quota| quota.tenant.id.as_str());
        let duration_ms = millis(self.middleware.clock.now().duration_since(envelope.now));
        let gateway_request_id = gateway_request_id(&request);
        tracing::info!(target: METRICS, calls = 1, call_duration_ms = duration_ms,
            server_errors = u64::from(matches!(&answer, Err(error) if error.code.status().is_server_error())));
        match answer {
            Ok(reply) => {
                tracing::info!(request_id = %envelope.request_id, gateway_request_id, tenant, status = reply.status.as_u16(), duration_ms,
                    "answered");
                envelope.success(&reply)
            }
            Err(error) => {
                let status = error.code.status().as_u16();
                let cause = error.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
                if status >= 500 {
                    tracing::error!(request_id = %envelope.request_id, gateway_request_id, tenant, status, code = ?error.code, duration_ms,
                        cause, "failed");
                } else {
                    tracing::info!(request_id = %envelope.request_id, gateway_request_id, tenant, status, code = ?error.code, duration_ms,
                        "refused");
                }
                envelope.error(&error)
            }
        }
    }

    async fn answer(&self, envelope: &mut Envelope, request: &Request) -> Result<Reply, ApiError> {
        self.middleware.check_origin(request)?;
        check_method_override(request)?;
        let principal = self.middleware.authenticator.authenticate(&read_key(request)?).await?;
        let minute = self.middleware.count(envelope, &principal).await?;
        envelope.rate = Some(minute.limit);
        let month = envelope.quota.as_ref().map(|quota| quota.usage).unwrap_or_default();
        let (request_id, now) = (envelope.request_id.clone(), envelope.now);
        let call = Call { request_id, now, principal, minute: minute.limit, month };
        let answer = self.call_endpoint(&call, &minute, request).await;
        if E::LIMIT == RequestLimitKind::Bulk && !minute.is_over {
            envelope.rate = match &answer {
                Ok(Reply { bulk: Some(bulk), .. }) => Some(*bulk),
                Ok(_) | Err(_) => self.middleware.bulk(&call).await,
            };
        }
        if let (Ok(reply), Some(quota)) = (&answer, &mut envelope.quota) {
            match reply.counted {
                Billing::Nothing => {}
                Billing::Already(requests) => quota.add(requests),
                Billing::Afterwards => {
                    self.middleware.count_in_month(&call).await;
                    quota.add(1);
                }
            }
        }
        answer
    }

    async fn call_endpoint(&self, call: &Call, minute: &Minute, request: &Request) -> Result<Reply, ApiError> {
        if !call.principal.may(E::SCOPE) {
            let scope = if E::SCOPE == Scope::Read { "read" } else { "write" };
            return Err(ApiError::new(ErrorCode::InsufficientScope, format!("The API key lacks the scope {scope}")));
        }
        if minute.is_over {
            return Err(ApiError::new(ErrorCode::RateLimited, "Request limit per minute reached")
                .retry_after(minute.limit.reset_seconds));
        }
        self.endpoint.call(call, request).await
    }
}

/// What the gateway's access log calls the call.
fn gateway_request_id(request: &Request) -> &str {
    request.extensions().get::<GatewayRequestId>().map_or("", |id| id.0.as_str())
}

fn millis(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0)
}

/// The running minute, this call counted.
struct Minute {
    limit: RateLimit,
    is_over: bool,
}

impl Middleware {
    /// The middleware on these stores, with the system's clock and randomness.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyStore>, usage: Arc<dyn UsageStore>, origins: Vec<String>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let authenticator = Authenticator::new(keys, Arc::clone(&usage), Arc::clone(&clock));
        Self { authenticator, usage, clock, ids: Arc::new(SystemIds), origins }
    }

    /// Refuses what did not come by the distribution in front of the API, which adds a header to every call. Two secrets are
    /// taken while one replaces the other; only their hashes are known here, so the comparison tells nothing by its time.
    fn check_origin(&self, request: &Request) -> Result<(), ApiError> {
        let shown = request.headers().get("x-origin-secret").map(|secret| {
            let mut digest = FileDigest::default();
            digest.update(secret.as_bytes());
            digest.finish()
        });
        if self.origins.is_empty() || shown.is_some_and(|shown| self.origins.contains(&shown)) {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Unauthorized, "Call the API by its public address"))
    }

    fn envelope(&self) -> Envelope {
        let now = self.clock.now();
        Envelope { request_id: RequestId::new(now, self.ids.random()), now, rate: None, quota: None }
    }

    /// Counts the call in the minute, and reads the month for the headers.
    async fn count(&self, envelope: &mut Envelope, principal: &Principal) -> Result<Minute, ApiError> {
        let (tenant, now) = (&principal.tenant, envelope.now);
        let month = Month::of(now);
        let (count, usage) =
            futures::try_join!(self.usage.count_minute(&tenant.id, now), self.usage.month(&tenant.id, &month))?;
        let environment = principal.partition.environment;
        envelope.quota = Some(Quota { tenant: tenant.clone(), environment, usage, billable: false });
        let total = tenant.plan.per_minute();
        let reset_seconds = 60 - now.as_second().rem_euclid(60).unsigned_abs();
        let limit = RateLimit { total, remaining: total.saturating_sub(count), reset_seconds };
        Ok(Minute { limit, is_over: count > total })
    }

    /// The hourly bulk limit as it stands; `None` when it cannot be told.
    async fn bulk(&self, call: &Call) -> Option<RateLimit> {
        let tenant = &call.principal.tenant;
        let window = tokio::time::timeout(BEST_EFFORT_WITHIN, self.usage.window(&tenant.id)).await.ok()?.ok()?;
        Some(window.rate_limit(call.now, tenant.bulk_operations_per_hour))
    }

    /// Writes a call down in the month. The answer stands already: a count that fails or hangs is only logged.
    async fn count_in_month(&self, call: &Call) {
        let Principal { partition, tenant, .. } = &call.principal;
        let pool = tenant.plan.pool(partition.environment);
        let month = Month::of(call.now);
        match tokio::time::timeout(BEST_EFFORT_WITHIN, self.usage.count_month(&tenant.id, pool, &month)).await {
            Ok(Ok(_count)) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(request_id = %call.request_id, error, "count in month");
            }
            Err(_elapsed) => tracing::warn!(request_id = %call.request_id, "count in month: timed out"),
        }
    }
}

/// The routes without a key: `/health`, and 404 for every other.
pub struct Fallback {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
}

impl Fallback {
    /// Answers one call.
    pub fn handle(&self, request: &Request) -> Response<Body> {
        let now = self.clock.now();
        let error = match check_method_override(request) {
            Ok(())
                if request.raw_http_path() == "/health" && [Method::GET, Method::HEAD].contains(request.method()) =>
            {
                return plain(&json!({"status": "ok", "timestamp": moment(now)}));
            }
            Ok(()) => ApiError::new(ErrorCode::NotFound, "Route not found"),
            Err(error) => error,
        };
        let request_id = RequestId::new(now, self.ids.random());
        let gateway_request_id = gateway_request_id(request);
        tracing::info!(%request_id, gateway_request_id, status = error.code.status().as_u16(), code = ?error.code, "refused");
        Envelope { request_id, now, rate: None, quota: None }.error(&error)
    }
}
