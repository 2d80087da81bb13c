//! Every payload under `events/validate-records/` and its answer; and that its verdicts are an import's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use http::Api;
use in_process::{Service, body, payload_tests, request, shown};
use lambda_http::Body;
use serde_json::{Value, json};
use validate_records::ValidateRecords;

async fn answer(name: &str) -> Value {
    let service = Service::start().await;
    shown(&Api::new(service.middleware(), ValidateRecords).handle(request("validate-records", name)).await)
}

payload_tests! {
    answer,
    "../../events/validate-records",
    as_fhir: "as-fhir",
    missing_members: "missing-members",
    mixed_lines: "mixed-lines",
    no_key: "no-key",
}

async fn validated(data: &str) -> Value {
    let service = Service::start().await;
    let mut request = request("validate-records", "mixed-lines");
    *request.body_mut() = Body::Text(json!({"resourceType": "Patient", "data": data}).to_string());
    body(&Api::new(service.middleware(), ValidateRecords).handle(request).await)
}

/// Lines of every kind, as an import and as a validation see them.
#[tokio::test(start_paused = true)]
async fn a_validation_says_what_an_import_finds() {
    let long = format!(r#"{{"firstName":"J","lastName":"D","note":"{}"}}"#, "x".repeat(380_000));
    let longer = format!(r#"{{"firstName":"{}"}}"#, "x".repeat(1 << 20));
    let lines = [
        r#"{"firstName":"Jane","lastName":"Doe"}"#,
        r#"{"id":"a","firstName":"Jane","lastName":"Doe"}"#,
        r#"{"id":"a","firstName":"Jane","lastName":"Doe"}"#,
        "",
        "[1]",
        "nonsense",
        r#"{"firstName":1,"lastName":"","birthDate":"2026-02-30"}"#,
        long.as_str(),
        longer.as_str(),
        r#"{"resourceType":"Task","firstName":"Jane","lastName":"Doe"}"#,
    ];
    let data = lines.join("\n");
    let answer = validated(&data).await;
    let validation = &answer["data"];
    let service = Service::start().await;
    let id = service.begin_import(&data).await;
    service.work().await;
    let job = service.job(&id).await;
    let figures = ["totalRecords", "validRecords", "invalidRecords"].map(|name| validation[name].as_u64().unwrap());
    let progress = job.progress();
    assert_eq!(figures, [progress.total, progress.succeeded, progress.failed]);
    let imported = http::JobReport::new(&job);
    let imported = serde_json::to_value(imported).unwrap();
    assert_eq!(validation["errors"], imported["errors"]);
    assert_eq!(validation["errorCount"], imported["errorCount"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_errors_are_listed_and_all_are_counted() {
    let answer = validated(&"{}\n".repeat(10_000)).await;
    let data = &answer["data"];
    assert_eq!(data["errors"].as_array().unwrap().len(), 1_000);
    assert_eq!((&data["errorCount"], &data["errorsTruncated"]), (&20_000.into(), &true.into()));
    assert_eq!((&data["totalRecords"], &data["invalidRecords"]), (&10_000.into(), &10_000.into()));
    assert!(answer.to_string().len() < 6_291_456, "a Lambda answer has a limit");
    assert_eq!(validated(&"{}\n".repeat(10_001)).await["code"], "VALIDATION_ERROR");
}
