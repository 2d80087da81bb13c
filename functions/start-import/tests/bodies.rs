//! What a body may be: media types, encodings, sizes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Api, Body};
use in_process::{Service, request, shown};
use serde_json::Value;
use start_import::StartImport;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The answer's status and code, and its message.
async fn answer(body: impl Into<Body>, headers: &[(&'static str, &str)]) -> (u64, String, String) {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), StartImport { starter: service.import_starter() });
    let mut request = request("start-import", "two-patients");
    request.headers_mut().remove("content-type");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    *request.body_mut() = body.into();
    let answer = shown(&api.handle(request).await);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (answer["status"].as_u64().unwrap(), text(&answer["body"]["code"]), text(&answer["body"]["message"]))
}

/// A body of exactly so many bytes.
fn of_size(size: usize) -> String {
    let empty = r#"{"resourceType":"Patient","data":""}"#.len();
    format!(r#"{{"resourceType":"Patient","data":"{}"}}"#, "x".repeat(size - empty))
}

const JSON: (&str, &str) = ("content-type", "application/json");
const FHIR: (&str, &str) = ("content-type", "application/fhir+json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test(start_paused = true)]
async fn both_media_types_mean_json_with_or_without_parameters() {
    for media_type in ["application/json", "application/fhir+json", "Application/JSON; charset=utf-8"] {
        assert_eq!(answer(of_size(100), &[("content-type", media_type)]).await.0, 202, "{media_type}");
    }
    for media_type in ["text/plain", "application/x-ndjson", "application/jsonx", ""] {
        let (status, code, _) = answer(of_size(100), &[("content-type", media_type)]).await;
        assert_eq!((status, code.as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{media_type}");
    }
    assert_eq!(answer(of_size(100), &[]).await.0, 415);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_json_is_told() {
    let cases = [
        ("", "The body is missing"),
        (" \n", "The body is missing"),
        ("[]", "The body must be a JSON object"),
        ("1e400", "The body must be a JSON object"),
        ("{", "The body is not valid JSON"),
        ("{} {}", "The body is not valid JSON"),
        (r#"{"data":"a","resourceType":"Patient","data":"b"}"#, "Duplicate member: data"),
        (r#"{"upload\u0049d":1,"uploadId":2}"#, "Duplicate member: uploadId"),
    ];
    for (body, expected) in cases {
        let (status, code, message) = answer(body, &[JSON]).await;
        assert_eq!((status, code.as_str(), message.as_str()), (400, "INVALID_JSON", expected), "{body}");
    }
    let (status, _, message) = answer(Body::Empty, &[]).await;
    assert_eq!((status, message.as_str()), (400, "The body is missing"), "without a type too");
    let (status, code, _) = answer(b"{\"data\":\"\xFF\"}".to_vec(), &[FHIR]).await;
    assert_eq!((status, code.as_str()), (400, "INVALID_JSON"));
    assert_eq!(answer(format!("\u{feff}{}", of_size(100)), &[JSON]).await.0, 202, "a byte order mark");
    let deep = format!(r#"{{"resourceType":"Patient","data":"{{}}","other":{}1{}}}"#, "[".repeat(300), "]".repeat(300));
    assert_eq!(answer(deep, &[JSON]).await.0, 202, "what is not ours is not looked at");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_4_500_000_bytes_at_most() {
    assert_eq!(answer(of_size(4_500_000), &[JSON]).await.0, 202);
    let (status, code, message) = answer(of_size(4_500_001), &[JSON]).await;
    assert_eq!((status, code.as_str()), (413, "PAYLOAD_TOO_LARGE"));
    assert!(message.contains("/v1/bulk/uploads"), "{message}");
}

/// API Gateway escapes a text body once more, and Lambda takes events of 6,291,456 bytes.
#[tokio::test(start_paused = true)]
async fn the_event_of_the_largest_typical_body_fits() {
    let sample = include_str!("../../../events/samples/records/Observation.ndjson");
    let body = |lines: usize| {
        let ndjson = sample.lines().cycle().take(lines).flat_map(|line| [line, "\n"]).collect::<String>();
        serde_json::json!({"resourceType": "Observation", "data": ndjson}).to_string()
    };
    let lines = 4_450_000 * 1_000 / body(1_000).len();
    let body = body(lines);
    assert!(body.len() <= 4_500_000);
    assert!(body.len() > 4_300_000, "{lines} lines have {} bytes", body.len());
    let headers: serde_json::Map<_, _> = (0..100).map(|n| (format!("x-header-{n}"), "v".repeat(100).into())).collect();
    let event = |body: &str| serde_json::json!({"version": "2.0", "headers": headers, "body": body}).to_string().len();
    assert!(event(&body) < 6_291_456, "as text: {}", event(&body));
    assert!(body.len().div_ceil(3) * 4 + event("") < 6_291_456, "as base64");
}

#[tokio::test(start_paused = true)]
async fn gzip_inflates_to_33_554_432_bytes_at_most() {
    assert_eq!(answer(gzip(of_size(33_554_432).as_bytes()), &[FHIR, GZIP]).await.0, 202);
    let (status, code, _) = answer(gzip(of_size(33_554_433).as_bytes()), &[FHIR, GZIP]).await;
    assert_eq!((status, code.as_str()), (413, "PAYLOAD_TOO_LARGE"));
    let bomb = gzip(&gzip(&vec![0; 200_000_000]));
    assert_eq!(answer(bomb, &[FHIR, GZIP]).await.0, 400, "gzip in gzip is no JSON");
}

#[tokio::test(start_paused = true)]
async fn an_encoding_is_gzip_and_arrives_as_base64_or_not_at_all() {
    let (status, code, message) = answer(of_size(100), &[JSON, GZIP]).await;
    assert_eq!((status, code.as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "text is destroyed gzip");
    assert!(message.contains("application/fhir+json"), "{message}");
    assert_eq!(answer(of_size(100), &[JSON, ("content-encoding", "identity")]).await.0, 202);
    for other in ["br", "gzip\u{e9}", "\u{e9}"] {
        assert_eq!(answer(of_size(100), &[JSON, ("content-encoding", other)]).await.0, 415, "{other:?}");
    }
    assert_eq!(answer(b"no gzip".to_vec(), &[FHIR, GZIP]).await.0, 400);
    assert_eq!(answer(gzip(of_size(100).as_bytes()), &[FHIR, ("content-encoding", "x-gzip")]).await.0, 202);
    let padded = |padding: &[u8]| [&gzip(of_size(100).as_bytes()), padding].concat();
    assert_eq!(answer(padded(&[0; 700]), &[FHIR, GZIP]).await.0, 202, "zeros after gzip are padding");
    assert_eq!(answer(padded(b"\0x"), &[FHIR, GZIP]).await.0, 400);
    let mut cut = gzip(of_size(10_000).as_bytes());
    cut.truncate(20);
    assert_eq!(answer(cut, &[FHIR, GZIP]).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_lines_and_no_more() {
    let body = |lines: usize| serde_json::json!({"resourceType": "Patient", "data": "{}\n".repeat(lines)}).to_string();
    assert_eq!(answer(body(10_000), &[JSON]).await.0, 202);
    let (status, code, message) = answer(body(10_001), &[JSON]).await;
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (422, "VALIDATION_ERROR", "data: Must have at most 10000 records")
    );
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_is_visible_ascii() {
    for (key, status) in [("a", 202), ("with space", 422), (&"x".repeat(255), 202), (&"x".repeat(256), 422)] {
        assert_eq!(answer(of_size(100), &[JSON, ("idempotency-key", key)]).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_repeats_a_value() {
    for body in [
        r#"{"resourceType":"Sesame","data":7,"uploadId":"Sesame"}"#,
        r#"{"resourceType":["Sesame"],"data":{"Sesame":1}}"#,
        r#"{"resourceType":"Sesame" Sesame"#,
    ] {
        let (status, _, message) = answer(body, &[JSON]).await;
        assert!(status >= 400 && !message.contains("Sesame"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_surrogate_pair_costs_its_own_line_only() {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), StartImport { starter: service.import_starter() });
    let mut request = request("start-import", "two-patients");
    let line = |name: &str| format!(r#"{{\"firstName\":\"{name}\",\"lastName\":\"D\"}}\n"#);
    let data = [line("A"), line(r"\ud800"), line(r"\ud83d\ude00")].concat();
    *request.body_mut() = format!(r#"{{"resourceType":"Patient","data":"{data}"}}"#).into();
    let answer = shown(&api.handle(request).await);
    assert_eq!(answer["status"], 202, "{answer}");
    service.work().await;
    let job = service.job(&answer["body"]["data"]["jobId"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!((job.progress().total, job.progress().succeeded), (3, 2));
    assert_eq!(service.exported().await.len(), 2);
}
