//! The data of the service and what can be said of it without asking anybody: ids, keys, plans, jobs and their states,
//! where things lie. No trait, nothing asynchronous; a clock and randomness are handed in.

mod changes;
mod digest;
mod files;
mod idempotency;
mod ids;
mod job_type;
mod jobs;
mod keys;
mod limits;
mod timings;
mod uploads;
mod validation;

pub use changes::{
    CHANGE_LOG_REACH, CHANGE_RETENTION, ChangeGroup, ChangeItem, ChangeLog, Deletion, LOGS, MAX_STAMP_AGE, SHARDS,
    Shard, Stamp, shard_of,
};
pub use digest::{FileDigest, sha256_hex};
pub use files::{ChunkSize, Chunks, Compression, FileName, KeyPrefix, MAX_CHUNKS, MultipartId, ObjectKey, Report};
pub use idempotency::{Fingerprint, IDEMPOTENCY_WINDOW, IdempotencyEntry, IdempotencyKey};
pub use ids::{Environment, InvalidText, JobId, Partition, RequestId, TenantId, Token, UploadId};
pub use job_type::JobType;
pub use jobs::{
    AssemblyState, Checkpoint, Cursor, DELETIONS_FILE, Event, ExportCheckpoint, ExportPlan, ExportSpec, FailureReason,
    FileLayout, IllegalTransition, ImportFormat, ImportSource, InvalidMessage, Job, JobMessage, JobOutcome, JobResult,
    JobSpec, JobState, Label, Lease, LeaseRequest, LineViolation, MAX_INLINE_VIOLATIONS, MAX_TAKEOVERS, NewJob,
    OpenFile, OpenLane, Position, Progress, RecordFormat, Refusal, Release, Reservation, ResultFile, SavedDigest,
    Settlement, Tail, cleared_at,
};
pub use keys::{ApiKey, ApiKeyHash, KEY_CACHE_TIME, Principal, Scope, StoredKey};
pub use limits::{
    DEFAULT_BULK_OPERATIONS_PER_HOUR, MAX_BULK_OPERATIONS_PER_HOUR, Month, Plan, Pool, RateLimit, Tenant, Window,
    next_month,
};
pub use timings::{Timings, after, transaction_time};
pub use uploads::{
    MAX_OPEN_UPLOADS, MAX_UPLOAD_BYTES, OpenUploads, UPLOAD_LIFETIME, UPLOAD_MEMORY, URL_LIFETIME, Upload, UploadSlot,
};
pub use validation::{LineValidator, LossLine, MAX_LINE, MAX_RECORDS, ValidLine, Validation};
