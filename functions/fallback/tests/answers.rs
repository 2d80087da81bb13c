//! The payloads under `events/fallback/` and their answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use in_process::{Service, request, shown};

async fn answer(name: &str) -> serde_json::Value {
    let service = Service::start().await;
    shown(&service.fallback().handle(&request("fallback", name)))
}

#[tokio::test(start_paused = true)]
async fn health_needs_no_key() {
    insta::assert_json_snapshot!(answer("health").await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_route_is_404_before_the_key_is_looked_at() {
    insta::assert_json_snapshot!(answer("unknown-route").await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_method_is_404() {
    assert_eq!(answer("unknown-method").await["status"], 404);
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_as_get_and_no_override_is_taken() {
    let service = Service::start().await;
    let mut head = request("fallback", "health");
    *head.method_mut() = http::Method::HEAD;
    assert_eq!(service.fallback().handle(&head).status(), 200);
    let mut overridden = request("fallback", "health");
    overridden.headers_mut().insert("x-http-method-override", "POST".parse().unwrap());
    assert_eq!(shown(&service.fallback().handle(&overridden))["body"]["code"], "METHOD_OVERRIDE_REJECTED");
}
