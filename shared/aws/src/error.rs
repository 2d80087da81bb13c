//! From the SDK's errors to the ports': few kinds, and nothing in them that came from a record.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::error::display::DisplayErrorContext;
use ports::{Cause, METRICS, PortError};

/// What a code means for whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Asks for fewer calls.
    Throttled,
    /// Passes by itself.
    Unavailable,
    /// People have to mend the deployment.
    Refused,
    /// What was asked for is wrong, and stays so.
    Defect,
}

/// The codes that we know, sorted. The first two kinds are those of the SDK's own lists
/// (<https://docs.rs/aws-runtime/latest/aws_runtime/retries/classifiers/>) and of the services' pages of common errors;
/// inside a cancelled transaction DynamoDB has names of its own.
const CODES: [(&str, Kind); 63] = [
    ("AccessDenied", Kind::Refused),
    ("AccessDeniedException", Kind::Refused),
    ("BadDigest", Kind::Unavailable),
    ("BandwidthLimitExceeded", Kind::Throttled),
    ("EC2ThrottledException", Kind::Throttled),
    ("EntityTooLarge", Kind::Defect),
    ("EntityTooSmall", Kind::Defect),
    ("ExpiredToken", Kind::Unavailable),
    ("ExpiredTokenException", Kind::Unavailable),
    ("IDPCommunicationError", Kind::Unavailable),
    ("IncompleteBody", Kind::Unavailable),
    ("InternalError", Kind::Unavailable),
    ("InternalFailure", Kind::Unavailable),
    ("InternalServerError", Kind::Unavailable),
    ("InvalidAccessKeyId", Kind::Refused),
    ("InvalidArgument", Kind::Defect),
    ("InvalidClientTokenId", Kind::Refused),
    ("InvalidRange", Kind::Unavailable),
    ("InvalidRequest", Kind::Defect),
    ("InvalidSignatureException", Kind::Refused),
    ("ItemCollectionSizeLimitExceeded", Kind::Defect),
    ("ItemCollectionSizeLimitExceededException", Kind::Defect),
    ("KMS.DisabledException", Kind::Refused),
    ("KMS.NotFoundException", Kind::Refused),
    ("KMS.ThrottlingException", Kind::Throttled),
    ("KmsAccessDenied", Kind::Refused),
    ("KmsDisabled", Kind::Refused),
    ("KmsNotFound", Kind::Refused),
    ("KmsThrottled", Kind::Throttled),
    ("LimitExceededException", Kind::Throttled),
    ("MalformedXML", Kind::Defect),
    ("NoSuchBucket", Kind::Refused),
    ("OperationAborted", Kind::Unavailable),
    ("PriorRequestNotComplete", Kind::Throttled),
    ("ProvisionedThroughputExceeded", Kind::Throttled),
    ("ProvisionedThroughputExceededException", Kind::Throttled),
    ("QueueDoesNotExist", Kind::Refused),
    ("ReplicatedWriteConflictException", Kind::Unavailable),
    ("RequestExpired", Kind::Unavailable),
    ("RequestLimitExceeded", Kind::Throttled),
    ("RequestThrottled", Kind::Throttled),
    ("RequestThrottledException", Kind::Throttled),
    ("RequestTimeTooSkewed", Kind::Unavailable),
    ("RequestTimeout", Kind::Unavailable),
    ("RequestTimeoutException", Kind::Unavailable),
    ("ResourceNotFoundException", Kind::Refused),
    ("SerializationException", Kind::Defect),
    ("ServiceUnavailable", Kind::Unavailable),
    ("SignatureDoesNotMatch", Kind::Refused),
    ("SlowDown", Kind::Throttled),
    ("ThrottledException", Kind::Throttled),
    ("Throttling", Kind::Throttled),
    ("ThrottlingError", Kind::Throttled),
    ("ThrottlingException", Kind::Throttled),
    ("TooManyRequestsException", Kind::Throttled),
    ("TransactionConflict", Kind::Unavailable),
    ("TransactionConflictException", Kind::Unavailable),
    ("TransactionInProgressException", Kind::Unavailable),
    ("TransactionThrottledException", Kind::Throttled),
    ("UnrecognizedClientException", Kind::Refused),
    ("ValidationError", Kind::Defect),
    ("ValidationException", Kind::Defect),
    ("XAmzContentSHA256Mismatch", Kind::Unavailable),
];

