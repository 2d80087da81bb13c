//! Every payload under `events/start-export/` and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use http::Api;
use in_process::{Service, payload_tests, request, shown};
use start_export::StartExport;

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), StartExport { starter: service.export_starter() });
    let answer = shown(&api.handle(request("start-export", name)).await);
    let accepted = answer["status"] == 202;
    assert_eq!(service.memory.take_messages().len(), usize::from(accepted), "a message for an accepted job only");
    answer
}

payload_tests! {
    answer,
    "../../events/start-export",
    all_patients: "all-patients",
    as_fhir: "as-fhir",
    future_since: "future-since",
    many_violations: "many-violations",
    misspelled_since: "misspelled-since",
    missing_types: "missing-types",
    no_key: "no-key",
    three_types_since: "three-types-since",
    unknown_member: "unknown-member",
}

/// The status, and the diagnostics of all issues.
async fn issues(body: String) -> (u64, Vec<String>) {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), StartExport { starter: service.export_starter() });
    let mut request = request("start-export", "all-patients");
    *request.body_mut() = body.into();
    let answer = shown(&api.handle(request).await);
    let told = |issue: &serde_json::Value| issue["diagnostics"].as_str().unwrap().to_owned();
    let issues = answer["body"]["issues"].as_array().map(|issues| issues.iter().map(told).collect());
    (answer["status"].as_u64().unwrap(), issues.unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn whatever_is_well_formed_is_told_by_its_position() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let cases = [
        (r#""resourceTypes":["Patient"],"since":1e400"#.to_owned(), "since: Expected string"),
        (r#""resourceTypes":["Patient"],"since":"\ud800""#.to_owned(), "since: Must be valid Unicode"),
        (r#""resourceTypes":["Patient","\ud800"]"#.to_owned(), "resourceTypes[1]: Must be valid Unicode"),
        (r#""resourceTypes":["Patient",null]"#.to_owned(), "resourceTypes[1]: Expected string"),
        (format!(r#""resourceTypes":[{deep}]"#), "resourceTypes[0]: Expected string"),
        (r#""resourceTypes":[]"#.to_owned(), "resourceTypes: Must not be empty"),
        (r#""resourceTypes":{}"#.to_owned(), "resourceTypes: Expected array"),
        (r#""resourceTypes":["Patient"],"format":"xml""#.to_owned(), "format: Must be flat or fhir"),
        (
            r#""resourceTypes":["Patient"],"format":"fhir","files":"single""#.to_owned(),
            "files: Must be perType with format fhir",
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(issues(format!("{{{members}}}")).await, (422, vec![expected.to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_grows_with_its_request() {
    let names = vec![r#""x""#; 40_000].join(",");
    let (status, issues) = issues(format!(r#"{{"resourceTypes":[{names}]}}"#)).await;
    assert_eq!((status, issues.len(), issues[100].as_str()), (422, 101, "39900 more issues"));
}

#[tokio::test(start_paused = true)]
async fn since_has_any_number_of_fraction_digits() {
    let since = format!("2025-01-01T00:00:00.{}Z", "9".repeat(400));
    assert_eq!(issues(format!(r#"{{"resourceTypes":["Patient"],"since":"{since}"}}"#)).await.0, 202);
}
