//! Every payload under `events/create-upload/` and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use create_upload::CreateUpload;
use http::Api;
use in_process::{Service, payload_tests, request, shown};

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.gate(), CreateUpload { uploader: service.uploader() });
    shown(&api.handle(request("create-upload", name)).await)
}

payload_tests! {
    answer,
    "../../events/create-upload",
    no_key: "no-key",
    read_only_key: "read-only-key",
    upload: "upload",
}
