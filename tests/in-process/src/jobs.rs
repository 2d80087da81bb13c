//! Starting jobs of the service in memory, working on them, and looking at what came of it.

use std::time::Duration;

use domain::ports::{JobStore, UsageStore};
use domain::{
    Delivery, Job, JobId, JobResult, Month, ObjectKey, Plan, Pool, Principal, Scope, StartJob, Tenant, Work, Worker,
};
use records::ResourceType;
use tokio::time::Instant;

use crate::{Service, test_partition};

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
pub fn import_of(resource_type: ResourceType, data: &str) -> Work {
    Work::Import { resource_type, data: data.to_owned().into(), lines: data.lines().count() as u64 }
}

/// An export of one type, whole.
#[must_use]
pub fn export_of(resource_type: ResourceType) -> Work {
    Work::Export { resource_types: vec![resource_type], since: None }
}

/// Has a worker look at a job, with time enough.
pub async fn deliver(worker: &Worker, id: &JobId) -> Delivery {
    let deadline = Instant::now() + Duration::from_hours(1);
    worker.deliver(&test_partition(), &id.into(), deadline).await.unwrap()
}

impl Service {
    /// Starts a job.
    pub async fn begin(&self, who: &Principal, work: Work) -> JobId {
        self.starter().start(who, StartJob { work, idempotency: None }).await.unwrap().job_id
    }

    /// Starts an import of patients.
    pub async fn begin_import(&self, data: &str) -> JobId {
        self.begin(&caller(Plan::Pro), import_of(ResourceType::Patient, data)).await
    }

    /// Starts an export of patients.
    pub async fn begin_export(&self) -> JobId {
        self.begin(&caller(Plan::Pro), export_of(ResourceType::Patient)).await
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
        let Some(JobResult::Export { file, .. }) = job.result() else { panic!("{:?}", job.status()) };
        self.text(file)
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
