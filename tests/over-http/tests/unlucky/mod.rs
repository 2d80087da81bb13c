//! The service with bad luck, and the calls of its API, made in the test's process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::{Authenticator, JobLister, JobManager, Uploader};
use http::{Api, Body, Method, Middleware, Request, RequestExt, Response};
use in_process::jobs::export_of;
use jiff::{SignedDuration, Timestamp};
use model::{ChunkSize, Job, JobId, ObjectKey, Partition, UploadId};
use over_http::faults::{Faults, aws_with};
use over_http::{Service, admin, setting};
use ports::{Clock, JobQueue, ObjectStore};
use records::ResourceType;
use runtime::{SystemClock, SystemIds};
use serde_json::{Value, json};
use testing::Memory;
use tokio::time::Instant;

/// A clock that a test can put forward.
#[derive(Default)]
pub(crate) struct Forward(pub(crate) AtomicI64);

impl Clock for Forward {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A tenant and its key.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) partition: Partition,
    pub(crate) key: String,
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        let id = format!("{name}-{:x}", std::process::id());
        let _created = admin(&["tenant", "create", &id, "--plan", "enterprise", "--bulk-operations-per-hour", "1000"]);
        let key = admin(&["key", "create", &id])["key"].as_str().unwrap().to_owned();
        Self { partition: format!("{id}#test").parse().unwrap(), key }
    }
}

/// The service of a tenant on a connection of its own, on which faults can be put.
pub(crate) struct Unlucky {
    pub(crate) inner: Service,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<Forward>,
    pub(crate) tenant: Tenant,
}

impl Unlucky {
    pub(crate) async fn new(tenant: &Tenant) -> Self {
        let (faults, clock) = (Faults::default(), Arc::<Forward>::default());
        let inner = Service { aws: aws_with(&faults).await, clock: clock.clone() };
        Self { inner, faults, clock, tenant: tenant.clone() }
    }

    /// Messages go where nobody takes them.
    pub(crate) fn dlq(&self) -> Arc<dyn JobQueue> {
        Arc::new(self.inner.aws.queue(setting("DLQ_URL")))
    }

    /// With nothing remembered of earlier calls.
    fn middleware(&self) -> Middleware {
        let keys = Arc::new(self.inner.aws.keys(setting("API_KEYS_TABLE")));
        let authenticator = Authenticator::new(keys, self.inner.usage(), self.clock.clone());
        Middleware {
            authenticator,
            usage: self.inner.usage(),
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            origins: Vec::new(),
        }
    }

    /// Starts a job that the test delivers by itself.
    pub(crate) async fn begin(&self, request: over_http::Request) -> JobId {
        self.inner.start(&self.tenant.partition, request, Some(Arc::new(Memory::new()))).await
    }

    pub(crate) async fn job(&self, id: &JobId) -> Job {
        self.inner.job(&self.tenant.partition, id).await
    }

    /// Looks once at the job, as a message would.
    pub(crate) async fn deliver(&self, id: &JobId) {
        let sizes = ChunkSize::new(2_000);
        // The type of a job never changes: it is read past the faults.
        let job_type = Service::new().await.job(&self.tenant.partition, id).await.job_type();
        let worker = self.inner.worker(job_type, self.dlq(), sizes);
        // What goes wrong here comes again.
        let deadline = Instant::now() + Duration::from_secs(30);
        let _delivered = worker.deliver(&self.tenant.partition, id, deadline).await;
    }

    /// Delivers until the job has ended; leases that were left behind run out on the way.
    pub(crate) async fn ended(&self, id: &JobId) -> Job {
        for _ in 0..12 {
            let job = self.job(id).await;
            if job.has_ended() {
                return job;
            }
            self.deliver(id).await;
            self.clock.0.fetch_add(10, Ordering::Relaxed);
        }
        panic!("job {id} does not end: {:?}", self.job(id).await.state());
    }

    /// An upload of the tenant's with these bytes in it.
    pub(crate) async fn uploaded(&self, content: &str) -> UploadId {
        let made = Call::CreateUpload.make(self, "", "unused").await;
        let id = data(&made)["uploadId"].as_str().unwrap_or_else(|| panic!("{}", body(&made))).parse().unwrap();
        let key = ObjectKey::upload(&self.tenant.partition, &id);
        self.inner.objects().put(&self.tenant.partition, &key, content.to_owned().into()).await.unwrap();
        id
    }
}

fn request(tenant: &Tenant, idempotency: &str, body: Option<&Value>) -> Request {
    let mut request = Request::new(body.map_or(Body::Empty, |body| Body::Text(body.to_string())));
    let mut set = |name: &'static str, value: &str| request.headers_mut().insert(name, value.parse().unwrap());
    set("x-api-key", &tenant.key);
    set("content-type", "application/json");
    if !idempotency.is_empty() {
        set("idempotency-key", idempotency);
    }
    request
}

