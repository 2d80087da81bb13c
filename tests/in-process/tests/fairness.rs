//! How long a small tenant's export waits while others export millions of records: a model of the queue
//! and the processors, by the engine's own constants, with and without what makes them fair.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::{BTreeMap, VecDeque};

use domain::{MAX_SEGMENTS, Pace};

/// Exports that are worked on at a time: the template's `ExportConcurrency`.
const PROCESSORS: usize = 20;

/// Segments of one tenant's exports, of the five that it may start an hour.
const SEGMENTS_OF_A_TENANT: usize = 5 * MAX_SEGMENTS as usize;

/// Seconds that a segment of ten million records takes in all: 2.5 million of 730 bytes at 10 MB/s.
const SECONDS_OF_A_SEGMENT: u64 = 180;

/// Seconds that the small export takes.
const SECONDS_OF_SMALL: u64 = 2;

/// When the small export is asked for: while all processors are at work.
const ASKED_AT: u64 = 30;

#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Whether the queue lets tenants take turns, as fair queues do: what belongs to the tenant with the
    /// fewest messages under way goes first.
    fair: bool,
    /// For how long a processor works on a segment before it makes room.
    turn: u64,
}

struct Message {
    tenant: usize,
    seconds_left: u64,
}

/// When the small export is done, in seconds after it was asked for, while `tenants` others export.
fn wait(tenants: usize, rules: Rules) -> u64 {
    const SMALL: usize = usize::MAX;
    let mut queue: VecDeque<_> = (0..tenants * SEGMENTS_OF_A_TENANT)
        .map(|n| Message { tenant: n % tenants, seconds_left: SECONDS_OF_A_SEGMENT })
        .collect();
    let mut processors: Vec<(u64, Message)> = Vec::new();
    for now in 0.. {
        for (_, done) in processors.extract_if(.., |(until, _)| *until <= now) {
            if done.seconds_left > 0 {
                queue.push_back(done);
            } else if done.tenant == SMALL {
                return now - ASKED_AT;
            }
        }
        if now == ASKED_AT {
            queue.push_back(Message { tenant: SMALL, seconds_left: SECONDS_OF_SMALL });
        }
        while processors.len() < PROCESSORS && !queue.is_empty() {
            let mut under_way = BTreeMap::new();
            for (_, message) in &processors {
                *under_way.entry(message.tenant).or_insert(0) += 1;
            }
            let busy = |message: &Message| under_way.get(&message.tenant).copied().unwrap_or(0);
            let quietest = (0..queue.len()).min_by_key(|index| busy(&queue[*index])).unwrap_or(0);
            let mut message = queue.remove(if rules.fair { quietest } else { 0 }).unwrap();
            let works = message.seconds_left.min(rules.turn);
            message.seconds_left -= works;
            processors.push((now + works, message));
        }
    }
    unreachable!("the small export is done at some time")
}

#[test]
fn a_small_export_waits_for_a_turn_at_most_however_many_large_ones_there_are() {
    let turn = Pace::default().turn.as_secs();
    let with = Rules { fair: true, turn };
    let without = Rules { fair: false, turn: u64::MAX };
    println!("large tenants   with   without   fair queue alone   turns alone   (seconds)");
    for tenants in [1, 3, 10] {
        let alone = (wait(tenants, Rules { turn: u64::MAX, ..with }), wait(tenants, Rules { fair: false, ..with }));
        let (with, without) = (wait(tenants, with), wait(tenants, without));
        println!("{tenants:>13} {with:>6} {without:>9} {:>18} {:>13}", alone.0, alone.1);
        assert!(with <= turn + SECONDS_OF_SMALL, "{tenants}: {with}");
        assert!(with < without, "{tenants}: {with} and {without}");
    }
    assert!(wait(10, without) > 10 * wait(10, with), "the more large exports, the more it is worth");
}
