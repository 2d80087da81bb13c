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

use engine::{Sweeper, Swept};
use in_process::network::{Fate, Network, Operation};
use in_process::{Service, payload};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_idle_service_has_nothing_to_sweep() {
    let event: serde_json::Value = serde_json::from_str(&payload("sweep-jobs", "every-minute")).unwrap();
    assert_eq!(event["detail-type"], "Scheduled Event");
    let service = Service::start().await;
    let swept = sweep_jobs::handle(&service.sweeper(), Instant::now() + Duration::from_secs(30)).await;
    assert_eq!(swept.unwrap(), Swept { oldest_ms: Some(0), ..Swept::default() });
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_could_not_look_at_all_jobs_is_an_error_of_the_function() {
    let service = Service::start().await;
    let sweeper = |fate| {
        let jobs = Network::scripted(&service.memory, Operation::Job, [fate]);
        Sweeper { jobs, ..service.sweeper() }
    };
    for fate in [Fate::Refused, Fate::Hangs] {
        let swept = sweep_jobs::handle(&sweeper(fate), Instant::now() + Duration::from_secs(25)).await;
        assert_eq!(swept.unwrap_err().to_string(), "1 groups of jobs could not be swept");
    }
}
