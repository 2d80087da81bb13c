//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

/// No wait is shorter, whatever the service says: a loop must not turn hot.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// A call that did not succeed. No text of it holds a key, a signed URL or a value of a record.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service said no.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// Nothing was heard, or not all of it.
    #[error("cannot reach the service: {0}")]
    Network(String),
    /// Whoever answered with this HTTP status is not the API: another service, or a proxy on the way.
    #[error("the answer (HTTP {0}) is not the bulk API's: check the base URL, and proxies on the way")]
    NotTheApi(u16),
    /// The answer is JSON, and lacks what this version reads of it.
    #[error("the answer is not the bulk API's as this version knows it")]
    Unreadable,
    /// The answer tells of another job than was asked for: an old answer that somebody on the way has kept.
    #[error("the answer is of another job than was asked for: check proxies on the way")]
    OtherJob,
    /// The API names a link without TLS, and is reached with it itself.
    #[error("the service names a link that begins with http://, and patients' data would travel in the clear")]
    InsecureLink,
    /// The store behind a pre-signed URL did not take the content.
    #[error("the store refused the upload (HTTP {status} {code})")]
    StoreRefused {
        status: u16,
        /// The store's own code: `AccessDenied`, `EntityTooLarge`. Empty where it has sent none.
        code: String,
    },
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
                Some(refused.retry_after.unwrap_or(Duration::from_mins(1)).max(SHORTEST_WAIT))
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
            Self::NotTheApi(status) => matches!(status, 408 | 429 | 500..),
            Self::NoSuchJob
            | Self::Unreadable
            | Self::OtherJob
            | Self::InsecureLink
            | Self::StoreRefused { .. }
            | Self::Gone(_)
            | Self::Changed => false,
        }
    }

    /// Whether the answer is not the service's to this call: whoever is on the way has sent something else.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::NotTheApi(_) | Self::Unreadable | Self::OtherJob)
    }

    /// Whether a call that is repeated for it may have had its effect all the same. A limit proves that it had none.
    pub(crate) fn may_have_acted(&self) -> bool {
        self.is_passing() && !matches!(self, Self::NotTheApi(429))
    }

    /// Whether the service itself says that there is no such job, and not somebody on the way.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchJob)
            || matches!(self, Self::Refused(refused) if refused.status == 404 && refused.code == "NOT_FOUND")
    }

    /// What became of the upload that an import named, where that is why it was refused.
    #[must_use]
    pub fn upload_fate(&self) -> Option<UploadFate> {
        let Self::Refused(refused) = self else { return None };
        let rule = refused.issues.iter().find_map(|issue| issue.strip_prefix("uploadId: "));
        let rule = rule.filter(|_| refused.status == 422)?;
        Some(match (rule, rule.strip_prefix("Used by ")) {
            (_, Some(job_id)) => UploadFate::UsedBy(job_id.to_owned()),
            ("Expired", _) => UploadFate::Expired,
            ("Nothing has been uploaded", _) => UploadFate::Empty,
            _ => UploadFate::Unknown,
        })
    }
}

/// What the service says of an upload that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadFate {
    /// This job has imported it.
    UsedBy(String),
    /// Nothing has imported it, and nothing can any more: whatever it held was never accepted.
    Expired,
    /// Nothing has been uploaded to it, so nothing was accepted either.
    Empty,
    /// Nothing is known of it. That proves nothing.
    Unknown,
}
