//! Failures that callers tell apart.

/// A failure with a meaning of its own. What cannot be used as it is given is a [`sources::Unusable`], what the service
/// says a [`clinikapi::ApiError`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
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

/// What was got, or is there, is not what it must be.
pub(crate) fn mismatch(message: impl Into<String>) -> anyhow::Error {
    Failure::Mismatch(message.into()).into()
}
