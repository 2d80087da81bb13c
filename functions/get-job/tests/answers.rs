//! Every payload under `events/get-job/` and its answer, for a job in each of its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use get_job::GetJob;
use http::{Api, RequestExt};
use in_process::jobs::{acquired, an_export, an_import, service_with};
use in_process::{Service, job_id, request, shown, test_partition};
use model::{
    Compression, Event, ExportSpec, FailureReason, FileLayout, ImportFormat, JobResult, JobSpec, LineViolation,
    ObjectKey, Progress, RecordFormat, Report, ResultFile, Token,
};
use records::{ResourceType, Violation, ViolationCode};

fn file(name: &str, key: ObjectKey) -> ResultFile {
    ResultFile { name: name.to_owned(), key, resource_type: None, records: 1, bytes: 9, sha256: "00".repeat(32) }
}

fn report(report: Report) -> ResultFile {
    let key = ObjectKey::report(&test_partition(), &job_id(), &Token::new(1), report);
    file(report.file_name(), key)
}

async fn answer(service: &Service, name: &str) -> serde_json::Value {
    let memory = Arc::new(service.memory.clone());
    let api = Api::new(service.middleware(), GetJob { jobs: memory.clone(), signer: memory });
    shown(&api.handle(request("get-job", name)).await)
}

fn advanced(total: u64, processed: u64) -> Event {
    let progress = Progress { total, processed, ..Progress::default() };
    Event::Advanced { token: Token::new(1), renewal: None, progress, checkpoint: None }
}

