//! For how long the URLs of a job's files work. That of an upload is [`model::URL_LIFETIME`].

use std::time::Duration;

/// For how long a file can be downloaded by the URL that a poll of its job hands out (openapi.yaml).
pub const DOWNLOAD_LIFETIME: Duration = Duration::from_hours(1);

/// For how long it can be downloaded where its stable link leads (openapi.yaml).
pub const LINK_LIFETIME: Duration = Duration::from_mins(15);
