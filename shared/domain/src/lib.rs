//! The rules of the service: who may do what, how a job goes from accepted to ended, and what it needs
//! from outside, as traits.
//!
//! Nothing here does I/O, knows HTTP or AWS, reads a clock or draws randomness by itself: the ports are
//! handed in, so that every rule runs in tests exactly as it runs in production.

mod accept;
mod authenticate;
#[cfg(feature = "testing")]
pub mod contract;
mod file_writer;
mod hold;
mod idempotency;
mod ids;
mod index_gauge;
mod job;
mod keys;
mod layout;
mod lease;
#[cfg(feature = "testing")]
pub mod memory;
mod message;
mod metrics;
mod object_key;
mod pace;
mod plan;
pub mod ports;
mod retry;
mod segment;
mod sweep;
mod upload;
mod window;
mod worker;

pub use accept::{StartError, StartJob, Started, Starter, Work};
pub use authenticate::{AuthenticationError, Authenticator, KEY_CACHE_TIME};
pub use idempotency::{Fingerprint, IDEMPOTENCY_WINDOW, IdempotencyEntry, IdempotencyKey, InvalidIdempotencyKey};
pub use ids::{Environment, InvalidId, JobId, Partition, RequestId, TenantId, Token, UploadId};
pub use index_gauge::IndexGauge;
pub use job::{
    Event, ExportPlan, FailureReason, IllegalTransition, ImportSource, Job, JobResult, JobSpec, JobStatus, JobType,
    LineFault, MAX_INLINE_FAULTS, NewJob, Phase, Progress, Reservation,
};
pub use keys::{ApiKey, ApiKeyHash, MalformedKey, Principal, Scope, StoredKey, UnknownScope};
pub use layout::{CLOSING_PART, ExportSizes, MAX_SEGMENTS, PARTS_AHEAD, PARTS_PER_SEGMENT};
pub use lease::{Claim, Lease, MAX_TAKE_OVERS};
pub use message::{InvalidMessage, JobMessage, Target};
pub use metrics::METRICS;
pub use object_key::{ObjectKey, Report};
pub use pace::{Pace, after, transaction_time};
pub use plan::{
    DEFAULT_BULK_OPERATIONS_PER_HOUR, MAX_BULK_OPERATIONS_PER_HOUR, Month, Plan, Pool, Tenant, UnknownPlan, next_month,
};
pub use retry::jitter;
pub use segment::{Checkpoint, Segment, SegmentEvent, SegmentState, overall_progress};
pub use sweep::{Sweeper, Swept};
pub use upload::{CreateUploadError, MAX_UPLOAD, Upload, Uploader};
pub use window::{RateLimit, Window};
pub use worker::{Delivery, Worker};
