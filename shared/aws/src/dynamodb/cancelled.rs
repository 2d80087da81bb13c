//! Why a transaction was cancelled.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use ports::{AcceptError, Cancellation, PortError};

use crate::error::refusal;

/// An item's condition did not hold.
pub(super) const CONDITION: &str = "ConditionalCheckFailed";
/// Another transaction is at work on the item.
pub(super) const CONTENTION: &str = "TransactionConflict";
/// The item was not in the way.
const NONE: &str = "None";

/// Why each of the transaction's items was refused, by codes in the items' order; `None` when it was not cancelled.
pub(super) fn reasons(error: &SdkError<TransactWriteItemsError>) -> Option<Vec<&str>> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            Some(cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or(NONE)).collect())
        }
        _ => None,
    }
}

/// The conditions that failed, by the order of the items in `accept`. A cancellation for another
/// reason is a port's error.
pub(super) fn cancellation(reasons: &[&str], with_upload: bool) -> Result<AcceptError, PortError> {
    let failed = |index: usize| reasons.get(index) == Some(&CONDITION);
    let cancellation = Cancellation {
        job_exists: failed(0),
        window_changed: failed(1),
        month_full: failed(2),
        upload_unusable: with_upload && failed(3),
        idempotency_key_used: failed(if with_upload { 4 } else { 3 }),
        contention: reasons.contains(&CONTENTION),
    };
    if cancellation == Cancellation::default() {
        return Err(other("accept job", reasons));
    }
    Ok(AcceptError::Cancelled(cancellation))
}

/// The error of a transaction that was cancelled for another reason than a condition.
pub(super) fn other(operation: &'static str, reasons: &[&str]) -> PortError {
    let others = reasons.iter().filter(|code| ![NONE, CONDITION, CONTENTION].contains(code));
    let errors: Vec<_> = others.map(|code| refusal(operation, code, 400)).collect();
    // What does not pass by itself is told before what does.
    let worst = errors.into_iter().min_by_key(PortError::is_transient);
    worst.unwrap_or_else(|| PortError::unavailable(operation, "transaction was cancelled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_reasons_keep_their_meaning() {
        let of = |codes: &[&str]| other("update job", codes);
        assert!(matches!(of(&["ThrottlingError"]), PortError::Throttled { .. }));
        assert!(matches!(of(&["ProvisionedThroughputExceeded"]), PortError::Throttled { .. }));
        assert!(matches!(of(&["ThrottlingError", "ValidationError"]), PortError::Defect { .. }));
        assert!(matches!(of(&["AccessDenied"]), PortError::Refused { .. }));
        assert!(matches!(of(&[]), PortError::Unavailable { .. }));
    }
}
