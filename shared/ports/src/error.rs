//! Why a call to the outside failed.

/// The cause of a failure, kept for the log; it never names a value of a record.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A call to the outside failed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The dependency asks for fewer calls; this one had no effect.
    #[error("{operation}: throttled: {cause}")]
    Throttled {
        operation: &'static str,
        #[source]
        cause: Cause,
    },
    /// The dependency is down or did not answer: the same call may succeed later. Whether it had its effect is
    /// not known.
    #[error("{operation}: unavailable: {cause}")]
    Unavailable {
        operation: &'static str,
        #[source]
        cause: Cause,
    },
    /// The deployment is not as it should be, and people have to mend it: a missing permission, a table, bucket, queue
    /// or key that is not there.
    #[error("{operation}: refused: {cause}")]
    Refused {
        operation: &'static str,
        #[source]
        cause: Cause,
    },
    /// What was found, or asked for, is not as it should be: an item that cannot be read, a count that differs.
    #[error("{operation}: defect: {cause}")]
    Defect {
        operation: &'static str,
        #[source]
        cause: Cause,
    },
}

impl PortError {
    pub fn throttled(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Throttled { operation, cause: cause.into() }
    }

    pub fn unavailable(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Unavailable { operation, cause: cause.into() }
    }

    pub fn refused(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Refused { operation, cause: cause.into() }
    }

    pub fn defect(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Defect { operation, cause: cause.into() }
    }

    /// The kind of failure, in log lines and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Defect { .. } => "defect",
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } => true,
            Self::Refused { .. } | Self::Defect { .. } => false,
        }
    }
}
