//! Every payload under `events/start-export/` and its answer.

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
use start_export::StartExport;

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    let api = Api::new(service.gate(), StartExport { starter: service.starter() });
    let answer = shown(&api.handle(request("start-export", name)).await);
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
            let events = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/start-export");
            for entry in std::fs::read_dir(events).unwrap() {
                let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
                assert!(tested.contains(&name.as_str()), "{name}");
            }
        }
    };
}

payloads! {
    all_patients: "all-patients",
    future_since: "future-since",
    many_faults: "many-faults",
    missing_types: "missing-types",
    no_key: "no-key",
    three_types_since: "three-types-since",
}
