//! The exit codes, and the failures that carry them.

use clinikapi::{ApiError, BuildError, InvalidKey};
use sources::Unusable;
pub(crate) use sources::unusable as usage;
use tables::RowError;
pub(crate) use transfer::Failure;

/// How a command ended, with the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing rejected.
    Done = 0,
    /// Another failure.
    Failed = 1,
    /// The arguments, or a file named by them, cannot be used as they are.
    Usage = 2,
    /// Done, with more rejected than `--max-rejected` allows.
    Rejected = 3,
    /// The key is missing, wrong, or lacks a scope.
    Key = 4,
    /// A job failed or was cancelled.
    JobFailed = 5,
    /// Not finished: resume.
    Unfinished = 6,
    /// A limit is used up.
    Limit = 7,
    /// A hash or a count is not what it must be.
    Mismatch = 8,
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// The key is missing or cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KeyProblem(pub(crate) String);

/// The exit that an error stands for: the one place that maps them.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return match failure {
            Failure::JobFailed(_) => Exit::JobFailed,
            Failure::Unfinished(_) => Exit::Unfinished,
            Failure::Limit(_) => Exit::Limit,
            Failure::Mismatch(_) => Exit::Mismatch,
        };
    }
    if let Some(error) = error.downcast_ref::<ApiError>() {
        return match error {
            ApiError::Refused(refused) => match refused.status {
                401 | 403 => Exit::Key,
                429 => Exit::Limit,
                _ => Exit::Failed,
            },
            ApiError::Network(_)
            | ApiError::NotTheApi(_)
            | ApiError::Unreadable
            | ApiError::OtherJob
            | ApiError::InsecureLink
            | ApiError::StoreRefused { .. }
            | ApiError::NoSuchJob
            | ApiError::Gone(_)
            | ApiError::Changed => Exit::Failed,
        };
    }
    let is_usage =
        error.is::<Unusable>() || error.is::<RowError>() || matches!(error.downcast_ref(), Some(BuildError::Url(_)));
    if is_usage {
        Exit::Usage
    } else if error.is::<KeyProblem>() || error.is::<InvalidKey>() {
        Exit::Key
    } else {
        Exit::Failed
    }
}
