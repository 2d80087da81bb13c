//! `GET /v1/bulk/limits`: what the caller may do, and how much of it is left.

use std::sync::Arc;

use http::{ApiError, Billing, Call, Endpoint, MAX_BODY, Reply, Request, StatusCode, moment};
use model::{Environment, MAX_RECORDS, MAX_UPLOAD_BYTES, Plan, Scope, TenantId, next_month};
use ports::UsageStore;
use serde::Serialize;

/// The endpoint.
pub struct GetLimits {
    pub usage: Arc<dyn UsageStore>,
}

/// The `data` of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    /// Whose key it is: clients keep what they have of two tenants apart by it.
    tenant_id: TenantId,
    plan: Plan,
    environment: Environment,
    bulk_operations: SlidingLimit,
    requests_per_minute: SlidingLimit,
    requests_per_month: MonthlyLimit,
    batch: BatchLimits,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlidingLimit {
    limit: u64,
    remaining: u64,
    /// Seconds until the next slot frees.
    reset_seconds: u64,
}

impl From<model::RateLimit> for SlidingLimit {
    fn from(limit: model::RateLimit) -> Self {
        Self { limit: limit.total, remaining: limit.remaining, reset_seconds: limit.reset_seconds }
    }
}

/// Of the pool that the caller's environment is counted in. Unlimited is `null`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MonthlyLimit {
    limit: Option<u64>,
    used: u64,
    remaining: Option<u64>,
    reset_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
struct BatchLimits {
    max_records: u64,
    max_body_bytes: usize,
    max_upload_bytes: u64,
}

impl Endpoint for GetLimits {
    const SCOPE: Scope = Scope::Read;

    async fn call(&self, call: &Call, _request: &Request) -> Result<Reply, ApiError> {
        let (tenant, environment) = (&call.principal.tenant, call.principal.partition.environment);
        let window = self.usage.window(&tenant.id).await?;
        let limit = tenant.plan.per_month();
        // This call counts as one.
        let used = call.month.of(tenant.plan.pool(environment)) + 1;
        let limits = Limits {
            tenant_id: tenant.id.clone(),
            plan: tenant.plan,
            environment,
            bulk_operations: window.rate_limit(call.now, tenant.bulk_operations_per_hour).into(),
            requests_per_minute: call.minute.into(),
            requests_per_month: MonthlyLimit {
                limit,
                used,
                remaining: limit.map(|limit| limit.saturating_sub(used)),
                reset_at: moment(next_month(call.now)),
            },
            batch: BatchLimits {
                max_records: MAX_RECORDS,
                max_body_bytes: MAX_BODY,
                max_upload_bytes: MAX_UPLOAD_BYTES,
            },
        };
        Reply::new(StatusCode::OK, limits, Billing::Afterwards)
    }
}
