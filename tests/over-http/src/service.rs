//! The service's own code in a test's process, on the running stack: with another clock, another queue or worse
//! luck than the deployed functions have.

use std::sync::Arc;
use std::time::Duration;

use aws::{Aws, DynamoJobs, DynamoUsage, S3Objects};
use domain::ports::{Clock, JobQueue, JobStore, UsageStore};
use domain::{ExportSizes, Job, JobId, Pace, Partition, Principal, Scope, StartJob, Starter, Sweeper, Work, Worker};
use edge::system::{SystemClock, SystemIds};

use crate::setting;

/// The whole service on one connection to AWS.
pub struct Service {
    /// The connection.
    pub aws: Aws,
    /// What all of it takes for the time.
    pub clock: Arc<dyn Clock>,
}

impl Service {
    /// The service as it is deployed.
    pub async fn new() -> Self {
        Self::at(Arc::new(SystemClock)).await
    }

    /// The service by another clock.
    pub async fn at(clock: Arc<dyn Clock>) -> Self {
        Self { aws: Aws::from_env().await, clock }
    }

    /// The times of the stack under test.
    #[must_use]
    pub fn pace() -> Pace {
        Pace { lease: Duration::from_secs(6), resend: Duration::from_secs(5), ..Pace::default() }
    }

    /// Where jobs are kept.
    #[must_use]
    pub fn jobs(&self) -> Arc<DynamoJobs> {
        Arc::new(self.aws.jobs(setting("JOBS_TABLE"), setting("USAGE_TABLE")))
    }

    /// What limits them.
    #[must_use]
    pub fn usage(&self) -> Arc<DynamoUsage> {
        Arc::new(self.aws.usage(setting("USAGE_TABLE")))
    }

    /// Where files are kept.
    #[must_use]
    pub fn objects(&self) -> Arc<S3Objects> {
        Arc::new(self.aws.objects(setting("BUCKET")))
    }

    /// The queues of the deployed processors.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::new(self.aws.queue(Some(setting("IMPORT_QUEUE_URL")), Some(setting("EXPORT_QUEUE_URL"))))
    }

    /// What starts jobs.
    #[must_use]
    pub fn starter(&self, queue: Arc<dyn JobQueue>) -> Starter {
        Starter {
            jobs: self.jobs(),
            usage: self.usage(),
            objects: self.objects(),
            queue,
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            pace: Self::pace(),
            retention: Duration::from_hours(72),
        }
    }

    /// What works on jobs.
    #[must_use]
    pub fn worker(&self, queue: Arc<dyn JobQueue>, sizes: ExportSizes) -> Worker {
        Worker {
            jobs: self.jobs(),
            records: Arc::new(self.aws.records(setting("RECORDS_TABLE"))),
            objects: self.objects(),
            queue,
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            pace: Self::pace(),
            sizes,
        }
    }

    /// What sends due jobs again.
    #[must_use]
    pub fn sweeper(&self, queue: Arc<dyn JobQueue>) -> Sweeper {
        Sweeper { jobs: self.jobs(), queue, clock: self.clock.clone(), pace: Self::pace() }
    }

    /// Starts a job of a tenant as the API functions do.
    pub async fn start(&self, partition: &Partition, work: Work, queue: Arc<dyn JobQueue>) -> JobId {
        let tenant = self.usage().tenant(&partition.tenant).await.unwrap().expect("the tenant is there");
        let key_id = "key_test".to_owned();
        let who = Principal { partition: partition.clone(), scopes: vec![Scope::All], tenant, key_id };
        self.starter(queue).start(&who, StartJob { work, idempotency: None }).await.unwrap().job_id
    }

    /// A job as it stands.
    pub async fn job(&self, partition: &Partition, id: &JobId) -> Job {
        self.jobs().get(partition, id, self.clock.now()).await.unwrap().expect("the job is there")
    }
}
