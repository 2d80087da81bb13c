//! The HTTP side: one gate before every endpoint, one envelope around every answer.

mod answer;
mod body;
mod error;
mod gate;
mod start;

pub use answer::{Counted, Reply};
pub use body::{JsonBody, MAX_BODY, MAX_INFLATED};
pub use error::{ApiError, ErrorCode, Issue};
pub use gate::{Api, Call, Endpoint, Fallback, Gate, Governor};
pub use lambda_http::http::{Method, StatusCode};
pub use lambda_http::{Body, Request, RequestExt, Response};
pub use start::start;

use std::convert::Infallible;
use std::sync::Arc;

/// Serves invocations by API Gateway until the sandbox ends.
pub async fn serve<E: Endpoint + 'static>(api: Api<E>) -> Result<(), lambda_http::Error> {
    let api = Arc::new(api);
    lambda_http::run(lambda_http::service_fn(move |request: Request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.handle(request).await) }
    }))
    .await
}

/// Serves the routes without a key until the sandbox ends.
pub async fn serve_fallback(fallback: Fallback) -> Result<(), lambda_http::Error> {
    let fallback = Arc::new(fallback);
    lambda_http::run(lambda_http::service_fn(move |request: Request| {
        let fallback = Arc::clone(&fallback);
        async move { Ok::<_, Infallible>(fallback.handle(&request)) }
    }))
    .await
}
