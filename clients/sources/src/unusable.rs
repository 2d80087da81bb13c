//! What was given cannot be used as it is.

/// What was given cannot be used as it is, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// An error that says that something given cannot be used.
pub fn unusable(message: impl Into<String>) -> anyhow::Error {
    Unusable(message.into()).into()
}
