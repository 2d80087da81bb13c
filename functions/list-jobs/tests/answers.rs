//! Every payload under `events/list-jobs/` and its answer, and how pages follow each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::sync::Arc;

use api::JobLister;
use http::Api;
use in_process::jobs::{acquired, an_export, an_import, service_with};
use in_process::{Service, payload_tests, request, shown, test_partition};
use lambda_http::{Request, RequestExt};
use list_jobs::ListJobs;
use model::{
    Compression, Event, ExportSpec, FileLayout, JobId, JobResult, JobSpec, ObjectKey, Progress, RecordFormat,
    ResultFile, Token,
};
use records::ResourceType;
use serde_json::Value;

/// A service with the export of the payloads, cancelled, and a newer import, pending.
async fn service() -> Service {
    let (service, export) = service_with(an_export(), 0).await;
    service.happens(export, [acquired(), Event::Cancelled]).await;
    service.accepted(JobId::new(Service::at(5), 7), an_import(), 2).await;
    service
}

async fn answer_to(service: &Service, request: Request) -> Value {
    let lister = JobLister { jobs: Arc::new(service.memory.clone()), clock: service.middleware().clock };
    shown(&Api::new(service.middleware(), ListJobs { lister }).handle(request).await)
}

async fn answer(name: &str) -> Value {
    answer_to(&service().await, request("list-jobs", name)).await
}

payload_tests! {
    answer,
    "../../events/list-jobs",
    filtered: "filtered",
    newest: "newest",
    no_key: "no-key",
    unknown_parameters: "unknown-parameters",
    unknown_values: "unknown-values",
}

async fn page(service: &Service, query: &[(&str, &str)]) -> Value {
    let query: std::collections::HashMap<String, Vec<String>> =
        query.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
    let request = request("list-jobs", "newest").with_query_string_parameters(query);
    let answer = answer_to(service, request).await;
    assert_eq!(answer["status"], 200, "{answer}");
    answer["body"]["data"].clone()
}

#[tokio::test(start_paused = true)]
async fn pages_show_every_job_once_newest_first() {
    let service = service().await;
    for number in 0..45 {
        service.accepted(JobId::new(Service::at(10 + number), 7), an_export(), 0).await;
    }
    let mut shown = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = page(&service, &[("count", "20"), ("cursor", &cursor)]).await;
        let jobs = page["data"].as_array().unwrap();
        assert!(jobs.len() <= 20 && jobs.iter().all(|job| job["errors"].is_null() && job["downloadUrl"].is_null()));
        shown.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        assert_eq!(page["hasMore"], page["cursor"].is_string());
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(shown.len(), 47);
    assert!(shown.is_sorted_by(|newer, older| newer > older), "newest first, each once");
}

#[tokio::test(start_paused = true)]
async fn count_is_the_nearest_in_range() {
    let service = service().await;
    for number in 0..120 {
        service.accepted(JobId::new(Service::at(10 + number), 7), an_export(), 0).await;
    }
    for (asked, got) in [("1", 1), ("0", 1), ("-3", 1), ("100", 100), ("101", 100), ("99999999999999999999999", 100)] {
        assert_eq!(page(&service, &[("count", asked)]).await["data"].as_array().unwrap().len(), got, "{asked}");
    }
    assert_eq!(page(&service, &[]).await["data"].as_array().unwrap().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn filters_take_several_values_and_reach_behind_the_first_page() {
    let service = service().await;
    for number in 0..250 {
        service.accepted(JobId::new(Service::at(10 + number), 7), an_export(), 0).await;
    }
    let failed = page(&service, &[("status", "failed,completed"), ("count", "5")]).await;
    let failed = failed["data"].as_array().unwrap();
    assert_eq!((failed.len(), &failed[0]["outcome"]), (1, &"cancelled".into()));
    assert_eq!(page(&service, &[("type", "import")]).await["data"].as_array().unwrap().len(), 1);
    assert_eq!(page(&service, &[("resourceType", "Account,Task")]).await["data"].as_array().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_largest_page_fits_a_lambda_answer() {
    let service = Service::start().await;
    let files: Vec<_> = ResourceType::ALL.iter().map(|of| file_of(*of)).collect();
    for number in 0..100 {
        let spec = ExportSpec {
            resource_types: ResourceType::ALL.to_vec(),
            since: Some(Service::at(0)),
            files: FileLayout::PerType,
            compression: Compression::Gzip,
            format: RecordFormat::Flat,
        };
        let job = service.accepted(JobId::new(Service::at(number), 7), JobSpec::Export(spec), 0).await;
        let result = JobResult::Export { started_at: Service::at(0), files: files.clone() };
        let completed =
            Event::Completed { token: Token::new(1), result, progress: Progress::default(), leftovers: false };
        service.happens(job, [acquired(), completed]).await;
    }
    let page = page(&service, &[("count", "100")]).await;
    assert_eq!(page["data"].as_array().unwrap().len(), 100);
    assert!(page.to_string().len() < 6_000_000, "Lambda returns 6,291,456 bytes at most");
}

fn file_of(resource_type: ResourceType) -> ResultFile {
    let (job, token) = (JobId::new(Service::at(0), 1), Token::new(1));
    ResultFile {
        name: format!("{resource_type}.ndjson.gz"),
        key: ObjectKey::export(&test_partition(), &job, &token, 0, Compression::Gzip),
        resource_type: Some(resource_type),
        records: u64::MAX,
        bytes: u64::MAX,
        sha256: "00".repeat(32),
    }
}
