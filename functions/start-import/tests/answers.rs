//! Every payload under `events/start-import/` and its answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use edge::http::Api;
use in_process::{Service, request, shown};
use start_import::StartImport;

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.gate(), StartImport { starter: service.starter() });
    let answer = shown(&api.handle(request("start-import", name)).await);
    let accepted = answer["status"] == 202;
    assert_eq!(service.memory.take_messages().len(), usize::from(accepted), "a message for an accepted job only");
    answer
}

macro_rules! payloads {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $test() {
            insta::assert_json_snapshot!($name, answer($name).await);
        })*

        #[test]
        fn every_payload_has_a_test() {
            let tested = [$($name),*];
            let events = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/start-import");
            for entry in std::fs::read_dir(events).unwrap() {
                let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
                assert!(tested.contains(&name.as_str()), "{name}");
            }
        }
    };
}

payloads! {
    empty_data: "empty-data",
    expired_key: "expired-key",
    form_encoded: "form-encoded",
    idempotent: "idempotent",
    malformed_key: "malformed-key",
    method_override: "method-override",
    missing_members: "missing-members",
    mixed_lines: "mixed-lines",
    no_key: "no-key",
    not_an_object: "not-an-object",
    not_json: "not-json",
    read_only_key: "read-only-key",
    revoked_key: "revoked-key",
    two_patients_bearer: "two-patients-bearer",
    two_patients: "two-patients",
    unknown_key: "unknown-key",
    unknown_type: "unknown-type",
}
