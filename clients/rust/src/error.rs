//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

/// A call that did not succeed. No text of it holds a key, a signed URL or a value of a record.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
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

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL, or a proxy's, cannot be used.
    #[error("{0}")]
    Url(String),
    /// The authorities of `SSL_CERT_FILE` cannot be read.
    #[error("read SSL_CERT_FILE")]
    Authorities(#[from] std::io::Error),
    /// There are none in it.
    #[error("SSL_CERT_FILE holds no certificate")]
    NoAuthority,
}

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A call failed for good, or too often.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What came is not what the job names.
    #[error("{0}")]
    Mismatch(String),
}

/// An error of the service, in its own words.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// Stable: programs go by it.
    pub code: String,
    /// For people.
    pub message: String,
    /// What is wrong, one text for each violation.
    pub issues: Vec<String>,
    /// To quote when support is asked.
    pub request_id: String,
    /// When to come again, if the service has said so.
    pub retry_after: Option<Duration>,
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
    /// How long to wait for a rate limit's next slot; `None` for everything else.
    #[must_use]
    pub fn slot_in(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) if refused.status == 429 && refused.code == "RATE_LIMITED" => {
                Some(refused.retry_after.unwrap_or(Duration::from_mins(1)))
            }
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused(refused) => refused.status == 408 || refused.status >= 500,
            Self::NotTheApi | Self::NoSuchJob | Self::Gone(_) | Self::Changed => false,
        }
    }

    /// Whether there is no such job.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchJob) || matches!(self, Self::Refused(refused) if refused.status == 404)
    }

    /// Whether the fault is in the upload that was named: absent, used or expired.
    #[must_use]
    pub fn is_about_upload(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 422
            && refused.issues.iter().any(|issue| issue.starts_with("uploadId")))
    }
}