/// For an answer that names no code.
pub(crate) const NO_CODE: &str = "no code";

/// The code decides, not the status: a 200 may hold an error. A code that we do not know passes by itself when the
/// service is to blame; else people have to look at it.
fn kind_of(code: &str, status: u16) -> Kind {
    match CODES.binary_search_by(|(known, _)| (*known).cmp(code)) {
        Ok(index) => CODES.get(index).map_or(Kind::Defect, |(_, kind)| *kind),
        Err(_) if status == 429 => Kind::Throttled,
        Err(_) if status >= 500 => Kind::Unavailable,
        // The answer to a HEAD has no body to name it in: S3 says so of a token that has expired.
        Err(_) if status == 400 && code == NO_CODE => Kind::Unavailable,
        Err(_) => Kind::Refused,
    }
}

/// The port's error for what a service said, boiled down: an error's full text may repeat what was sent.
pub(crate) fn refusal(operation: &'static str, code: &str, status: u16) -> PortError {
    let cause = format!("{code} (HTTP {status})");
    match kind_of(code, status) {
        Kind::Throttled => {
            tracing::info!(target: METRICS, operation, throttles = 1);
            PortError::throttled(operation, cause)
        }
        Kind::Unavailable => PortError::unavailable(operation, cause),
        Kind::Refused => PortError::refused(operation, cause),
        Kind::Defect => PortError::defect(operation, cause),
    }
}

/// The port's error for a failed call.
pub(crate) fn port_error<E: ProvideErrorMetadata>(operation: &'static str, error: &SdkError<E>) -> PortError {
    match error {
        SdkError::ServiceError(refused) => {
            refusal(operation, refused.err().code().unwrap_or(NO_CODE), refused.raw().status().as_u16())
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

/// Whether a write was made that has a condition; false where its condition did not hold.
pub(crate) fn was_made<T, E>(operation: &'static str, write: Result<T, SdkError<E>>) -> Result<bool, PortError>
where
    E: ProvideErrorMetadata,
{
    match write {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(port_error(operation, &error)),
    }
}

/// An item that does not have the form that this version writes.
pub(crate) fn unreadable(operation: &'static str, cause: impl Into<Cause>) -> PortError {
    PortError::defect(operation, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_and_stand_once() {
        assert!(CODES.is_sorted_by(|(one, _), (other, _)| one < other), "sorted, each once");
        for (code, kind) in CODES {
            assert_eq!(kind_of(code, 400), kind, "{code}");
        }
    }

    /// What passes by itself pages nobody; what people have to mend does, and at once.
    #[test]
    fn each_code_is_of_the_kind_that_operators_need() {
        for passes in [
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "RequestTimeout",
            "RequestTimeoutException",
            "KMS.ThrottlingException",
            "KmsThrottled",
            "IncompleteBody",
            "InvalidRange",
            "SlowDown",
            "ProvisionedThroughputExceeded",
            "TransactionConflict",
            NO_CODE,
        ] {
            assert!(refusal("read", passes, 400).is_transient(), "{passes}");
        }
        for mended in ["AccessDenied", "ResourceNotFoundException", "NoSuchBucket", "KmsDisabled", "QueueDoesNotExist"]
        {
            assert_eq!(kind_of(mended, 400), Kind::Refused, "{mended}");
        }
        for wrong in ["ValidationException", "ValidationError", "SerializationException", "EntityTooSmall"] {
            assert_eq!(kind_of(wrong, 400), Kind::Defect, "{wrong}");
        }
        assert_eq!(kind_of(NO_CODE, 403), Kind::Refused, "a HEAD that is not allowed");
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        assert_eq!(kind_of("InternalError", 200), Kind::Unavailable, "an error inside a 200");
        assert_eq!(kind_of("AccessDenied", 503), Kind::Refused);
        assert_eq!(kind_of("SomethingNew", 500), Kind::Unavailable);
        assert_eq!(kind_of("SomethingNew", 429), Kind::Throttled);
        assert_eq!(kind_of("SomethingNew", 400), Kind::Refused);
        assert_eq!(
            refusal("write records", "SlowDown", 503).to_string(),
            "write records: throttled: SlowDown (HTTP 503)"
        );
    }
}
