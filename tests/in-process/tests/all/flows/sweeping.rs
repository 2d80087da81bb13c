//! The sweeper: what is due is sent, in time, whatever fails or hangs beside it.

use std::time::Duration;

use engine::{Delivery, Sweeper};
use in_process::Service;
use in_process::jobs::{deliver, patients};
use in_process::network::{Fate, Network, Operation};
use tokio::time::Instant;

use super::{dead_queue, hanging_queue, slow_export_worker};
use crate::metrics::Metrics;

#[tokio::test(start_paused = true)]
async fn the_sweeper_stops_behind_nothing_and_ends_in_time() {
    let service = Service::start().await;
    let (hung, other) = (service.begin_export().await, service.begin_import(&patients(1)).await);
    tokio::time::advance(Duration::from_mins(10)).await;
    let dead = Sweeper { exports: dead_queue(), ..service.sweeper() };
    let swept = dead.sweep(Instant::now() + Duration::from_mins(1)).await;
    assert_eq!((swept.redriven, swept.errors), (1, 1), "{other} is redriven beside {hung}");
    tokio::time::advance(Duration::from_mins(1)).await;
    let swept = service.sweep().await;
    assert_eq!((swept.redriven, swept.errors), (1, 0), "the next sweep sends what could not be sent");
    tokio::time::advance(Duration::from_hours(1)).await;
    let hanging = Sweeper { imports: hanging_queue(), ..service.sweeper() };
    let began = Instant::now();
    let swept = hanging.sweep(began + Duration::from_secs(30)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    assert_eq!((swept.redriven, swept.failed_groups), (1, 1), "a queue that hangs is in no other's way, and is told");
    let age = Duration::from_mins(71).as_millis();
    assert_eq!(swept.oldest_ms.map(u128::from), Some(age), "how old the oldest job is, is looked at first");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(service.sweep().await.redriven, 1, "what hung when the time was over is sent in the next sweep");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_cannot_look_at_all_jobs_is_none() {
    let service = Service::start().await;
    let _id = service.begin_export().await;
    tokio::time::advance(Duration::from_mins(10)).await;
    for fate in [Fate::Refused, Fate::Hangs] {
        // The first group's call.
        let jobs = Network::scripted(&service.memory, Operation::Job, [fate]);
        let sweeper = Sweeper { jobs, ..service.sweeper() };
        let swept = sweeper.sweep(Instant::now() + Duration::from_secs(25)).await;
        assert_eq!((swept.failed_groups, swept.oldest_ms), (1, None), "{fate:?}: what is not known is not told");
    }
}

/// One send that fails is made again by the next sweep; when all do, nothing is redriven any more.
#[tokio::test(start_paused = true)]
async fn a_sweep_that_redrives_nothing_of_what_is_due_is_none() {
    for fate in [Fate::Refused, Fate::Denied] {
        let service = Service::start().await;
        let _ids = (service.begin_export().await, service.begin_export().await);
        tokio::time::advance(Duration::from_mins(10)).await;
        let one = Network::scripted(&service.memory, Operation::Send, [fate]);
        let sweeper = Sweeper { exports: one, ..service.sweeper() };
        let swept = sweeper.sweep(Instant::now() + Duration::from_secs(25)).await;
        assert_eq!((swept.redriven, swept.errors, swept.stuck_groups), (1, 1, 0), "{fate:?}");
        tokio::time::advance(Duration::from_mins(30)).await;
        let sweeper = Sweeper { exports: dead_queue(), ..service.sweeper() };
        let swept = sweeper.sweep(Instant::now() + Duration::from_secs(25)).await;
        assert_eq!((swept.redriven, swept.errors, swept.stuck_groups), (0, 2, 1), "{fate:?}: no message is sent");
        tokio::time::advance(Duration::from_mins(1)).await;
        let told = Metrics::told();
        let jobs = Network::scripted(&service.memory, Operation::Postpone, std::iter::repeat(fate));
        let sweeper = Sweeper { jobs, ..service.sweeper() };
        let swept = sweeper.sweep(Instant::now() + Duration::from_secs(25)).await;
        assert_eq!((swept.redriven, swept.errors, swept.stuck_groups), (0, 2, 1), "{fate:?}: no job is written");
        assert_eq!(told.count("service_defects=1") > 0, fate == Fate::Denied, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_next_time_slice_has_one_message() {
    let service = Service::start().await;
    let _id = service.begin_import(&patients(300)).await;
    service.work().await;
    let id = service.begin_export().await;
    let _first = service.memory.take_messages();
    let worker = slow_export_worker(&service, Duration::from_secs(5), Duration::from_secs(8));
    assert_eq!(deliver(&worker, &id).await, Delivery::Yielded);
    let mut redriven = Vec::new();
    for minute in 1..=65 {
        tokio::time::advance(Duration::from_mins(1)).await;
        if service.sweep().await.redriven > 0 {
            redriven.push(minute);
        }
    }
    assert_eq!(redriven, [30, 60], "its own, and what is sent in case it was lost");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_in_a_long_queue_is_redriven_ever_more_seldom() {
    let service = Service::start().await;
    let _id = service.begin_export().await;
    let mut redriven = Vec::new();
    for minute in 1..=80 {
        tokio::time::advance(Duration::from_mins(1)).await;
        if service.sweep().await.redriven > 0 {
            redriven.push(minute);
        }
    }
    assert_eq!(redriven, [5, 15, 35, 75]);
}
