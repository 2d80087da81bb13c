//! Why jobs fail.

use serde::{Deserialize, Serialize};

/// Why a job failed: a closed list, so that no cause with content in it can slip out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    AttemptsExhausted,
    TooOld,
    SourceMissing,
    UploadChanged,
    TooManyRecords,
    UploadTooLarge,
    /// The upload begins like gzip, and is not.
    UploadUnreadable,
    MonthlyQuotaExceeded,
    /// A file has as many chunks as S3 puts together.
    ExportTooLarge,
    /// The file could not be put together.
    FileLost,
    /// The mapping to FHIR is another one than when the job was started.
    MappingChanged,
    /// The job is not as it should be: its item, its source or its counts.
    InternalError,
    /// By its owner.
    Cancelled,
}

impl FailureReason {
    /// The stable code, and the text for people with what they can do.
    fn code_and_message(self) -> (&'static str, &'static str) {
        match self {
            Self::AttemptsExhausted => {
                ("attempts_exhausted", "Processing was interrupted too often; start the job again")
            }
            Self::TooOld => ("too_old", "Processing did not finish within 24 hours; start the job again"),
            Self::SourceMissing => (
                "source_missing",
                "The data to import no longer exists; succeededRecords says how many records were stored at least; \
                     start the job again",
            ),
            Self::UploadChanged => (
                "upload_changed",
                "The upload was changed after the import had started; succeededRecords says how many records were \
                     stored at least; upload again",
            ),
            Self::TooManyRecords => ("too_many_records", "The upload has more than 10000 records; nothing was stored"),
            Self::UploadTooLarge => {
                ("upload_too_large", "The upload has more than 104857600 bytes once inflated; nothing was stored")
            }
            Self::UploadUnreadable => ("upload_unreadable", "The upload is not valid gzip; nothing was stored"),
            Self::MonthlyQuotaExceeded => {
                ("monthly_quota_exceeded", "Monthly request quota exceeded; nothing was stored")
            }
            Self::ExportTooLarge => {
                ("export_too_large", "The records do not fit one file; export fewer types, or use since")
            }
            Self::FileLost => ("file_lost", "The file could not be completed; start the job again"),
            Self::MappingChanged => (
                "mapping_changed",
                "The mapping to FHIR has changed since the job was started, and one file holds one; start the job again",
            ),
            Self::InternalError => ("internal_error", "Internal error; quote the job's id when you contact support"),
            Self::Cancelled => ("cancelled", "The job was cancelled"),
        }
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        self.code_and_message().0
    }

    #[must_use]
    pub fn message(self) -> &'static str {
        self.code_and_message().1
    }

    /// Whether the service is to blame, and an operator should look: the others come from what the tenant sent.
    #[must_use]
    pub fn is_service_fault(self) -> bool {
        match self {
            Self::AttemptsExhausted
            | Self::TooOld
            | Self::SourceMissing
            | Self::FileLost
            | Self::MappingChanged
            | Self::InternalError => true,
            Self::UploadChanged
            | Self::TooManyRecords
            | Self::UploadTooLarge
            | Self::UploadUnreadable
            | Self::MonthlyQuotaExceeded
            | Self::ExportTooLarge
            | Self::Cancelled => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_RECORDS, MAX_UPLOAD_BYTES, Timings};

    #[test]
    fn what_is_told_of_a_limit_is_the_limit() {
        let told = |reason: FailureReason| reason.message();
        assert!(told(FailureReason::TooManyRecords).contains(&format!("more than {MAX_RECORDS} records")));
        assert!(told(FailureReason::UploadTooLarge).contains(&format!("more than {MAX_UPLOAD_BYTES} bytes")));
        let hours = Timings::default().max_age.as_secs() / 3_600;
        assert!(told(FailureReason::TooOld).contains(&format!("within {hours} hours")));
    }
}
