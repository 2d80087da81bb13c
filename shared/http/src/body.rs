//! Reading a request's body: media type, encoding, size, JSON, in this order.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use lambda_http::{Body, Request};
use serde::Deserialize;

use crate::error::{ApiError, ErrorCode};

/// The most bytes of a body as received.
pub const MAX_BODY: usize = 6_000_000;

/// The most bytes of a body once inflated.
pub const MAX_INFLATED: usize = 33_554_432;

/// A body that is a JSON object.
pub struct JsonBody<'a> {
    bytes: Cow<'a, [u8]>,
}

impl<'a> JsonBody<'a> {
    /// Reads the request's body. Its grammar is checked by [`parse`](Self::parse).
    pub fn read(request: &'a Request) -> Result<Self, ApiError> {
        let (bytes, arrived_as_base64) = match request.body() {
            Body::Text(text) => (text.as_bytes(), false),
            Body::Binary(bytes) => (bytes.as_slice(), true),
            _ => (&[][..], true),
        };
        check_media_type(request)?;
        let is_gzip = is_gzip(request)?;
        if is_gzip && !arrived_as_base64 {
            return Err(ApiError::new(
                ErrorCode::UnsupportedMediaType,
                "A gzip body needs Content-Type application/fhir+json, or use an upload (POST /v1/bulk/uploads)",
            ));
        }
        if bytes.len() > MAX_BODY {
            return Err(too_large(MAX_BODY));
        }
        let bytes = if is_gzip { Cow::Owned(inflate(bytes)?) } else { Cow::Borrowed(bytes) };
        Ok(Self { bytes })
    }

    /// The body's bytes, inflated.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body as a `T`, which takes any JSON object and may borrow from it.
    pub fn parse<'b, T: Deserialize<'b>>(&'b self) -> Result<T, ApiError> {
        // serde_json's error text may quote the body: it is dropped here.
        let is_object = self.bytes.trim_ascii_start().starts_with(b"{");
        let parsed = if is_object { serde_json::from_slice(&self.bytes).ok() } else { None };
        parsed.ok_or_else(|| ApiError::new(ErrorCode::InvalidJson, "The body must be a JSON object"))
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        ErrorCode::PayloadTooLarge,
        format!("The body must be at most {limit} bytes; larger data goes through an upload (POST /v1/bulk/uploads)"),
    )
}

fn check_media_type(request: &Request) -> Result<(), ApiError> {
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = header.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if ["application/json", "application/fhir+json"].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "Content-Type must be application/json or application/fhir+json",
    ))
}

fn is_gzip(request: &Request) -> Result<bool, ApiError> {
    let Some(encoding) = request.headers().get(CONTENT_ENCODING) else { return Ok(false) };
    let encoding = encoding.to_str().unwrap_or_default().trim();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        Ok(false)
    } else if encoding.eq_ignore_ascii_case("gzip") {
        Ok(true)
    } else {
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, "Content-Encoding must be gzip or absent"))
    }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut inflated = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(MAX_INFLATED as u64 + 1);
    reader
        .read_to_end(&mut inflated)
        .map_err(|_| ApiError::new(ErrorCode::InvalidJson, "The body is not valid gzip"))?;
    if inflated.len() > MAX_INFLATED { Err(too_large(MAX_INFLATED)) } else { Ok(inflated) }
}
