//! What a function is deployed with: its settings, and the tables, files and queues that they name. A function asks for
//! what it needs, and then checks once that all of it was there.

use std::sync::Arc;

use aws::{Aws, DynamoJobs, DynamoKeys, DynamoRecords, DynamoUsage, S3Objects, SqsJobQueue};
use runtime::{InvalidSettings, Settings, SystemIds};

/// The environment of a deployed function.
pub struct Deployment {
    /// What is no adapter: durations, and the ways by which calls may come.
    pub settings: Settings<'static>,
    aws: Aws,
}

impl Deployment {
    /// Begins a function: telemetry, settings, and one connection to AWS for all adapters.
    pub async fn from_env() -> Self {
        runtime::init_telemetry();
        Self { settings: Settings::from_env(), aws: Aws::from_env().await }
    }

    /// Jobs: `JOBS_TABLE` and `USAGE_TABLE`.
    pub fn jobs(&mut self) -> Arc<DynamoJobs> {
        let (jobs, usage) = (self.settings.required("JOBS_TABLE"), self.settings.required("USAGE_TABLE"));
        Arc::new(self.aws.jobs(jobs, usage))
    }

    /// Records: `RECORDS_TABLE`.
    pub fn records(&mut self) -> Arc<DynamoRecords> {
        Arc::new(self.aws.records(self.settings.required("RECORDS_TABLE")))
    }

    /// Keys: `API_KEYS_TABLE`.
    pub fn keys(&mut self) -> Arc<DynamoKeys> {
        Arc::new(self.aws.keys(self.settings.required("API_KEYS_TABLE")))
    }

    /// Plans and counters: `USAGE_TABLE`.
    pub fn usage(&mut self) -> Arc<DynamoUsage> {
        Arc::new(self.aws.usage(self.settings.required("USAGE_TABLE"), Arc::new(SystemIds)))
    }

    /// Files: `BUCKET`.
    pub fn files(&mut self) -> Arc<S3Objects> {
        Arc::new(self.aws.objects(self.settings.required("BUCKET")))
    }

    /// The queue of imports: `IMPORT_QUEUE_URL`.
    pub fn imports(&mut self) -> Arc<SqsJobQueue> {
        Arc::new(self.aws.queue(self.settings.required("IMPORT_QUEUE_URL")))
    }

    /// The queue of exports: `EXPORT_QUEUE_URL`.
    pub fn exports(&mut self) -> Arc<SqsJobQueue> {
        Arc::new(self.aws.queue(self.settings.required("EXPORT_QUEUE_URL")))
    }

    /// Ends the reading: an error that names every setting that is wrong, or the go-ahead.
    pub fn check(self) -> Result<(), InvalidSettings> {
        self.settings.check()
    }
}
