//! Import, export, import, export: of every record type, everything that is kept comes back byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;

use in_process::Service;
use in_process::jobs::{caller, export_of, import_of};
use model::{Job, JobResult, Plan};
use proptest::prelude::*;
use records::ResourceType;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

type Members = BTreeMap<String, Box<RawValue>>;

async fn import(service: &Service, resource_type: ResourceType, data: String) {
    let id = service.begin(&caller(Plan::Enterprise), import_of(resource_type, &data)).await;
    service.work().await;
    let job: Job = service.job(&id).await;
    let Some(JobResult::Import { violation_count, violations, .. }) = job.result() else { panic!("{:?}", job.state()) };
    assert_eq!(*violation_count, 0, "{resource_type}: {violations:?}");
}

async fn export(service: &Service, resource_type: ResourceType) -> String {
    service.file(&service.export(export_of(resource_type).spec).await)
}

/// A value that a fact of the table allows.
fn allowed(fact: &Value) -> Value {
    let fact = fact.get("oneOf").map_or(fact, |branches| &branches[0]);
    match (fact["type"].as_str(), fact["enum"].as_array(), fact["format"].as_str()) {
        (Some("string"), Some(options), _) => options[0].clone(),
        (Some("string"), None, Some("date-time")) => json!("2025-01-31T10:20:30.5+01:00"),
        (Some("string"), None, Some("date")) => json!("2025-01"),
        (Some("string"), None, Some("time")) => json!("10:20"),
        (Some("string"), None, Some("email")) => json!("a@example.org"),
        (Some("string"), None, Some("uri")) => json!("urn:x"),
        (Some("string"), None, _) => json!("\u{e9}\"\\/"),
        (Some("integer" | "number"), ..) => fact.get("minimum").cloned().unwrap_or(json!(1)),
        (Some("boolean"), ..) => json!(true),
        (Some("array"), ..) => json!([allowed(&fact["items"])]),
        _ => fact["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, member)| (name.clone(), allowed(member)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// Every member that the type defines, and some of the client's own in spellings that a parser would lose.
fn line(fact: &Value, id: &str, own: &str) -> String {
    let record = allowed(fact).to_string();
    format!(r#"{{"id":"{id}", "x-own" : {own} ,"meta":{{"tag":[{{"system":"x","code":{own}}}]}},{}"#, &record[1..])
}

fn members(line: &str) -> Members {
    serde_json::from_str(line).unwrap()
}

async fn every_type_comes_back(own: &str) {
    let facts: Value = serde_json::from_str(include_str!("../../../../shared/records/tests/facts.json")).unwrap();
    let service = Service::start().await;
    for resource_type in ResourceType::ALL {
        let sent: BTreeMap<_, _> =
            (0..3).map(|n| (format!("r-{n}"), line(&facts[resource_type.as_str()], &format!("r-{n}"), own))).collect();
        import(&service, *resource_type, sent.values().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat())
            .await;
        let first = export(&service, *resource_type).await;
        import(&service, *resource_type, first.clone()).await;
        let second = export(&service, *resource_type).await;
        for file in [&first, &second] {
            assert_eq!(file.lines().count(), 3);
            for exported in file.lines().map(members) {
                let id: String = serde_json::from_str(exported["id"].get()).unwrap();
                for (name, value) in members(&sent[&id]) {
                    if name != "meta" {
                        assert_eq!(exported[&name].get(), value.get(), "{resource_type} {name}");
                    }
                }
                assert!(exported["meta"].get().contains(&format!(r#"{{"system":"x","code":{own}}}"#)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn every_type_comes_back_byte_for_byte(
        own in prop_oneof![
            Just("1.10".to_owned()),
            Just("1e400".to_owned()),
            "-?[1-9][0-9]{20,40}(\\.[0-9]{1,20}0)?",
            "\"[a-z \u{e9}\u{1F600}]{0,8}(\\\\u00e9|\\\\/|\\\\ud83d\\\\ude00)[a-z]{0,4}\"",
            Just("[ null , { \"a\" : -0.0 } ]".to_owned()),
        ],
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(every_type_comes_back(&own));
    }
}
