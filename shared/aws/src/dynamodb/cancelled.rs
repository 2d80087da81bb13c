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

pub(super) fn cancellation_reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// Why the transaction's item of that index was refused.
pub(super) fn reason(reasons: &[CancellationReason], index: usize) -> Reason {
    match reasons.get(index).and_then(CancellationReason::code) {
        None | Some("None") => Reason::None,
        Some("ConditionalCheckFailed") => Reason::Condition,
        Some("TransactionConflict") => Reason::Contention,
        Some(_) => Reason::Other,
    }
}

/// The conditions that failed, by the order of the items in `accept`. A cancellation for another
/// reason (throttling, say) is a port's error.
pub(super) fn cancellation(reasons: &[CancellationReason], with_upload: bool) -> Result<AcceptError, PortError> {
    let all: Vec<_> = (0..reasons.len()).map(|index| reason(reasons, index)).collect();
    let failed = |index: usize| all.get(index) == Some(&Reason::Condition);
    let cancellation = Cancellation {
        job_exists: failed(0),
        window_changed: failed(1),
        month_full: failed(2),
        upload_unusable: with_upload && failed(3),
        idempotency_key_used: failed(if with_upload { 4 } else { 3 }),
        contention: all.contains(&Reason::Contention),
    };
    if cancellation == Cancellation::default() {
        return Err(PortError::Unavailable { operation: "accept job", cause: "transaction was cancelled".into() });
    }
    Ok(AcceptError::Cancelled(cancellation))
}

/// Whether nothing but another transaction at work on the same items stood in the way.
pub(super) fn is_contended<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    cancellation_reasons(error).is_some_and(|reasons| {
        let all: Vec<_> = (0..reasons.len()).map(|index| reason(reasons, index)).collect();
        all.contains(&Reason::Contention) && !all.contains(&Reason::Condition)
    })
}
