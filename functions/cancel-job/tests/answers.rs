//! Every payload under `events/cancel-job/` and its answer, for a job in each of its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::sync::Arc;

use api::JobManager;
use cancel_job::CancelJob;
use http::Api;
use in_process::jobs::{acquired, an_export, an_import, service_with};
use in_process::{Service, job_id, payload_tests, request, shown, test_partition};
use model::{Checkpoint, Event, JobSpec, Month, ObjectKey, Pool, Progress, Release, Report, Token};
use ports::UsageStore;
use serde_json::Value;

async fn answer_of(service: &Service, name: &str) -> Value {
    let memory = Arc::new(service.memory.clone());
    let middleware = service.middleware();
    let (clock, ids) = (middleware.clock.clone(), middleware.ids.clone());
    let manager = JobManager { jobs: memory.clone(), files: memory, clock, ids };
    shown(&Api::new(middleware, CancelJob { manager }).handle(request("cancel-job", name)).await)
}

async fn answer(name: &str) -> Value {
    answer_of(&service_with(an_export(), 0).await.0, name).await
}

payload_tests! {
    answer,
    "../../events/cancel-job",
    cancel: "cancel",
    an_unfinished_job_is_not_deleted: "delete",
    no_key: "no-key",
    read_only_key: "read-only-key",
}

async fn used(service: &Service) -> u64 {
    let month = service.memory.month(&test_partition().tenant, &Month::of(Service::at(0))).await.unwrap();
    month.of(Pool::Test)
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_import_gives_back_what_its_worker_had_not_begun_to_write_once() {
    let (service, job) = service_with(an_import(), 100).await;
    let progress = Progress { total: 100, processed: 30, succeeded: 28, failed: 2 };
    // Its worker has stopped, and has said how far it was.
    let checkpoint = Some(Box::new(Checkpoint::Import { begun: 30 }));
    let (due_at, why) = (Service::at(30), Release::Deferred);
    let released = Event::Released { token: Token::new(1), due_at, why, progress, checkpoint };
    service.happens(job, [acquired(), released]).await;
    let before = used(&service).await;
    for calls in 1..=3 {
        let answer = answer_of(&service, "cancel").await;
        let job = &answer["body"]["data"];
        assert_eq!((&job["status"], &job["outcome"]), (&"failed".into(), &"cancelled".into()));
        assert_eq!(job["errors"], serde_json::json!([{"code": "cancelled", "message": "The job was cancelled"}]));
        assert_eq!((&job["processedRecords"], &job["succeededRecords"]), (&30.into(), &28.into()));
        assert_eq!(used(&service).await, before - 70 + calls, "70 of 100 come back once, and every call counts");
    }
}

#[tokio::test(start_paused = true)]
async fn delete_takes_files_source_and_job_along() {
    let (service, job) = service_with(an_import(), 1).await;
    let JobSpec::Import { source, .. } = job.spec() else { panic!("an import") };
    service.memory.put_object(source.key(), "{}");
    let report = ObjectKey::report(&test_partition(), &job_id(), &Token::new(1), Report::Results);
    service.memory.put_object(&report, "{}");
    let other =
        ObjectKey::report(&test_partition(), &model::JobId::new(Service::at(1), 1), &Token::new(1), Report::Results);
    service.memory.put_object(&other, "{}");
    assert_eq!(answer_of(&service, "delete").await["body"]["code"], "JOB_NOT_FINISHED");
    service.happens(job, [acquired(), Event::Cancelled]).await;
    let memory = Arc::new(service.memory.clone());
    let middleware = service.middleware();
    let (clock, ids) = (middleware.clock.clone(), middleware.ids.clone());
    let manager = JobManager { jobs: memory.clone(), files: memory, clock, ids };
    let api = Api::new(middleware, CancelJob { manager });
    let response = api.handle(request("cancel-job", "delete")).await;
    assert_eq!((response.status().as_u16(), response.body().is_empty()), (204, true));
    assert_eq!(service.memory.object_keys(), [other], "nothing else is touched");
    assert_eq!(api.handle(request("cancel-job", "delete")).await.status(), 404);
    assert_eq!(answer_of(&service, "cancel").await["status"], 404);
}
