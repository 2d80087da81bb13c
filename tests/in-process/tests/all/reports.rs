//! What an import tells of its lines: the faults in the job, and the three reports.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use api::ImportRequest;
use engine::{Delivery, ImportWorker};
use in_process::Service;
use in_process::jobs::{caller, deliver, import_of, patients, report};
use in_process::network::{Fate, Network, Operation};
use model::{ImportFormat, Job, JobResult, Plan, Report};
use records::ResourceType;

/// A report's text; its lines, bytes and hash are as the job tells.
fn text(service: &Service, job: &Job, of: Report) -> String {
    let file = report(job, of).unwrap();
    let text = service.text(&file.key);
    assert_eq!((file.bytes, file.sha256), (text.len() as u64, in_process::sha256(text.as_bytes())));
    assert_eq!(file.records, text.matches('\n').count() as u64);
    text
}

fn errors(service: &Service, job: &Job) -> String {
    text(service, job, Report::Errors)
}

fn rejected(service: &Service, job: &Job) -> String {
    text(service, job, Report::Rejected)
}

fn results(service: &Service, job: &Job) -> String {
    text(service, job, Report::Results)
}

#[tokio::test(start_paused = true)]
async fn the_same_id_twice_in_a_batch_is_stored_once_and_told() {
    let service = Service::start().await;
    let line = |id: &str, name: &str| format!("{{\"id\":\"{id}\",\"firstName\":\"{name}\",\"lastName\":\"Doe\"}}\n");
    let data =
        line("a", "First") + &line("b", "Other") + &line("a", "Second") + "{\"id\":\"c\"}\n" + &line("c", "Late");
    let id = service.begin_import(&data).await;
    service.work().await;
    let job = service.job(&id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (3, 2));
    let Some(JobResult::Import { violations, .. }) = job.result() else { panic!("{job:?}") };
    assert_eq!((violations[0].line, violations[0].violation.message.as_str()), (3, "id: Same as in line 1"));
    let lines = service.exported().await;
    assert!(lines.iter().any(|line| line.contains("First")));
    assert!(lines.iter().any(|line| line.contains("Late")), "an invalid line does not take the id");
}

/// Resources become records and come back as they were; what records have no member for is told without its values.
#[tokio::test(start_paused = true)]
async fn an_import_of_resources_tells_what_records_have_no_member_for() {
    let service = Service::start().await;
    let jane = r#"{"resourceType":"Patient","id":"a","name":[{"use":"official","family":"Doe","given":["Jane"]}],"birthDate":"1990-01-15"}"#;
    let wrong = r#"{"resourceType":"Patient","gender":"female"}"#;
    let format = ImportFormat::Fhir { unmapped: fhir::Unmapped::Keep, mapping_version: fhir::MAPPING_VERSION };
    let import = ImportRequest { format, ..import_of(ResourceType::Patient, &format!("{jane}\n{wrong}\n")) };
    let id = service.begin(&caller(Plan::Pro), import).await;
    service.work().await;
    let job = service.job(&id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (1, 1));
    assert_eq!(
        text(&service, &job, Report::Losses),
        "{\"resourceType\":\"Patient\",\"element\":\"name.use\",\"records\":1,\"kept\":true,\"modifier\":false}\n"
    );
    assert_eq!(rejected(&service, &job), format!("{wrong}\n"), "the line is as it came");
    assert!(errors(&service, &job).contains("lastName: Required (name.family)"));
    let stored = service.exported().await;
    assert!(stored[0].contains(r#""firstName":"Jane""#) && stored[0].contains(r#""x-fhir""#), "{stored:?}");
    // Of flat records nothing is lost, and there is no such report.
    let id = service.begin_import("{\"firstName\":\"J\",\"lastName\":\"D\"}").await;
    service.work().await;
    assert!(report(&service.job(&id).await, Report::Losses).is_none());
}

#[tokio::test(start_paused = true)]
async fn reports_tell_every_violation_and_give_the_rejected_lines_back() {
    let service = Service::start().await;
    let gigantic = format!("{{\"note\":\"{}\"}}", "x".repeat(2 << 20));
    let lines = [
        "{\"id\":\"own\",\"firstName\":\"J\",\"lastName\":\"D\"}",
        "{\"firstName\":\"\",  \"lastName\":7}",
        "{\"firstName\":\"J\",\"lastName\":\"D\"}",
        &gigantic,
        "",
        "{\"id\":\"own\",\"firstName\":\"J\",\"lastName\":\"E\"}",
    ];
    let id = service.begin_import(&lines.join("\r\n")).await;
    service.work().await;
    let job = service.job(&id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (2, 4));
    assert_eq!(rejected(&service, &job), format!("{}\n{gigantic}\n\n{}\n", lines[1], lines[5]));
    let told = errors(&service, &job);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(
        told,
        [
            r#"{"index":1,"line":2,"code":"min_length","path":"/firstName","message":"firstName: Must not be empty"}"#,
            r#"{"index":1,"line":2,"code":"type","path":"/lastName","message":"lastName: Expected string"}"#,
            r#"{"index":3,"line":4,"code":"too_large","path":"","message":"Must be at most 1048576 bytes"}"#,
            r#"{"index":4,"line":5,"code":"blank_line","path":"","message":"Blank line"}"#,
            r#"{"index":5,"line":6,"code":"duplicate_id","path":"/id","message":"id: Same as in line 1"}"#,
        ]
    );
    let told = results(&service, &job);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), 6);
    assert_eq!(told[0], r#"{"line":1,"outcome":"stored","id":"own"}"#);
    assert_eq!(told[1], r#"{"line":2,"outcome":"rejected"}"#);
    assert!(told[2].starts_with(r#"{"line":3,"outcome":"created","id":""#));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_invalid_records_are_all_reported() {
    let service = Service::start().await;
    let id = service.begin_import(&"{\"firstName\":7}\n".repeat(10_000)).await;
    service.work().await;
    let job = service.job(&id).await;
    assert_eq!((job.state().name(), job.progress().failed), ("completed", 10_000));
    let Some(JobResult::Import { violations, violation_count, .. }) = job.result() else { panic!("{job:?}") };
    assert_eq!((violations.len(), *violation_count), (100, 20_000));
    assert_eq!(errors(&service, &job).lines().count(), 20_000);
    assert_eq!(rejected(&service, &job), "{\"firstName\":7}\n".repeat(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_rebuilds_the_reports() {
    let service = Service::start().await;
    let data = (patients(40) + "no json\n").repeat(5);
    let id = service.begin_import(&data).await;
    let mut script = vec![Fate::Good; 3];
    script.extend([Fate::Hangs; 20]);
    let dying = ImportWorker {
        records: Network::scripted(&service.memory, Operation::WriteBatch, script),
        ..service.import_worker()
    };
    assert!(tokio::time::timeout(Duration::from_secs(25), deliver(&dying, &id)).await.is_err());
    tokio::time::advance(Duration::from_secs(70)).await;
    assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done);
    let job = service.job(&id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (200, 5));
    assert_eq!(rejected(&service, &job), "no json\n".repeat(5));
    assert_eq!(results(&service, &job).lines().count(), 205);
}
