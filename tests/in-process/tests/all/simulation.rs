//! Jobs under everything that can go wrong, thousands of times: a seeded scheduler kills workers before and after any
//! call and at any moment, loses and doubles messages, delays, throttles, refuses and cuts calls, repeats the same call
//! at once, lets clocks differ, cancels and deletes jobs, and writes records while they are read. Whatever it does, one
//! job is accepted and ends once, with every record once, and a chain of exports equals the store; and operators are told
//! every end and every deferral, once.
//!
//! `SEEDS=10000` runs more seeds, `SEED=17` one alone. The seed of a failed run is in its message.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    reason = "test"
)]

mod cancels;
mod deferrals;
mod exports;
mod imports;
mod incremental;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use in_process::network::Seen;
use tokio::time::Instant;
use world::World;

use crate::metrics::Metrics;

const SEEDS: u64 = 2_000;

/// Runs a seed, and returns when it ended and what was sent.
fn simulate(seed: u64) -> (Duration, Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let told = Metrics::told();
        let mut world = World::new(seed);
        let mut cancelled = None;
        match seed % 7 {
            0 => imports::of_a_call(&mut world).await,
            1 => imports::of_an_upload(&mut world).await,
            2 | 3 => exports::whole(&mut world).await,
            4 => exports::since(&mut world).await,
            5 => cancelled = Some(cancels::at_any_moment(&mut world).await),
            _ => incremental::in_a_row(&mut world).await,
        }
        let ended = began.elapsed();
        world.settled().await;
        deferrals::are_told_and_ends_too(&world, &told.take());
        if let Some(id) = cancelled {
            cancels::charge_what_is_stored(&world, &id).await;
            cancels::leave_nothing(&mut world, &id).await;
        }
        (ended, world.network.seen())
    })
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in 0..30 {
        assert!(simulate(seed) == simulate(seed), "seed {seed}");
    }
}

#[test]
fn whatever_happens_every_job_ends_once_with_every_record_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SEED") {
        simulate(seed);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let run = std::panic::catch_unwind(|| simulate(seed));
                    assert!(run.is_ok(), "seed {seed} failed; SEED={seed} runs it alone");
                }
            });
        }
    });
}
