//! Every payload under `events/create-upload/` and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use create_upload::CreateUpload;
use http::Api;
use in_process::{Service, payload_tests, request, shown};

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), CreateUpload { uploader: service.uploader() });
    shown(&api.handle(request("create-upload", name)).await)
}

payload_tests! {
    answer,
    "../../events/create-upload",
    missing_bytes: "missing-bytes",
    no_key: "no-key",
    read_only_key: "read-only-key",
    too_many_bytes: "too-many-bytes",
    upload: "upload",
}

async fn asked(service: &Service, body: &str) -> serde_json::Value {
    let api = Api::new(service.middleware(), CreateUpload { uploader: service.uploader() });
    let mut request = request("create-upload", "upload");
    *request.body_mut() = lambda_http::Body::Text(body.to_owned());
    shown(&api.handle(request).await)
}

#[tokio::test(start_paused = true)]
async fn bytes_are_a_whole_number_within_its_bounds() {
    let service = Service::start().await;
    for (body, status) in [
        (r#"{"bytes":1}"#, 201),
        (r#"{"bytes":104857600}"#, 201),
        (r#"{"bytes":1e3}"#, 201),
        (r#"{"bytes":0}"#, 422),
        (r#"{"bytes":-1}"#, 422),
        (r#"{"bytes":1.5}"#, 422),
        (r#"{"bytes":"7"}"#, 422),
        (r#"{"bytes":null}"#, 422),
        (r#"{"bytes":[7]}"#, 422),
        (r#"{"bytes":104857601}"#, 413),
        (r#"{"bytes":1e400}"#, 413),
        (r#"{"bytes":-1e400}"#, 422),
        (r#"{"bytes":true}"#, 422),
        ("{}", 422),
        ("", 400),
    ] {
        assert_eq!(asked(&service, body).await["status"], status, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_has_at_most_twenty_open_uploads() {
    let service = Service::start().await;
    for _ in 0..20 {
        assert_eq!(asked(&service, r#"{"bytes":1}"#).await["status"], 201);
    }
    let refused = asked(&service, r#"{"bytes":1}"#).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&429.into(), &"RATE_LIMITED".into()));
    assert_eq!(refused["headers"]["retry-after"], "3600");
    tokio::time::advance(std::time::Duration::from_hours(1)).await;
    assert_eq!(asked(&service, r#"{"bytes":1}"#).await["status"], 201, "they close with their URLs");
}
