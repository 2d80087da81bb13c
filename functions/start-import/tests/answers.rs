//! Every payload under `events/start-import/` and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use http::Api;
use in_process::{Service, payload_tests, request, shown};
use start_import::StartImport;

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.middleware(), StartImport { starter: service.import_starter() });
    let answer = shown(&api.handle(request("start-import", name)).await);
    let accepted = answer["status"] == 202;
    assert_eq!(service.memory.take_messages().len(), usize::from(accepted), "a message for an accepted job only");
    answer
}

payload_tests! {
    answer,
    "../../events/start-import",
    as_fhir: "as-fhir",
    data_and_upload: "data-and-upload",
    empty_data: "empty-data",
    expired_key: "expired-key",
    form_encoded: "form-encoded",
    idempotent: "idempotent",
    malformed_key: "malformed-key",
    malformed_upload_id: "malformed-upload-id",
    method_override: "method-override",
    missing_members: "missing-members",
    mixed_lines: "mixed-lines",
    no_key: "no-key",
    not_an_object: "not-an-object",
    not_json: "not-json",
    read_only_key: "read-only-key",
    revoked_key: "revoked-key",
    two_patients: "two-patients",
    two_patients_bearer: "two-patients-bearer",
    unknown_key: "unknown-key",
    unknown_type: "unknown-type",
    uploaded: "uploaded",
}
