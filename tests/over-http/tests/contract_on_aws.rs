//! The AWS adapters keep the contract of the ports, against the local stack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use aws::Aws;
use over_http::setting;
use ports::Clock;
use runtime::{SystemClock, SystemIds};

/// A seed that no other run against the same stack has.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id()) >> 1
}

#[tokio::test]
async fn dynamodb_keeps_jobs() {
    let aws = Aws::from_env().await;
    let jobs = aws.jobs(setting("JOBS_TABLE"), setting("USAGE_TABLE"));
    testing::contract::jobs(&jobs, &aws.usage(setting("USAGE_TABLE"), Arc::new(SystemIds)), seed(), SystemClock.now())
        .await;
}

#[tokio::test]
async fn dynamodb_keeps_records() {
    let aws = Aws::from_env().await;
    let records = aws.records(setting("RECORDS_TABLE"));
    testing::contract::records(&records, seed(), SystemClock.now()).await;
}

#[tokio::test]
async fn dynamodb_keeps_usage_and_keys() {
    let aws = Aws::from_env().await;
    testing::contract::usage(&aws.usage(setting("USAGE_TABLE"), Arc::new(SystemIds)), seed(), SystemClock.now()).await;
    testing::contract::keys(&aws.keys(setting("API_KEYS_TABLE")), seed(), SystemClock.now()).await;
}

#[tokio::test]
async fn s3_keeps_objects() {
    let aws = Aws::from_env().await;
    testing::contract::objects(&aws.objects(setting("BUCKET")), seed(), SystemClock.now()).await;
}