/// A call about a job.
fn about(tenant: &Tenant, job: &str) -> Request {
    let parameters = HashMap::from([("jobId".to_owned(), job.to_owned())]);
    request(tenant, "", None).with_path_parameters(parameters)
}

/// The calls of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    StartImport,
    StartImportOfUpload,
    StartExport,
    CreateUpload,
    GetJob,
    ListJobs,
    CancelJob,
    DeleteJob,
    ValidateRecords,
    GetLimits,
}

impl Call {
    pub(crate) const ALL: [Self; 10] = [
        Self::StartImport,
        Self::StartImportOfUpload,
        Self::StartExport,
        Self::CreateUpload,
        Self::GetJob,
        Self::ListJobs,
        Self::CancelJob,
        Self::DeleteJob,
        Self::ValidateRecords,
        Self::GetLimits,
    ];

    pub(crate) fn is_start(self) -> bool {
        matches!(self, Self::StartImport | Self::StartImportOfUpload | Self::StartExport)
    }

    pub(crate) async fn make(self, service: &Unlucky, prepared: &str, idempotency: &str) -> Response<Body> {
        let tenant = &service.tenant;
        let send = |body: &Value| request(tenant, idempotency, Some(body));
        let line = "{\"firstName\":\"Jane\",\"lastName\":\"Doe\"}\n";
        match self {
            Self::StartImport | Self::StartImportOfUpload => {
                let body = match self {
                    Self::StartImport => json!({"resourceType": "Patient", "data": line}),
                    _ => json!({"resourceType": "Patient", "uploadId": prepared}),
                };
                let starter = service.inner.import_starter(service.dlq());
                Api::new(service.middleware(), start_import::StartImport { starter }).handle(send(&body)).await
            }
            Self::StartExport => {
                let body = json!({"resourceTypes": ["Patient"]});
                let starter = service.inner.export_starter(service.dlq());
                Api::new(service.middleware(), start_export::StartExport { starter }).handle(send(&body)).await
            }
            Self::CreateUpload => {
                let (usage, signer) = (service.inner.usage(), service.inner.objects());
                let uploader = Uploader { usage, signer, clock: service.clock.clone(), ids: Arc::new(SystemIds) };
                let api = Api::new(service.middleware(), create_upload::CreateUpload { uploader });
                api.handle(request(tenant, idempotency, Some(&json!({"bytes": 1})))).await
            }
            Self::GetJob => {
                let endpoint = get_job::GetJob { jobs: service.inner.jobs(), signer: service.inner.objects() };
                Api::new(service.middleware(), endpoint).handle(about(tenant, prepared)).await
            }
            Self::ListJobs => {
                let lister = JobLister { jobs: service.inner.jobs(), clock: service.clock.clone() };
                let api = Api::new(service.middleware(), list_jobs::ListJobs { lister });
                api.handle(request(tenant, idempotency, None)).await
            }
            Self::CancelJob | Self::DeleteJob => {
                let (jobs, files) = (service.inner.jobs(), service.inner.objects());
                let manager = JobManager { jobs, files, clock: service.clock.clone(), ids: Arc::new(SystemIds) };
                let mut request = about(tenant, prepared);
                *request.method_mut() = if self == Self::DeleteJob { Method::DELETE } else { Method::POST };
                Api::new(service.middleware(), cancel_job::CancelJob { manager }).handle(request).await
            }
            Self::ValidateRecords => {
                let body = json!({"resourceType": "Patient", "data": line});
                Api::new(service.middleware(), validate_records::ValidateRecords).handle(send(&body)).await
            }
            Self::GetLimits => {
                let endpoint = get_limits::GetLimits { usage: service.inner.usage() };
                Api::new(service.middleware(), endpoint).handle(request(tenant, idempotency, None)).await
            }
        }
    }

    /// What has to be there before the call: an upload with bytes in it, or a job.
    pub(crate) async fn prepare(self, service: &Unlucky) -> String {
        match self {
            Self::StartImportOfUpload => service.uploaded("{}\n").await.to_string(),
            Self::GetJob | Self::CancelJob | Self::DeleteJob => {
                let id = service.begin(over_http::Request::Export(export_of(ResourceType::Patient))).await.to_string();
                if self == Self::DeleteJob {
                    let cancelled = Box::pin(Self::CancelJob.make(service, &id, "")).await;
                    assert!(cancelled.status().is_success());
                }
                id
            }
            Self::StartImport
            | Self::StartExport
            | Self::CreateUpload
            | Self::ListJobs
            | Self::ValidateRecords
            | Self::GetLimits => String::new(),
        }
    }
}

pub(crate) fn body(answer: &Response<Body>) -> Value {
    let Body::Text(text) = answer.body() else { panic!("a text") };
    serde_json::from_str(text).unwrap()
}

pub(crate) fn data(answer: &Response<Body>) -> Value {
    body(answer)["data"].clone()
}
