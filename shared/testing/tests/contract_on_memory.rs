//! The in-memory ports keep the contract of the ports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use jiff::Timestamp;
use testing::Memory;

fn now() -> Timestamp {
    "2026-01-15T09:15:00.123Z".parse().unwrap()
}

#[tokio::test]
async fn memory_keeps_jobs() {
    let memory = Memory::new();
    testing::contract::jobs(&memory, &memory, 1, now()).await;
}

#[tokio::test]
async fn memory_keeps_records() {
    testing::contract::records(&Memory::new(), 1, now()).await;
}

#[tokio::test]
async fn memory_keeps_objects() {
    testing::contract::objects(&Memory::new(), 1, now()).await;
}

#[tokio::test]
async fn memory_keeps_usage_and_keys() {
    testing::contract::usage(&Memory::new(), 1, now()).await;
    testing::contract::keys(&Memory::new(), 1, now()).await;
}
