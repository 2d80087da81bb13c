//! Why a transaction was cancelled.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use ports::{AcceptError, Cancellation, PortError};

use crate::error::refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    None,
    Condition,
    Contention,
    /// By its code: throttling, a wrong request, a missing permission.
    Other(String),
}

/// Why each of the transaction's items was refused, in their order; `None` when it was not cancelled.
pub(super) fn reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Vec<Reason>> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            Some(cancelled.cancellation_reasons().iter().map(reason).collect())
        }
        _ => None,
    }
}

fn reason(told: &CancellationReason) -> Reason {
    match told.code() {
        None | Some("None") => Reason::None,
        Some("ConditionalCheckFailed") => Reason::Condition,
        Some("TransactionConflict") => Reason::Contention,
        Some(code) => Reason::Other(code.to_owned()),
    }
}

/// The conditions that failed, by the order of the items in `accept`. A cancellation for another
/// reason is a port's error.
pub(super) fn cancellation(reasons: &[Reason], with_upload: bool) -> Result<AcceptError, PortError> {
    let failed = |index: usize| reasons.get(index) == Some(&Reason::Condition);
    let cancellation = Cancellation {
        job_exists: failed(0),
        window_changed: failed(1),
        month_full: failed(2),
        upload_unusable: with_upload && failed(3),
        idempotency_key_used: failed(if with_upload { 4 } else { 3 }),
        contention: reasons.contains(&Reason::Contention),
    };
    if cancellation == Cancellation::default() {
        return Err(other("accept job", reasons));
    }
    Ok(AcceptError::Cancelled(cancellation))
}

/// The error of a transaction that was cancelled for another reason than a condition.
pub(super) fn other(operation: &'static str, reasons: &[Reason]) -> PortError {
    let codes = reasons.iter().filter_map(|reason| match reason {
        Reason::Other(code) => Some(code.as_str()),
        Reason::None | Reason::Condition | Reason::Contention => None,
    });
    let errors: Vec<_> = codes.map(|code| refusal(operation, code, 400)).collect();
    // What does not pass by itself is told before what does.
    let worst = errors.into_iter().min_by_key(PortError::is_transient);
    worst.unwrap_or_else(|| PortError::unavailable(operation, "transaction was cancelled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_reasons_keep_their_meaning() {
        let of = |codes: &[&str]| {
            let reasons: Vec<_> = codes.iter().map(|code| Reason::Other((*code).to_owned())).collect();
            other("update job", &reasons)
        };
        assert!(matches!(of(&["ThrottlingError"]), PortError::Throttled { .. }));
        assert!(matches!(of(&["ProvisionedThroughputExceeded"]), PortError::Throttled { .. }));
        assert!(matches!(of(&["ThrottlingError", "ValidationError"]), PortError::Defect { .. }));
        assert!(matches!(of(&["AccessDenied"]), PortError::Refused { .. }));
        assert!(matches!(of(&[]), PortError::Unavailable { .. }));
    }
}
