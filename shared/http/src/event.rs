//! Between API Gateway's events (payload format 2.0) and HTTP.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::{Body, Request, RequestExt, Response};

/// The gateway's own id of a call, by which its access log names it.
#[derive(Debug, Clone)]
pub(crate) struct GatewayRequestId(pub(crate) String);

/// The call that an event carries.
///
/// `lambda_http::run` does the same, but finds out which service an event is of by a copy of all of it, and
/// a body has megabytes at times.
///
/// # Errors
/// When a body that says so is not base64, which the gateway does not do.
pub fn request_of(event: ApiGatewayV2httpRequest) -> Result<Request, base64::DecodeError> {
    let body = match event.body {
        None => Body::Empty,
        Some(text) if event.is_base64_encoded => Body::Binary(BASE64_STANDARD.decode(text)?),
        Some(text) => Body::Text(text),
    };
    let mut request = Request::new(body);
    *request.method_mut() = event.request_context.http.method;
    *request.headers_mut() = event.headers;
    if let Some(id) = event.request_context.request_id {
        request.extensions_mut().insert(GatewayRequestId(id));
    }
    let path = event.raw_path.unwrap_or_default();
    let request = request.with_raw_http_path(&path).with_path_parameters(event.path_parameters);
    Ok(request.with_query_string_parameters(event.query_string_parameters))
}

/// The event that carries an answer back.
#[must_use]
pub fn response_of(answer: Response<Body>) -> ApiGatewayV2httpResponse {
    let (head, body) = answer.into_parts();
    let mut event = ApiGatewayV2httpResponse::default();
    event.status_code = head.status.as_u16().into();
    event.headers = head.headers;
    event.is_base64_encoded = matches!(body, Body::Binary(_));
    event.body = Some(body);
    event
}
