//! The payloads under `events/run-import/` and what comes of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::time::Duration;

use in_process::{Service, payload};
use tokio::time::Instant;

/// The ids of the messages that have to come again.
async fn failures(name: &str) -> Vec<String> {
    let service = Service::start().await;
    let event = serde_json::from_str(&payload("run-import", name)).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let response = edge::sqs::handle(&service.worker(), event, deadline).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_about_a_job_that_is_gone_is_done() {
    assert!(failures("job").await.is_empty());
    assert!(failures("same-job-twice").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_comes_again_and_ends_as_a_dead_letter() {
    assert_eq!(failures("unreadable-message").await, ["00000000-0000-4000-8000-000000000000"]);
}
