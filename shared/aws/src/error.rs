//! From the SDK's errors to the ports': few kinds, and nothing in them that came from a record.

use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::error::display::DisplayErrorContext;
use domain::METRICS;
use domain::ports::{Cause, PortError};

/// What a service said, boiled down: an error's full text may repeat what was sent.
#[derive(Debug)]
struct ServiceRefusal {
    code: String,
    status: u16,
}

impl fmt::Display for ServiceRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (HTTP {})", self.code, self.status)
    }
}

impl std::error::Error for ServiceRefusal {}

/// The refusals that say "too fast", and go away by themselves.
const THROTTLING: [&str; 6] = [
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "ThrottlingException",
];

/// The others that go away by themselves, besides all answers of 500 and above.
const PASSING: [&str; 3] = ["InternalServerError", "TransactionConflictException", "TransactionInProgressException"];

/// The port's error for a failed call.
pub(crate) fn port_error<E, R>(operation: &'static str, error: &SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: HasStatus + fmt::Debug,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let code = refusal.err().code().unwrap_or("no code").to_owned();
            let status = refusal.raw().status();
            let is_throttled = THROTTLING.contains(&code.as_str());
            if is_throttled {
                tracing::info!(target: METRICS, operation, throttles = 1);
            }
            let passes = status >= 500 || is_throttled || PASSING.contains(&code.as_str());
            let cause: Cause = Box::new(ServiceRefusal { code, status });
            if passes { PortError::Unavailable { operation, cause } } else { PortError::Defect { operation, cause } }
        }
        SdkError::ConstructionFailure(_) => PortError::Defect { operation, cause: "build request".into() },
        SdkError::DispatchFailure(failure) => {
            let text = failure.as_connector_error().map(|error| DisplayErrorContext(error).to_string());
            PortError::Unavailable { operation, cause: text.unwrap_or_else(|| "send request".to_owned()).into() }
        }
        SdkError::TimeoutError(_) => PortError::Unavailable { operation, cause: "timed out".into() },
        _ => PortError::Unavailable { operation, cause: "answer cannot be read".into() },
    }
}

/// A raw answer's HTTP status.
pub(crate) trait HasStatus {
    fn status(&self) -> u16;
}

impl HasStatus for aws_sdk_dynamodb::config::http::HttpResponse {
    fn status(&self) -> u16 {
        self.status().as_u16()
    }
}

/// An item that does not have the form that this version writes.
pub(crate) fn unreadable(operation: &'static str, cause: impl Into<Cause>) -> PortError {
    PortError::Defect { operation, cause: cause.into() }
}
