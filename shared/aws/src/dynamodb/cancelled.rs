//! Why a transaction was cancelled.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use domain::ports::{AcceptError, Cancellation, PortError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    None,
    Condition,
    Contention,
    Other,
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
        Some(_) => Reason::Other,
    }
}

/// The conditions that failed, by the order of the items in `accept`. A cancellation for another
/// reason (throttling, say) is a port's error.
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
        return Err(PortError::throttled("accept job", "transaction was cancelled"));
    }
    Ok(AcceptError::Cancelled(cancellation))
}

/// Whether nothing but another transaction at work on the same items stood in the way.
pub(super) fn is_contended<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    reasons(error).is_some_and(|all| all.contains(&Reason::Contention) && !all.contains(&Reason::Condition))
}
