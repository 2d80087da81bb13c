//! The exit codes, and the failures that carry them.

use crate::api::ApiError;
use crate::table::RowError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing rejected.
    Done,
    /// Another failure.
    Failed,
    /// The arguments, or a file named by them, cannot be used as they are.
    Usage,
    /// Done, with more rejected than `--max-rejected` allows.
    Rejected,
    /// The key is missing, wrong, or lacks a scope.
    Key,
    /// A job failed or was cancelled.
    JobFailed,
    /// Not finished: resume.
    Unfinished,
    /// A limit is used up.
    Limit,
    /// A hash or a count is not what it must be.
    Mismatch,
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Rejected => 3,
            Self::Key => 4,
            Self::JobFailed => 5,
            Self::Unfinished => 6,
            Self::Limit => 7,
            Self::Mismatch => 8,
        }
    }
}

/// A failure with an exit code of its own; any other error is [`Exit::Failed`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The key cannot be used.
    #[error("{0}")]
    Key(String),
    /// A job failed or was cancelled.
    #[error("{0}")]
    JobFailed(String),
    /// There is more to do.
    #[error("{0}")]
    Unfinished(String),
    /// A limit is used up.
    #[error("{0}")]
    Limit(String),
    /// A hash or a count is wrong.
    #[error("{0}")]
    Mismatch(String),
}

/// A failure of usage.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::Usage(message.into()).into()
}

/// The exit that an error stands for.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return match failure {
            Failure::Usage(_) => Exit::Usage,
            Failure::Key(_) => Exit::Key,
            Failure::JobFailed(_) => Exit::JobFailed,
            Failure::Unfinished(_) => Exit::Unfinished,
            Failure::Limit(_) => Exit::Limit,
            Failure::Mismatch(_) => Exit::Mismatch,
        };
    }
    if error.is::<RowError>() {
        return Exit::Usage;
    }
    error.downcast_ref::<ApiError>().map_or(Exit::Failed, ApiError::exit)
}
