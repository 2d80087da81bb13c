//! The model of scale in ARCHITECTURE.md, worked out from the code's own constants: the page shows exactly
//! these rows.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test"
)]

use domain::ports::{MAX_BATCH, SHARDS};
use domain::{ExportSizes, MAX_SEGMENTS, PARTS_PER_SEGMENT};

/// The most records of one import (contract, section 3).
const RECORDS_AN_IMPORT: u64 = 10_000;

/// What an item has beside the stored line: the names and values of its keys and its stamp.
const BESIDE_THE_LINE: u64 = 130;

/// Dollars a million, on demand, us-east-1 (<https://aws.amazon.com/dynamodb/pricing/on-demand/>,
/// <https://aws.amazon.com/s3/pricing/>).
const WRITE_UNITS: f64 = 0.625;
const READ_UNITS: f64 = 0.125;
const PUTS: f64 = 5.0;

/// Write and read units a second of one partition key
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>).
const WRITES_A_SHARD: u64 = 1_000;
const READS_A_SHARD: u64 = 3_000;

/// What one segment reads in a second: a page of 1 MiB in about 25 ms, one after the other.
const BYTES_A_SECOND: u64 = 40 << 20;

const PAGE: u64 = 1 << 20;

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// An import of records with stored lines of so many bytes: calls, units, dollars, seconds at the wall.
fn import(records: u64, line: u64) -> String {
    let jobs = records.div_ceil(RECORDS_AN_IMPORT);
    let calls = records.div_ceil(MAX_BATCH as u64);
    // The table and its index.
    let units = 2 * records * (line + BESIDE_THE_LINE).div_ceil(1_024);
    let seconds = units as f64 / 2.0 / (u64::from(SHARDS) * WRITES_A_SHARD) as f64;
    row(&[
        thousands(records),
        thousands(line),
        thousands(jobs),
        thousands(calls),
        thousands(units),
        format!("{:.2}", units as f64 * WRITE_UNITS / 1e6),
        format!("{seconds:.1}"),
    ])
}

/// An export of one type: calls, units, dollars, seconds by one segment and by all.
fn export(records: u64, line: u64) -> String {
    let items = records * (line + BESIDE_THE_LINE);
    let bytes = records * (line + 1);
    let pages = items.div_ceil(PAGE) + u64::from(SHARDS);
    let parts = bytes.div_ceil(ExportSizes::default().part);
    // Counted eventually consistent, read strongly.
    let units = items.div_ceil(8_192) + items.div_ceil(4_096);
    let dollars = units as f64 * READ_UNITS / 1e6 + parts as f64 * PUTS / 1e6;
    let seconds = |segments: u64| format!("{:.1}", items as f64 / (segments * BYTES_A_SECOND) as f64);
    row(&[
        thousands(records),
        thousands(line),
        thousands(2 * pages),
        thousands(parts),
        thousands(units),
        format!("{dollars:.4}"),
        seconds(1),
        seconds(MAX_SEGMENTS.into()),
    ])
}

#[test]
fn the_page_shows_what_the_constants_say() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).unwrap();
    let mut expected = Vec::new();
    for (records, line) in [(10_000, 870), (1_000_000, 870), (10_000_000, 870), (1_000_000, 2_800)] {
        expected.extend([import(records, line), export(records, line)]);
    }
    let gibibytes = u64::from(PARTS_PER_SEGMENT) * ExportSizes::default().part / (1 << 30);
    expected.extend([
        format!("{} records a second", thousands(u64::from(SHARDS) * WRITES_A_SHARD)),
        format!("{} MB a second", u64::from(SHARDS) * READS_A_SHARD * 4_096 / 1_000_000),
        format!("{gibibytes} GiB a segment"),
    ]);
    let missing: Vec<_> = expected.iter().filter(|text| !page.contains(text.as_str())).cloned().collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md lacks:\n{}", missing.join("\n"));
}
