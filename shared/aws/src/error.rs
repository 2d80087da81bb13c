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

/// The refusals that ask for fewer calls, and pass by themselves: those of the SDK's own list that our services send
/// (<https://docs.rs/aws-runtime/latest/aws_runtime/retries/classifiers/>).
const THROTTLING: [&str; 12] = [
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionThrottledException",
];

/// The others that pass by themselves, besides all answers of 500 and above.
const TRANSIENT: [&str; 5] = [
    "InternalServerError",
    "OperationAborted",
    "RequestTimeout",
    "TransactionConflictException",
    "TransactionInProgressException",
];

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
            let is_transient = status >= 500 || TRANSIENT.contains(&code.as_str());
            let cause: Cause = Box::new(ServiceRefusal { code, status });
            if is_throttled {
                tracing::info!(target: METRICS, operation, throttles = 1);
                PortError::throttled(operation, cause)
            } else if is_transient {
                PortError::unavailable(operation, cause)
            } else {
                PortError::defect(operation, cause)
            }
        }
        SdkError::ConstructionFailure(_) => PortError::defect(operation, "build request"),
        SdkError::DispatchFailure(failure) => {
            let text = failure.as_connector_error().map(|error| DisplayErrorContext(error).to_string());
            PortError::unavailable(operation, text.unwrap_or_else(|| "send request".to_owned()))
        }
        SdkError::TimeoutError(_) => PortError::unavailable(operation, "timed out"),
        _ => PortError::unavailable(operation, "answer cannot be read"),
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
    PortError::defect(operation, cause)
}
