//! The ports on AWS: one module per service. The only crate that names a type of the AWS
//! SDK; it carries calls out and never decides about a state.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::retry::RetryPartition;
use ports::IdSource;

#[cfg(feature = "operators")]
mod audit;
mod dynamodb;
mod error;
mod purge;
mod s3;
mod sqs;
#[cfg(feature = "operators")]
mod stack;

#[cfg(feature = "operators")]
pub use audit::{OperatorAction, OperatorAudit};
pub use dynamodb::{DynamoJobs, DynamoKeys, DynamoRecords, DynamoUsage};
pub use purge::Purge;
pub use s3::S3Objects;
pub use sqs::SqsJobQueue;
#[cfg(feature = "operators")]
pub use stack::{StackResource, TableSettings};

/// The connection to AWS: region, credentials and endpoint from the environment, and one pool of
/// connections for all clients. Build it once, at the start of a function.
pub struct Aws {
    config: SdkConfig,
    retries: Option<RetryPartition>,
}

/// How long one try of a call may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK's behaviour of that date: an update of the crates changes none of it.
#[must_use]
pub fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// How long one try of a record write may take: the stamp must not be much older when the record appears.
const WRITE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the upload of one part may take.
const UPLOAD_ATTEMPT_TIMEOUT: Duration = Duration::from_mins(1);

impl Aws {
    /// Reads the configuration from the environment.
    pub async fn from_env() -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(3)).operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let config = aws_config::defaults(behavior())
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .load()
            .await;
        Self { config, retries: None }
    }

    /// Takes a configuration as it is, with a quota of retries of that name. Otherwise all connections of a process have
    /// one quota, and what cannot be reached over one of them leaves none to the others.
    #[must_use]
    pub fn with_config(config: SdkConfig, quota: String) -> Self {
        Self { config, retries: Some(RetryPartition::new(quota)) }
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::config::Builder {
        let mut builder = aws_sdk_dynamodb::config::Builder::from(&self.config);
        builder.set_retry_partition(self.retries.clone());
        builder
    }

    fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::from_conf(self.dynamodb().build())
    }

    /// Jobs in their table; acceptance and refunds also write to the usage table.
    #[must_use]
    pub fn jobs(&self, jobs_table: String, usage_table: String) -> DynamoJobs {
        DynamoJobs { client: self.dynamodb_client(), jobs_table, usage_table }
    }

    /// Records in their table. Writes are tried once, for 3 s: no try starts under an old stamp.
    #[must_use]
    pub fn records(&self, table: String) -> DynamoRecords {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(WRITE_ATTEMPT_TIMEOUT).build();
        let writing = self.dynamodb().retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
        let (reader, writer) = (self.dynamodb_client(), aws_sdk_dynamodb::Client::from_conf(writing));
        DynamoRecords { reader, writer, table, packer: Mutex::default() }
    }

    /// Keys in their table.
    #[must_use]
    pub fn keys(&self, table: String) -> DynamoKeys {
        DynamoKeys { client: self.dynamodb_client(), table }
    }

    /// Plans and counters in their table; `ids` draws delays between tries.
    #[must_use]
    pub fn usage(&self, table: String, ids: Arc<dyn IdSource>) -> DynamoUsage {
        DynamoUsage { client: self.dynamodb_client(), table, ids }
    }

    /// Files in a bucket.
    #[must_use]
    pub fn objects(&self, bucket: String) -> S3Objects {
        use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};

        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(UPLOAD_ATTEMPT_TIMEOUT).build();
        let mut config = Builder::from(&self.config);
        config.set_retry_partition(self.retries.clone());
        let config = config
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .timeout_config(timeouts)
            .build();
        S3Objects { client: aws_sdk_s3::Client::from_conf(config), bucket }
    }

    /// What deletes a partition.
    #[must_use]
    pub fn purge(&self, jobs_table: String, records_table: String, usage_table: String, bucket: String) -> Purge {
        let dynamodb = self.dynamodb_client();
        Purge { dynamodb, files: self.objects(bucket), jobs_table, records_table, usage_table, only_looks: false }
    }

    /// The queue of one type of job.
    #[must_use]
    pub fn queue(&self, url: String) -> SqsJobQueue {
        let mut config = aws_sdk_sqs::config::Builder::from(&self.config);
        config.set_retry_partition(self.retries.clone());
        SqsJobQueue { client: aws_sdk_sqs::Client::from_conf(config.build()), url }
    }
}