#[tokio::test(start_paused = true)]
async fn pending_export() {
    let (service, _) = service_with(an_export(), 0).await;
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
    let (service, job) = service_with(an_export(), 0).await;
    service.happens(job, [acquired(), advanced(1_000, 250)]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn completed_export_has_a_fresh_url_at_every_poll() {
    let (service, job) = service_with(an_export(), 0).await;
    let key = ObjectKey::export(&test_partition(), &job_id(), &Token::new(1), 0, Compression::None);
    let files = vec![file(&format!("{}.ndjson", job_id()), key)];
    let result = JobResult::Export { started_at: Service::at(10), files };
    let progress = Progress { total: 1_250, processed: 1_250, ..Progress::default() };
    let completed = Event::Completed { token: Token::new(1), result, progress, leftovers: false };
    service.happens(job, [acquired(), advanced(1_249, 0), completed]).await;
    let first = answer(&service, "job").await;
    insta::assert_json_snapshot!(first);
    tokio::time::advance(Duration::from_secs(5)).await;
    let second = answer(&service, "job").await;
    assert_ne!(first["body"]["data"]["downloadUrl"], second["body"]["data"]["downloadUrl"]);
}

#[tokio::test(start_paused = true)]
async fn an_export_as_fhir_says_so_and_its_files_have_another_media_type() {
    let JobSpec::Export(spec) = an_export() else { panic!("an export") };
    let format = RecordFormat::Fhir { mapping_version: 7 };
    let (service, job) =
        service_with(JobSpec::Export(ExportSpec { format, files: FileLayout::PerType, ..spec }), 0).await;
    let named = |name: &str, resource_type| {
        let key = ObjectKey::export(&test_partition(), &job_id(), &Token::new(1), 0, Compression::None);
        ResultFile { resource_type, ..file(name, key) }
    };
    let files = vec![named("Patient.ndjson", Some(ResourceType::Patient)), named("deleted.ndjson", None)];
    let result = JobResult::Export { started_at: Service::at(10), files };
    let completed = Event::Completed { token: Token::new(1), result, progress: Progress::default(), leftovers: false };
    service.happens(job, [acquired(), completed]).await;
    let answered = answer(&service, "job").await;
    insta::assert_json_snapshot!(answered);
    let told = &answered["body"]["data"];
    assert_eq!((&told["format"], &told["mappingVersion"]), (&"fhir".into(), &7.into()));
    assert!(told.get("downloadUrl").is_none(), "{told}");
    let link = |name: &str| {
        let service = &service;
        let mut request = request("get-job", "file");
        let name = (name.to_owned(), job_id().to_string());
        request =
            request.with_path_parameters(HashMap::from([("name".to_owned(), name.0), ("jobId".to_owned(), name.1)]));
        async move {
            let memory = Arc::new(service.memory.clone());
            let api = Api::new(service.middleware(), GetJob { jobs: memory.clone(), signer: memory });
            shown(&api.handle(request).await)["headers"]["location"].as_str().unwrap().to_owned()
        }
    };
    assert!(link("Patient.ndjson").await.contains("&type=application/fhir+ndjson"));
    assert!(!link("deleted.ndjson").await.contains("&type="));
}

#[tokio::test(start_paused = true)]
async fn completed_import_tells_its_violations() {
    let (service, job) = service_with(an_import(), 2).await;
    let (path, message) = ("/firstName".to_owned(), "firstName: Required".to_owned());
    let violation = Violation { code: ViolationCode::Required, path, message };
    let result = JobResult::Import {
        violations: vec![LineViolation { line: 2, violation }],
        violation_count: 101,
        files: [Report::Errors, Report::Rejected, Report::Results].map(report).to_vec(),
    };
    let progress = Progress { total: 2, processed: 2, succeeded: 1, failed: 1 };
    service
        .happens(job, [acquired(), Event::Completed { token: Token::new(1), result, progress, leftovers: false }])
        .await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn an_import_of_resources_says_how_many_elements_are_lost() {
    let JobSpec::Import { resource_type, source, .. } = an_import() else { panic!("an import") };
    let format = ImportFormat::Fhir { unmapped: fhir::Unmapped::Keep, mapping_version: 7 };
    let (service, job) = service_with(JobSpec::Import { resource_type, source, format }, 1).await;
    let losses = ResultFile { records: 3, ..report(Report::Losses) };
    let files = vec![losses, report(Report::Results)];
    let result = JobResult::Import { violations: Vec::new(), violation_count: 0, files };
    let progress = Progress { total: 1, processed: 1, succeeded: 1, failed: 0 };
    let completed = Event::Completed { token: Token::new(1), result, progress, leftovers: false };
    service.happens(job, [acquired(), completed]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn failed_import_has_one_fatal_entry() {
    let (service, job) = service_with(an_import(), 2).await;
    let failed = Event::Failed {
        token: Token::new(1),
        reason: FailureReason::SourceMissing,
        progress: Progress::default(),
        checkpoint: None,
    };
    service.happens(job, [acquired(), failed]).await;
    insta::assert_json_snapshot!(answer(&service, "job").await);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_this_key_s_is_the_same_404() {
    let (service, _) = service_with(an_export(), 0).await;
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
    let (service, _) = service_with(an_export(), 0).await;
    insta::assert_json_snapshot!(answer(&service, "no-key").await);
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_counts_as_absent() {
    let (service, _) = service_with(an_export(), 0).await;
    let memory = Arc::new(service.memory.clone());
    let api = Api::new(service.middleware(), GetJob { jobs: memory.clone(), signer: memory });
    let mut request = request("get-job", "job");
    let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
    request.headers_mut().insert("x-api-key", " ".parse().unwrap());
    assert_eq!(shown(&api.handle(request.clone()).await)["body"]["code"], "UNAUTHORIZED");
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    assert_eq!(api.handle(request).await.status(), 200);
}

/// A completed export with one file.
async fn completed() -> Service {
    let (service, job) = service_with(an_export(), 0).await;
    let key = ObjectKey::export(&test_partition(), &job_id(), &Token::new(1), 0, Compression::None);
    let files = vec![file(&format!("{}.ndjson", job_id()), key)];
    let result = JobResult::Export { started_at: Service::at(10), files };
    let completed = Event::Completed { token: Token::new(1), result, progress: Progress::default(), leftovers: false };
    service.happens(job, [acquired(), completed]).await;
    service
}

#[tokio::test(start_paused = true)]
async fn a_link_leads_to_a_file_for_a_quarter_of_an_hour() {
    insta::assert_json_snapshot!(answer(&completed().await, "file").await);
}

#[tokio::test(start_paused = true)]
async fn hashes_are_as_sha256sum_checks_them() {
    let memory = Arc::new(completed().await.memory.clone());
    let service = completed().await;
    let api = Api::new(service.middleware(), GetJob { jobs: memory.clone(), signer: memory });
    let response = api.handle(request("get-job", "hashes")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/plain; charset=utf-8".parse().unwrap())
    );
    let lambda_http::Body::Text(text) = response.body() else { panic!("no text") };
    assert_eq!(*text, format!("{}  {}.ndjson\n", "00".repeat(32), job_id()));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_file_of_the_job_is_not_found() {
    let service = completed().await;
    assert_eq!(answer(&service, "unknown-file").await["status"], 404);
    let (unfinished, _) = service_with(an_export(), 0).await;
    for name in ["file", "hashes"] {
        assert_eq!(answer(&unfinished, name).await["status"], 404, "{name}: not there yet");
    }
    tokio::time::advance(Duration::from_hours(8 * 24)).await;
    assert_eq!(answer(&service, "file").await["status"], 404, "expired");
}
