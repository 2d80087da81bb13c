//! Starting jobs of the service in memory, working on them, and looking at what came of it.

use std::time::Duration;

use api::{ExportRequest, ImportData, ImportRequest};
use engine::{Delivery, JobWorker};
use model::{
    Compression, Event, ExportSpec, FileLayout, ImportFormat, ImportSource, Job, JobId, JobResult, JobSpec,
    LeaseRequest, Month, NewJob, ObjectKey, Plan, Pool, Principal, RecordFormat, Report, Reservation, ResultFile,
    Scope, Settlement, Tenant, Token, UploadId,
};
use ports::{Acceptance, AcceptanceStore, JobStore, UsageStore};
use records::ResourceType;
use tokio::time::Instant;

use crate::{Service, job_id, test_partition};

/// Whoever starts the tests' jobs, on this plan, with operations enough.
#[must_use]
pub fn caller(plan: Plan) -> Principal {
    let partition = test_partition();
    let tenant = Tenant { id: partition.tenant.clone(), plan, bulk_operations_per_hour: 1_000, overage: false };
    Principal { partition, scopes: vec![Scope::All], tenant, key_id: "key_test".to_owned() }
}

/// So many patients without ids, one a line.
#[must_use]
pub fn patients(count: usize) -> String {
    (0..count).fold(String::new(), |lines, n| lines + &format!("{{\"firstName\":\"Jane\",\"lastName\":\"Doe {n}\"}}\n"))
}

/// An import of this NDJSON.
#[must_use]
pub fn import_of(resource_type: ResourceType, data: &str) -> ImportRequest {
    let data = ImportData::Inline { ndjson: data.to_owned().into(), lines: data.lines().count() as u64 };
    ImportRequest { resource_type, data, format: ImportFormat::Flat, label: None, idempotency: None }
}

/// An import of patients who were uploaded.
#[must_use]
pub fn import_of_upload(upload: UploadId) -> ImportRequest {
    ImportRequest { data: ImportData::Upload(upload), ..import_of(ResourceType::Patient, "") }
}

/// An export of one type, whole, to one plain file.
#[must_use]
pub fn export_of(resource_type: ResourceType) -> ExportRequest {
    let spec = ExportSpec {
        resource_types: vec![resource_type],
        since: None,
        files: FileLayout::Single,
        compression: Compression::None,
        format: RecordFormat::Flat,
    };
    ExportRequest { spec, label: None, idempotency: None }
}

/// Has a worker look at a job, with time enough.
pub async fn deliver(worker: &dyn JobWorker, id: &JobId) -> Delivery {
    let deadline = Instant::now() + Duration::from_hours(1);
    worker.deliver(&test_partition(), id, deadline).await.unwrap()
}

impl Service {
    /// Starts an import.
    pub async fn begin(&self, who: &Principal, import: ImportRequest) -> JobId {
        self.import_starter().start(who, &import).await.unwrap().job_id
    }

    /// Starts an import of patients.
    pub async fn begin_import(&self, data: &str) -> JobId {
        self.begin(&caller(Plan::Pro), import_of(ResourceType::Patient, data)).await
    }

    /// Starts an export of patients.
    pub async fn begin_export(&self) -> JobId {
        let export = export_of(ResourceType::Patient);
        self.export_starter().start(&caller(Plan::Pro), &export).await.unwrap().job_id
    }

    /// Starts an export, has it done, and returns the job.
    pub async fn export(&self, spec: ExportSpec) -> Job {
        let export = ExportRequest { spec, label: None, idempotency: None };
        let id = self.export_starter().start(&caller(Plan::Pro), &export).await.unwrap().job_id;
        self.work().await;
        self.job(&id).await
    }

    /// A job as it stands.
    pub async fn job(&self, id: &JobId) -> Job {
        JobStore::get(&self.memory, &test_partition(), id, Self::at(0)).await.unwrap().unwrap()
    }

    /// An object's text.
    #[must_use]
    pub fn text(&self, key: &ObjectKey) -> String {
        String::from_utf8(self.memory.object(key).expect("object is there").to_vec()).expect("object is text")
    }

    /// The text of a completed export's file.
    #[must_use]
    pub fn file(&self, job: &Job) -> String {
        let Some(JobResult::Export { files, .. }) = job.result() else { panic!("{:?}", job.state()) };
        self.text(&files.first().expect("one file").key)
    }

    /// Exports all patients, and returns the file's lines.
    pub async fn exported(&self) -> Vec<String> {
        let id = self.begin_export().await;
        self.work().await;
        let job = self.job(&id).await;
        let lines: Vec<_> = self.file(&job).lines().map(str::to_owned).collect();
        assert_eq!(job.progress().total, lines.len() as u64);
        lines
    }

    /// The test requests of the month so far.
    pub async fn used(&self) -> u64 {
        self.memory.month(&test_partition().tenant, &Month::of(Self::at(0))).await.unwrap().of(Pool::Test)
    }
}

/// A report of a completed import, if there is one.
#[must_use]
pub fn report(job: &Job, report: Report) -> Option<ResultFile> {
    let files = job.result().unwrap_or_else(|| panic!("{:?}", job.state())).files();
    files.iter().find(|file| file.name == report.file_name()).cloned()
}

/// A service with an accepted job of this specification: the job of the payloads.
pub async fn service_with(spec: JobSpec, total: u64) -> (Service, Job) {
    let service = Service::start().await;
    let job = service.accepted(job_id(), spec, total).await;
    (service, job)
}

/// What the export of a test asks for.
#[must_use]
pub fn an_export() -> JobSpec {
    JobSpec::Export(ExportSpec { since: Some(Service::at(-86_400)), ..export_of(ResourceType::Patient).spec })
}

/// What the import of a test asks for.
#[must_use]
pub fn an_import() -> JobSpec {
    let source = ImportSource::Inline { key: ObjectKey::import(&test_partition(), &job_id()) };
    JobSpec::Import { resource_type: ResourceType::Patient, source, format: ImportFormat::Flat }
}

/// A worker acquires the job, under the first token.
#[must_use]
pub fn acquired() -> Event {
    let (expires_at, due_at) = (Service::at(600), Service::at(610));
    Event::Acquired(LeaseRequest { token: Token::new(1), expires_at, due_at, oldest: Service::at(-86_400) })
}

impl Service {
    /// A job that was accepted when the service started.
    pub async fn accepted(&self, id: JobId, spec: JobSpec, total: u64) -> Job {
        let now = Self::at(0);
        let job = Job::new(NewJob {
            partition: test_partition(),
            id,
            spec,
            label: Some("nightly".to_owned().try_into().unwrap()),
            total,
            counted: true,
            reservation: Reservation { pool: Pool::Test, month: Month::of(now), requests: total.max(1) },
            created_at: now,
            expires_at: Self::at(7 * 86_400),
            due_at: Self::at(300),
        });
        let window = self.memory.window(&test_partition().tenant).await.unwrap();
        let acceptance = Acceptance {
            job: job.clone(),
            window: window.admit(now, 1_000).unwrap(),
            month_limit: None,
            upload: None,
            idempotency: None,
            request_token: "token".to_owned(),
        };
        self.memory.accept(&test_partition(), &acceptance).await.unwrap();
        job
    }

    /// The job after these events, ten seconds after each other.
    pub async fn happens(&self, mut job: Job, events: impl IntoIterator<Item = Event>) -> Job {
        for (step, event) in (1..).zip(events) {
            job = job.apply(event, Self::at(step * 10)).unwrap();
            JobStore::update(&self.memory, &test_partition(), &job, &Settlement::None).await.unwrap();
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        job
    }
}
