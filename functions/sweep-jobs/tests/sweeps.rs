//! A sweep of an idle service, as the schedule invokes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::time::Duration;

use engine::Swept;
use in_process::{Service, payload};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_idle_service_has_nothing_to_sweep() {
    let event: serde_json::Value = serde_json::from_str(&payload("sweep-jobs", "every-minute")).unwrap();
    assert_eq!(event["detail-type"], "Scheduled Event");
    let service = Service::start().await;
    let swept = sweep_jobs::handle(&service.sweeper(), Instant::now() + Duration::from_secs(30)).await;
    assert_eq!(swept.unwrap(), Swept::default());
}
