//! The service's own code in a test's process, on the running stack: with another clock, another queue or worse
//! luck than the deployed functions have.

use std::sync::Arc;
use std::time::Duration;

use api::{ExportRequest, ExportStarter, ImportRequest, ImportStarter, JobAcceptor};
use aws::{Aws, DynamoJobs, DynamoUsage, S3Objects};
use engine::{ExportWorker, ImportWorker, JobDriver, JobWorker, Sweeper};
use model::{ChunkSize, Job, JobId, JobType, Partition, Principal, Scope, Timings};
use ports::{Clock, JobQueue, JobStore, UsageStore};
use runtime::{SystemClock, SystemIds};

use crate::setting;

/// A valid call for a job of either type.
#[derive(Debug, Clone)]
pub enum Request {
    /// For an import.
    Import(ImportRequest),
    /// For an export.
    Export(ExportRequest),
}

impl Request {
    fn job_type(&self) -> JobType {
        match self {
            Self::Import(_) => JobType::Import,
            Self::Export(_) => JobType::Export,
        }
    }
}

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
    pub fn timings() -> Timings {
        let seconds = Duration::from_secs;
        Timings {
            lease: seconds(6),
            redrive: seconds(5),
            time_slice: seconds(3),
            settle: seconds(1),
            stalled: seconds(3),
            complete: seconds(5),
            ..Timings::default()
        }
    }

    /// Where jobs are kept.
    #[must_use]
    pub fn jobs(&self) -> Arc<DynamoJobs> {
        Arc::new(self.aws.jobs(setting("JOBS_TABLE"), setting("USAGE_TABLE")))
    }

    /// What limits them.
    #[must_use]
    pub fn usage(&self) -> Arc<DynamoUsage> {
        Arc::new(self.aws.usage(setting("USAGE_TABLE"), Arc::new(SystemIds)))
    }

    /// Where files are kept.
    #[must_use]
    pub fn objects(&self) -> Arc<S3Objects> {
        Arc::new(self.aws.objects(setting("BUCKET")))
    }

    /// The queue of the deployed processors of a type of job.
    #[must_use]
    pub fn queue(&self, job_type: JobType) -> Arc<dyn JobQueue> {
        Arc::new(self.aws.queue(setting(match job_type {
            JobType::Import => "IMPORT_QUEUE_URL",
            JobType::Export => "EXPORT_QUEUE_URL",
        })))
    }

    /// What accepts jobs.
    #[must_use]
    pub fn acceptor(&self, queue: Arc<dyn JobQueue>) -> JobAcceptor {
        JobAcceptor {
            acceptances: self.jobs(),
            jobs: self.jobs(),
            usage: self.usage(),
            queue,
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            timings: Self::timings(),
            retention: Duration::from_hours(72),
        }
    }

    /// What starts imports.
    #[must_use]
    pub fn import_starter(&self, queue: Arc<dyn JobQueue>) -> ImportStarter {
        ImportStarter { acceptor: self.acceptor(queue), objects: self.objects() }
    }

    /// What starts exports.
    #[must_use]
    pub fn export_starter(&self, queue: Arc<dyn JobQueue>) -> ExportStarter {
        ExportStarter { acceptor: self.acceptor(queue) }
    }

    /// What works on jobs of a type.
    #[must_use]
    pub fn worker(&self, job_type: JobType, queue: Arc<dyn JobQueue>, chunk_size: ChunkSize) -> Box<dyn JobWorker> {
        let driver = JobDriver {
            jobs: self.jobs(),
            queue,
            files: self.objects(),
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            timings: Self::timings(),
        };
        let records = Arc::new(self.aws.records(setting("RECORDS_TABLE")));
        let (objects, multipart) = (self.objects(), self.objects());
        match job_type {
            JobType::Import => Box::new(ImportWorker { driver, records, objects, multipart }),
            JobType::Export => Box::new(ExportWorker { driver, records, objects, multipart, chunk_size }),
        }
    }

    /// What redrives due jobs.
    #[must_use]
    pub fn sweeper(&self, queue: Arc<dyn JobQueue>) -> Sweeper {
        let (imports, exports) = (queue.clone(), queue);
        Sweeper { jobs: self.jobs(), imports, exports, clock: self.clock.clone(), timings: Self::timings() }
    }

    /// The sweeper as it is deployed.
    #[must_use]
    pub fn deployed_sweeper(&self) -> Sweeper {
        let (imports, exports) = (self.queue(JobType::Import), self.queue(JobType::Export));
        Sweeper { jobs: self.jobs(), imports, exports, clock: self.clock.clone(), timings: Self::timings() }
    }

    /// Starts a job of a tenant as the API functions do; its message goes to `queue`, or the deployed one.
    pub async fn start(&self, partition: &Partition, request: Request, queue: Option<Arc<dyn JobQueue>>) -> JobId {
        let tenant = self.usage().tenant(&partition.tenant).await.unwrap().expect("the tenant exists");
        let key_id = "key_test".to_owned();
        let who = Principal { partition: partition.clone(), scopes: vec![Scope::All], tenant, key_id };
        let queue = queue.unwrap_or_else(|| self.queue(request.job_type()));
        let accepted = match &request {
            Request::Import(import) => self.import_starter(queue).start(&who, import).await,
            Request::Export(export) => self.export_starter(queue).start(&who, export).await,
        };
        accepted.unwrap().job_id
    }

    /// A job as it stands.
    pub async fn job(&self, partition: &Partition, id: &JobId) -> Job {
        self.jobs().get(partition, id, self.clock.now()).await.unwrap().expect("the job is there")
    }
}
