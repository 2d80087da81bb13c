//! Every payload under `events/get-job/` and its answer, for a job in each of its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::time::Duration;

use domain::ports::{AcceptanceStore, JobStore, Settlement};
use domain::{
    Compression, Event, ExportSpec, FailureReason, FileLayout, ImportSource, Job, JobResult, JobSpec, LeaseRequest,
    LineViolation, Month, NewJob, ObjectKey, Pool, Progress, Report, Reservation, ResultFile, Token, Window,
};
use get_job::GetJob;
use http::Api;
use in_process::{Service, job_id, request, shown, test_partition};
use records::{ResourceType, Violation, ViolationCode};
use std::sync::Arc;

/// A service with an accepted job of this specification.
async fn service_with(spec: JobSpec, total: u64) -> (Service, Job) {
    let service = Service::start().await;
    let now = Service::at(0);
    let job = Job::new(NewJob {
        partition: test_partition(),
        id: job_id(),
        spec,
        total,
        counted: true,
        reservation: Reservation { pool: Pool::Test, month: Month::of(now), requests: 1 },
        created_at: now,
        expires_at: Service::at(7 * 86_400),
        due_at: Service::at(300),
    });
    let acceptance = domain::ports::Acceptance {
        job: job.clone(),
        window: Window::default().admit(now, 5).unwrap(),
        month_limit: None,
        upload: None,
        idempotency: None,
        request_token: "token".to_owned(),
    };
    service.memory.accept(&test_partition(), &acceptance).await.unwrap();
    (service, job)
}

fn export() -> JobSpec {
    JobSpec::Export(ExportSpec {
        resource_types: vec![ResourceType::Patient],
        since: Some(Service::at(-86_400)),
        files: FileLayout::Single,
        compression: Compression::None,
    })
}

fn import() -> JobSpec {
    let source = ImportSource::Inline { key: ObjectKey::import(&test_partition(), &job_id()) };
    JobSpec::Import { resource_type: ResourceType::Patient, source }
}

/// The job after these events, ten seconds after each other.
async fn happens(service: &Service, mut job: Job, events: impl IntoIterator<Item = Event>) {
    for (step, event) in (1..).zip(events) {
        job = job.apply(event, Service::at(step * 10)).unwrap();
        service.memory.update(&test_partition(), &job, &Settlement::None).await.unwrap();
    }
    tokio::time::advance(Duration::from_mins(1)).await;
}

fn file(name: &str, key: ObjectKey) -> ResultFile {
    ResultFile { name: name.to_owned(), key, resource_type: None, records: 1, bytes: 9, sha256: "00".repeat(32) }
}

fn report(report: Report) -> ResultFile {
    let key = ObjectKey::report(&test_partition(), &job_id(), &Token::new(1), report);
    file(report.file_name(), key)
}

async fn answer(service: &Service, name: &str) -> serde_json::Value {
    let memory = Arc::new(service.memory.clone());
    let api = Api::new(service.gate(), GetJob { jobs: memory.clone(), signer: memory });
    shown(&api.handle(request("get-job", name)).await)
}

fn acquired() -> Event {
    let (expires_at, due_at) = (Service::at(600), Service::at(610));
    Event::Acquired(LeaseRequest { token: Token::new(1), expires_at, due_at, oldest: Service::at(-86_400) })
}

fn advanced(total: u64, processed: u64) -> Event {
    let progress = Progress { total, processed, ..Progress::default() };
    Event::Advanced { token: Token::new(1), renewal: None, progress, checkpoint: None }
}

#[tokio::test(start_paused = true)]
async fn pending_export() {
    let (service, _) = service_with(export(), 0).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
    let mut waits = Vec::new();
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(40)).await;
        waits.push(answer(&service, "job").await["headers"]["retry-after"].as_str().unwrap().to_owned());
    }
    assert_eq!(waits, ["10", "20", "30", "30"], "the longer it has waited, the more seldom it is worth asking");
}

#[tokio::test(start_paused = true)]
async fn export_in_processing_shows_its_progress() {
    let (service, job) = service_with(export(), 0).await;
    happens(&service, job, [acquired(), advanced(1_000, 250)]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn completed_export_has_a_fresh_url_at_every_poll() {
    let (service, job) = service_with(export(), 0).await;
    let key = ObjectKey::export(&test_partition(), &job_id(), &Token::new(1), 0, Compression::None);
    let files = vec![file(&format!("{}.ndjson", job_id()), key)];
    let result = JobResult::Export { started_at: Service::at(10), files };
    let progress = Progress { total: 1_250, processed: 1_250, ..Progress::default() };
    let completed = Event::Completed { token: Token::new(1), result, progress };
    happens(&service, job, [acquired(), advanced(1_249, 0), completed]).await;
    let first = answer(&service, "job").await;
    insta::assert_json_snapshot!(first);
    tokio::time::advance(Duration::from_secs(5)).await;
    let second = answer(&service, "job").await;
    assert_ne!(first["body"]["data"]["downloadUrl"], second["body"]["data"]["downloadUrl"]);
}

#[tokio::test(start_paused = true)]
async fn completed_import_tells_its_violations() {
    let (service, job) = service_with(import(), 2).await;
    let (path, message) = ("/firstName".to_owned(), "firstName: Required".to_owned());
    let violation = Violation { code: ViolationCode::Required, path, message };
    let result = JobResult::Import {
        violations: vec![LineViolation { line: 2, violation }],
        violation_count: 101,
        files: [Report::Errors, Report::Rejected, Report::Results].map(report).to_vec(),
    };
    let progress = Progress { total: 2, processed: 2, succeeded: 1, failed: 1 };
    happens(&service, job, [acquired(), Event::Completed { token: Token::new(1), result, progress }]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn failed_import_has_one_fatal_entry() {
    let (service, job) = service_with(import(), 2).await;
    let failed = Event::Failed { token: Token::new(1), reason: FailureReason::SourceMissing };
    happens(&service, job, [acquired(), failed]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_this_key_s_is_the_same_404() {
    let (service, _) = service_with(export(), 0).await;
    let mut bodies = Vec::new();
    for name in ["malformed-id", "other-environment", "other-tenant"] {
        let mut answer = answer(&service, name).await;
        assert_eq!(answer["status"], 404, "{name}");
        answer["body"]["requestId"] = "req".into();
        bodies.push(answer["body"].clone());
    }
    insta::assert_json_snapshot!(bodies[0]);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test(start_paused = true)]
async fn no_key() {
    let (service, _) = service_with(export(), 0).await;
    insta::assert_json_snapshot!(answer(&service, "no-key").await);
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_counts_as_absent() {
    let (service, _) = service_with(export(), 0).await;
    let memory = Arc::new(service.memory.clone());
    let api = Api::new(service.gate(), GetJob { jobs: memory.clone(), signer: memory });
    let mut request = request("get-job", "job");
    let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
    request.headers_mut().insert("x-api-key", " ".parse().unwrap());
    assert_eq!(shown(&api.handle(request.clone()).await)["body"]["code"], "UNAUTHORIZED");
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    assert_eq!(api.handle(request).await.status(), 200);
}
