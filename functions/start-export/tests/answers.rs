//! Every payload under `events/start-export/` and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use http::Api;
use in_process::{Service, payload_tests, request, shown};
use start_export::StartExport;

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.gate(), StartExport { starter: service.export_starter() });
    let answer = shown(&api.handle(request("start-export", name)).await);
    let accepted = answer["status"] == 202;
    assert_eq!(service.memory.take_messages().len(), usize::from(accepted), "a message for an accepted job only");
    answer
}

payload_tests! {
    answer,
    "../../events/start-export",
    all_patients: "all-patients",
    future_since: "future-since",
    many_faults: "many-faults",
    missing_types: "missing-types",
    no_key: "no-key",
    three_types_since: "three-types-since",
}
