//! Every payload under `events/get-limits/` and its answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::sync::Arc;

use get_limits::GetLimits;
use http::Api;
use in_process::{Service, payload_tests, request, shown, test_partition};
use model::Plan;
use ports::UsageStore;
use serde_json::Value;

async fn answer_of(service: &Service, name: &str) -> Value {
    let endpoint = GetLimits { usage: Arc::new(service.memory.clone()) };
    shown(&Api::new(service.middleware(), endpoint).handle(request("get-limits", name)).await)
}

async fn answer(name: &str) -> Value {
    answer_of(&Service::start().await, name).await
}

payload_tests! {
    answer,
    "../../events/get-limits",
    limits: "limits",
    no_key: "no-key",
}

#[tokio::test(start_paused = true)]
async fn unlimited_is_null_and_operations_are_counted() {
    let service = Service::start().await;
    let tenant = service.memory.tenant(&test_partition().tenant).await.unwrap().unwrap();
    let tenant = model::Tenant { plan: Plan::Enterprise, ..tenant };
    let before = service.memory.tenant(&tenant.id).await.unwrap();
    assert!(service.memory.save_tenant(&tenant, before.as_ref()).await.unwrap());
    service.begin_export().await;
    let answer = answer_of(&service, "limits").await;
    let data = &answer["body"]["data"];
    let month = &data["requestsPerMonth"];
    assert!(month["limit"].is_null() && month["remaining"].is_null() && month["used"].is_u64(), "{month}");
    assert_eq!(month["used"].to_string(), answer["headers"]["x-sandbox-used"].as_str().unwrap());
    let operations = &data["bulkOperations"];
    assert_eq!(operations["remaining"].as_u64().unwrap(), operations["limit"].as_u64().unwrap() - 1);
}
