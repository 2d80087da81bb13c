//! Every payload under `events/get-job/` and its answer, for a job in each of its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ports::{Change, JobStore, MultipartId};
use domain::{
    Checkpoint, Claim, Event, ExportPlan, FailureReason, ImportSource, Job, JobResult, JobSpec, LineFault, Month,
    NewJob, ObjectKey, Pool, Progress, Report, Reservation, Segment, SegmentEvent, Token, Window,
};
use edge::http::Api;
use get_job::GetJob;
use in_process::{Service, job_id, request, shown, test_partition};
use records::{Fault, FaultCode, ResourceType};
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
    JobSpec::Export { resource_types: vec![ResourceType::Patient], since: Some(Service::at(-86_400)) }
}

fn import() -> JobSpec {
    let source = ImportSource::Inline { key: ObjectKey::import(&test_partition(), &job_id()) };
    JobSpec::Import { resource_type: ResourceType::Patient, source }
}

/// The job after these events, ten seconds after each other.
async fn happens(service: &Service, mut job: Job, events: impl IntoIterator<Item = Event>) {
    for (step, event) in (1..).zip(events) {
        job = job.apply(event, Service::at(step * 10)).unwrap();
        service.memory.update(&test_partition(), &Change::job(job.clone())).await.unwrap();
    }
    tokio::time::advance(Duration::from_mins(1)).await;
}

fn report(report: Report) -> ObjectKey {
    ObjectKey::report(&test_partition(), &job_id(), &Token::new(1), report)
}

async fn answer(service: &Service, name: &str) -> serde_json::Value {
    let memory = Arc::new(service.memory.clone());
    let api = Api::new(service.gate(), GetJob { jobs: memory.clone(), objects: memory });
    shown(&api.handle(request("get-job", name)).await)
}

fn claim() -> Claim {
    Claim { token: Token::new(1), expires_at: Service::at(600), due_at: Service::at(610) }
}

fn taken() -> Event {
    Event::Taken(claim())
}

fn segment_done() -> Event {
    Event::SegmentDone { number: 0, claim: claim() }
}

fn planned(segments: u8, counted: u64) -> Event {
    let plan = ExportPlan {
        started_reading_at: Service::at(10),
        file: ObjectKey::export(&test_partition(), &job_id(), &Token::new(1)),
        upload: MultipartId("upload".to_owned()),
        part_size: 8 << 20,
        segments,
        done: BTreeSet::new(),
        counted,
    };
    Event::Planned { token: Token::new(1), plan, due_at: Service::at(86_400) }
}

/// Stores a segment that has covered so many records.
async fn segment_at(service: &Service, job: &Job, number: u8, processed: u64) {
    let new = Segment::new(job, number, 0..8, Service::at(300));
    let taken = new.apply(SegmentEvent::Taken(claim()), Service::at(30)).unwrap();
    let checkpoint = Checkpoint { processed, ..taken.checkpoint().clone() };
    let renewed = taken.apply(SegmentEvent::Renewed(claim(), checkpoint), Service::at(40)).unwrap();
    for revision in [new, taken, renewed] {
        service.memory.update(&test_partition(), &revision.into()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pending_export() {
    let (service, _) = service_with(export(), 0).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn export_in_processing_sums_its_segments() {
    let (service, job) = service_with(export(), 0).await;
    segment_at(&service, &job, 0, 150).await;
    segment_at(&service, &job, 1, 100).await;
    happens(&service, job, [taken(), planned(2, 1_000)]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn completed_export_has_a_fresh_url_at_every_poll() {
    let (service, job) = service_with(export(), 0).await;
    let result = JobResult::Export {
        file: ObjectKey::export(&test_partition(), &job_id(), &Token::new(1)),
        started_reading_at: Service::at(10),
    };
    let progress = Progress { total: 1_250, processed: 1_250, ..Progress::default() };
    let completed = Event::Completed { token: Token::new(1), result, progress };
    happens(&service, job, [taken(), planned(1, 1_249), segment_done(), completed]).await;
    let first = answer(&service, "job").await;
    insta::assert_json_snapshot!(first);
    tokio::time::advance(Duration::from_secs(5)).await;
    let second = answer(&service, "job").await;
    assert_ne!(first["body"]["data"]["downloadUrl"], second["body"]["data"]["downloadUrl"]);
}

#[tokio::test(start_paused = true)]
async fn completed_import_tells_its_faults() {
    let (service, job) = service_with(import(), 2).await;
    let fault =
        Fault { code: FaultCode::Required, path: "/firstName".to_owned(), message: "firstName: Required".to_owned() };
    let result = JobResult::Import {
        faults: vec![LineFault { line: 2, fault }],
        fault_count: 101,
        errors: Some(report(Report::Errors)),
        rejected: Some(report(Report::Rejected)),
        results: report(Report::Results),
    };
    let progress = Progress { total: 2, processed: 2, succeeded: 1, failed: 1 };
    happens(&service, job, [taken(), Event::Completed { token: Token::new(1), result, progress }]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn failed_import_has_one_fatal_entry() {
    let (service, job) = service_with(import(), 2).await;
    let failed = Event::Failed { token: Token::new(1), reason: FailureReason::SourceMissing };
    happens(&service, job, [taken(), failed]).await;
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
