//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

use crate::exit::Exit;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The service said no.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// Nothing was heard, or not all of it.
    #[error("cannot reach the service: {0}")]
    Network(String),
    /// Whoever answered is not the API.
    #[error("the answer is not the bulk API's: check the base URL")]
    NotTheApi,
    /// No job can have that id.
    #[error("no such job")]
    NoSuchJob,
    /// A file behind a pre-signed URL is gone, or its URL has expired.
    #[error("the file is gone, or its link has expired (HTTP {0})")]
    Gone(u16),
    /// A file changed between two pieces of it.
    #[error("the file changed while it was read")]
    Changed,
}

/// An error of the service, in its own words.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// What is wrong, one text for each fault.
    pub(crate) issues: Vec<String>,
    pub(crate) request_id: String,
    pub(crate) retry_after: Option<Duration>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if !self.issues.is_empty() {
            write!(formatter, ": {}", self.issues.join("; "))?;
        }
        write!(formatter, " ({} {}", self.status, self.code)?;
        if !self.request_id.is_empty() {
            write!(formatter, ", request {}", self.request_id)?;
        }
        formatter.write_str(")")
    }
}

impl ApiError {
    /// The exit that the error stands for.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused(refused) => match refused.status {
                401 | 403 => Exit::Key,
                429 => Exit::Limit,
                _ => Exit::Failed,
            },
            Self::Network(_) | Self::NotTheApi | Self::NoSuchJob | Self::Gone(_) | Self::Changed => Exit::Failed,
        }
    }

    /// How long to wait for a rate limit's next slot; `None` for everything else.
    pub(crate) fn slot_in(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) if refused.status == 429 && refused.code == "RATE_LIMITED" => {
                Some(refused.retry_after.unwrap_or(Duration::from_mins(1)))
            }
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused(refused) => refused.status == 408 || refused.status >= 500,
            Self::NotTheApi | Self::NoSuchJob | Self::Gone(_) | Self::Changed => false,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchJob) || matches!(self, Self::Refused(refused) if refused.status == 404)
    }

    /// Whether the fault is in the upload that was named: absent, used or expired.
    pub(crate) fn is_about_upload(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 422
            && refused.issues.iter().any(|issue| issue.starts_with("uploadId")))
    }
}
