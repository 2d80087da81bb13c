//! Why jobs fail.

use serde::{Deserialize, Serialize};

/// Why a job failed: a closed list, so that no cause with content in it can slip out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Worker after worker died at the same place.
    AttemptsExhausted,
    /// The job could not be done within its time.
    TooOld,
    /// What was to be imported is no longer there.
    SourceMissing,
    /// The upload was written to after the job had been accepted.
    UploadChanged,
    /// The upload has more lines than a batch may have.
    TooManyRecords,
    /// The upload has more bytes, inflated, than it may have.
    UploadTooLarge,
    /// The upload begins like gzip, and is not.
    UploadUnreadable,
    /// The month has no room for the upload's records.
    MonthlyQuotaExceeded,
    /// The records do not fit one file.
    ExportTooLarge,
    /// The parts of the file are gone.
    FileLost,
}

impl FailureReason {
    /// The reason's stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::TooOld => "too_old",
            Self::SourceMissing => "source_missing",
            Self::UploadChanged => "upload_changed",
            Self::TooManyRecords => "too_many_records",
            Self::UploadTooLarge => "upload_too_large",
            Self::UploadUnreadable => "upload_unreadable",
            Self::MonthlyQuotaExceeded => "monthly_quota_exceeded",
            Self::ExportTooLarge => "export_too_large",
            Self::FileLost => "file_lost",
        }
    }

    /// The reason for people, with what they can do.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "Processing was interrupted too often; start the job again",
            Self::TooOld => "Processing did not finish within 24 hours; start the job again",
            Self::SourceMissing => "The data to import is no longer there; start the job again",
            Self::UploadChanged => "The upload was changed after the import had started; upload again",
            Self::TooManyRecords => "The upload has more than 10000 records; nothing was stored",
            Self::UploadTooLarge => "The upload has more than 104857600 bytes once inflated; nothing was stored",
            Self::UploadUnreadable => "The upload is not valid gzip; nothing was stored",
            Self::MonthlyQuotaExceeded => "The month's requests do not suffice for the upload; nothing was stored",
            Self::ExportTooLarge => "The records do not fit one file; export fewer types, or with since",
            Self::FileLost => "The file could not be put together; start the job again",
        }
    }
}
