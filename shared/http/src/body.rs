//! Reading a request's body: media type, encoding, size, JSON, in this order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use lambda_http::{Body, Request};
use ndjson::Inflater;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::error::{ApiError, ErrorCode};
use crate::unknown::Unknown;

/// The most bytes of a body as received: a Lambda event holds 6,291,456, and this much still fits as base64
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub const MAX_BODY: usize = 4_500_000;

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
        if bytes.is_empty() {
            return Ok(Self { bytes: Cow::Borrowed(bytes) });
        }
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

    /// The body as a `T`, which takes any JSON object and may borrow from it: all its members are raw. And the members
    /// that `T` does not have.
    pub fn parse<'b, T: Default + Deserialize<'b> + Serialize>(&'b self) -> Result<(T, Unknown), ApiError> {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidJson, message);
        let bytes = self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes).trim_ascii();
        let Ok(text) = std::str::from_utf8(bytes) else { return Err(invalid("The body is not UTF-8".to_owned())) };
        // A struct also takes an array: what the body is has to be seen before.
        if !text.starts_with('{') {
            return Err(invalid(match text {
                "" => "The body is missing".to_owned(),
                _ if serde_json::from_str::<IgnoredAny>(text).is_ok() => "The body must be a JSON object".to_owned(),
                _ => NOT_JSON.to_owned(),
            }));
        }
        let parsed = serde_json::from_str(text).map_err(|error| match error.classify() {
            // Of raw members only this can be wrong. serde's text names the member in backticks; it is one of ours.
            Category::Data => {
                let told = error.to_string();
                let member = told.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next());
                invalid(format!("Duplicate member: {}", member.unwrap_or_default()))
            }
            Category::Io | Category::Syntax | Category::Eof => invalid(NOT_JSON.to_owned()),
        })?;
        #[expect(clippy::zero_sized_map_values, reason = "their names are what is read of the members")]
        let members: BTreeMap<String, IgnoredAny> =
            serde_json::from_str(text).map_err(|_| invalid(NOT_JSON.to_owned()))?;
        Ok((parsed, Unknown::of::<T>(members.into_keys())))
    }
}

const NOT_JSON: &str = "The body is not valid JSON";

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

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
    // As bytes: what is no text is not absent either.
    let encoding = encoding.as_bytes().trim_ascii();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        Ok(false)
    } else if encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip") {
        // Two names of one coding (RFC 9110, section 8.4.1.3).
        Ok(true)
    } else {
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, "Content-Encoding must be gzip or absent"))
    }
}

/// So much gzip is inflated at a time: it becomes a thousand times as much at worst.
const INFLATE_BYTES: usize = 1_024;

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let invalid = |_| ApiError::new(ErrorCode::InvalidJson, "The body is not valid gzip");
    let mut inflater = Inflater::default();
    let mut inflated = Vec::new();
    for piece in bytes.chunks(INFLATE_BYTES) {
        inflated.append(&mut inflater.push(piece).map_err(invalid)?);
        if inflated.len() > MAX_INFLATED {
            return Err(too_large(MAX_INFLATED));
        }
    }
    inflated.append(&mut inflater.finish().map_err(invalid)?);
    if inflated.len() > MAX_INFLATED { Err(too_large(MAX_INFLATED)) } else { Ok(inflated) }
}
