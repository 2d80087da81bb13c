//! The gateway's side of the API functions: middleware before every endpoint, one envelope around every answer. Names no
//! table.

mod answer;
pub mod batch;
mod body;
mod error;
mod event;
mod job_report;
mod member;
mod middleware;
mod path;
mod start;
mod unknown;

pub use answer::{Billing, Reply, moment};
pub use body::{JsonBody, MAX_BODY, MAX_INFLATED};
pub use error::{ApiError, ErrorCode, Issue, Issues};
pub use event::{request_of, response_of};
pub use job_report::{JobError, JobReport, Link};
pub use lambda_http::http::{Method, StatusCode};
pub use lambda_http::{Body, Error, Request, RequestExt, Response};
pub use member::{label, non_null, option, text, text_bytes};
pub use middleware::{Api, Call, Endpoint, Fallback, Middleware, RequestLimitKind};
pub use path::job_id;
pub use start::{RequestedJob, accepted, idempotency};
pub use unknown::{Unknown, meant_type, shown};

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{LambdaEvent, service_fn};

/// Serves invocations by API Gateway until the sandbox ends.
pub async fn serve<E: Endpoint>(api: Api<E>) -> Result<(), Error> {
    let api = &api;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
        let request = request_of(event.payload)?;
        Ok::<_, Error>(response_of(api.handle(request).await))
    }))
    .await
}

/// Serves the routes without a key until the sandbox ends.
pub async fn serve_fallback(fallback: Fallback) -> Result<(), Error> {
    let fallback = &fallback;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
        let request = request_of(event.payload)?;
        Ok::<_, Error>(response_of(fallback.handle(&request)))
    }))
    .await
}
