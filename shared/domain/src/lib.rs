//! The rules of the service: who may do what, how a job goes from accepted to ended, and what it needs
//! from outside, as traits.
//!
//! Nothing here does I/O, knows HTTP or AWS, reads a clock or draws randomness by itself: the ports are
//! handed in, so that every rule runs in tests exactly as it runs in production.

mod accepting;
#[cfg(feature = "testing")]
pub mod contract;
mod exporting;
mod files;
mod identity;
mod importing;
mod jobs;
mod limits;
mod managing;
#[cfg(feature = "testing")]
pub mod memory;
mod metrics;
pub mod ports;
mod retry;
mod sweeping;
mod timings;

pub use accepting::{
    AcceptJobError, Accepted, CreateUploadError, ExportRequest, ExportStarter, Fingerprint, IDEMPOTENCY_WINDOW,
    IdempotencyEntry, IdempotencyKey, ImportData, ImportRequest, ImportStarter, InvalidIdempotencyKey, JobAcceptor,
    MAX_OPEN_UPLOADS, MAX_UPLOAD_BYTES, Upload, Uploader,
};
pub use exporting::{ExportCheckpoint, ExportPlan, ExportWorker, OpenFile};
pub use files::{ChunkSize, Inflater, KeyPrefix, ObjectKey, Report};
pub use identity::{
    ApiKey, ApiKeyHash, AuthenticationError, Authenticator, Environment, InvalidId, JobId, KEY_CACHE_TIME,
    MalformedKey, Partition, Principal, RequestId, Scope, StoredKey, TenantId, Token, UnknownScope, UploadId,
};
pub use importing::{ImportWorker, MAX_RECORDS, Validation};
pub use jobs::{
    Checkpoint, Compression, Delivery, Event, ExportSpec, FailureReason, FileLayout, IllegalTransition, ImportSource,
    InvalidLabel, InvalidMessage, Job, JobDriver, JobMessage, JobOutcome, JobResult, JobSpec, JobState, JobType,
    JobWorker, Label, Lease, LeaseRequest, LineViolation, MAX_INLINE_VIOLATIONS, MAX_TAKEOVERS, NewJob, Progress,
    Refusal, Release, Reservation, ResultFile,
};
pub use limits::{
    DEFAULT_BULK_OPERATIONS_PER_HOUR, MAX_BULK_OPERATIONS_PER_HOUR, Month, Plan, Pool, RateLimit, Tenant, UnknownPlan,
    Window, next_month,
};
pub use managing::{InvalidCursor, JobCursor, JobFilter, JobLister, JobManager, JobPage, MAX_PAGE, ManageJobError};
pub use metrics::METRICS;
pub use retry::{Backoff, RetryPolicy, retry};
pub use sweeping::{Sweeper, Swept};
pub use timings::{Timings, after, transaction_time};
