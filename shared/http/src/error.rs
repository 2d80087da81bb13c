//! The errors that clients see: a closed list of codes, one shape of body.

use std::borrow::Cow;

use lambda_http::http::StatusCode;
use ports::{Cause, PortError};
use serde::Serialize;

/// The stable code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The body is not JSON, or not an object.
    InvalidJson,
    /// A header asks for another method.
    MethodOverrideRejected,
    /// No key was shown.
    Unauthorized,
    /// What was shown is no key.
    InvalidKeyFormat,
    /// Nobody has this key.
    InvalidKey,
    /// The key was revoked.
    KeyRevoked,
    /// The key's time is over.
    KeyExpired,
    /// The key may not do this.
    InsufficientScope,
    /// Absent, or not this key's.
    NotFound,
    /// The idempotency key was used with another body.
    IdempotencyConflict,
    /// Only a job that has ended can be deleted.
    JobNotFinished,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is of another kind than JSON.
    UnsupportedMediaType,
    /// The body is JSON, and breaks a rule.
    ValidationError,
    /// Too many calls a minute, or bulk operations an hour.
    RateLimited,
    /// The month's live pool is used up.
    MonthlyQuotaExceeded,
    /// The month's test pool is used up.
    SandboxQuotaExceeded,
    /// An error of the service.
    InternalError,
    /// A dependency throttles or is down.
    Unavailable,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 19] = [
        Self::InvalidJson,
        Self::MethodOverrideRejected,
        Self::Unauthorized,
        Self::InvalidKeyFormat,
        Self::InvalidKey,
        Self::KeyRevoked,
        Self::KeyExpired,
        Self::InsufficientScope,
        Self::NotFound,
        Self::IdempotencyConflict,
        Self::JobNotFinished,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationError,
        Self::RateLimited,
        Self::MonthlyQuotaExceeded,
        Self::SandboxQuotaExceeded,
        Self::InternalError,
        Self::Unavailable,
    ];

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson | Self::MethodOverrideRejected => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::InvalidKeyFormat | Self::InvalidKey | Self::KeyRevoked | Self::KeyExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::IdempotencyConflict | Self::JobNotFinished => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ValidationError => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited | Self::MonthlyQuotaExceeded | Self::SandboxQuotaExceeded => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The short name of the error, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidJson => "Invalid JSON",
            Self::ValidationError => "Validation Error",
            Self::MonthlyQuotaExceeded | Self::SandboxQuotaExceeded => "Quota Exceeded",
            _ => self.status().canonical_reason().unwrap_or_default(),
        }
    }
}

/// One thing that is wrong with a request: a field and a rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    severity: &'static str,
    code: &'static str,
    diagnostics: String,
}

impl Issue {
    fn new(diagnostics: String) -> Self {
        Self { severity: "error", code: "invalid", diagnostics }
    }
}

/// An answer lists so many issues, and counts the others: no answer grows with its request.
const MAX_ISSUES: usize = 100;

/// The issues of a request, collected.
#[derive(Debug, Default)]
pub struct Issues {
    listed: Vec<Issue>,
    more: usize,
}

impl Issues {
    /// Adds an issue: `<path>: <rule>`.
    pub fn add(&mut self, path: &str, rule: &str) {
        if self.listed.len() < MAX_ISSUES {
            self.listed.push(Issue::new(format!("{path}: {rule}")));
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

impl From<Issues> for ApiError {
    /// A body that breaks rules: all of them at once.
    fn from(Issues { mut listed, more }: Issues) -> Self {
        let message = match listed.as_slice() {
            [only] => Cow::Owned(only.diagnostics.clone()),
            _ => Cow::Borrowed("The request breaks several rules; see issues"),
        };
        if more > 0 {
            listed.push(Issue::new(format!("{more} more issues")));
        }
        Self { issues: listed, ..Self::new(ErrorCode::ValidationError, message) }
    }
}

/// An error: what the client is told, and what only the log is told.
#[derive(Debug)]
pub struct ApiError {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) issues: Vec<Issue>,
    pub(crate) retry_after_seconds: Option<u64>,
    pub(crate) cause: Option<Cause>,
}

impl ApiError {
    /// An error with a message for the client.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), issues: Vec::new(), retry_after_seconds: None, cause: None }
    }

    /// A body that breaks one rule.
    #[must_use]
    pub fn invalid(path: &str, rule: &str) -> Self {
        let mut issues = Issues::default();
        issues.add(path, rule);
        issues.into()
    }

    /// What is absent, or not this key's: one answer, so that nobody learns which.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "Not found")
    }

    /// An error of the service; the cause goes to the log alone.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let cause = Some(cause.into());
        Self {
            cause,
            ..Self::new(ErrorCode::InternalError, "Internal error; quote the requestId when you contact support")
        }
    }

    /// A dependency that is down; the cause goes to the log alone.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        let cause = Some(cause.into());
        Self { cause, ..Self::new(ErrorCode::Unavailable, "Temporarily unavailable; try again") }.retry_after(2)
    }

    /// The same error, telling when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds.max(1)), ..self }
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Throttled { .. } | PortError::Unavailable { .. } => Self::unavailable(error),
            PortError::Refused { .. } | PortError::Defect { .. } => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_issue_counts_the_others() {
        let mut issues = Issues::default();
        for index in 0..40_000 {
            issues.add(&format!("resourceTypes[{index}]"), "Unknown resource type");
        }
        let error = ApiError::from(issues);
        assert_eq!(error.issues.len(), 101);
        assert_eq!(error.issues[100].diagnostics, "39900 more issues");
    }

    #[test]
    fn every_code_has_its_status_and_title() {
        let table: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| {
                let name = serde_json::to_value(code).unwrap();
                format!("{} {} {:?}", code.status().as_u16(), name.as_str().unwrap(), code.title())
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
