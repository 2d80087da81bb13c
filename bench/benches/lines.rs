//! Framing, validating and building the stored line, in bytes a second on one core.
//!
//! Five shapes of record: a flat patient of about 140 bytes, an observation of about 730, a patient with contacts of
//! about 1.9 KB, notes of about 3.4 and 11.5 KB.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_collect, reason = "benchmark")]

use std::hint::black_box;

use bench::SHAPES;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndjson::{Frame, LineSplitter};
use records::{RecordId, ResourceType, Schema};

const RECORDS: usize = 1_000;

/// Reads NDJSON as an import does, and returns how many bytes would be stored.
fn import(schema: &Schema, input: &[u8]) -> usize {
    let mut splitter = LineSplitter::new(1 << 20);
    let mut stored = 0;
    for chunk in input.chunks(64 * 1024) {
        splitter.push(chunk);
        while let Some(frame) = splitter.next_frame() {
            if let Frame::Line { bytes, .. } = frame {
                let record = schema.scan(bytes).unwrap();
                let derived = || RecordId::try_from("derived".to_owned()).unwrap();
                stored += record.into_stored("clinic-one", derived).unwrap().as_str().len();
            }
        }
    }
    stored
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame, validate, store");
    for (name, shape) in SHAPES {
        let resource_type = if name == "observation" { ResourceType::Observation } else { ResourceType::Patient };
        let input: String = (0..RECORDS).map(|n| shape(n) + "\n").collect();
        group.throughput(Throughput::Bytes(input.len() as u64));
        // Prepared once per job.
        let schema = resource_type.schema();
        let id = BenchmarkId::new(name, format!("{} bytes", input.len() / RECORDS));
        group.bench_function(id, |bencher| bencher.iter(|| import(&schema, black_box(input.as_bytes()))));
        // For comparison: reading alone, without rules, duplicates or a stored line.
        let id =
            BenchmarkId::new(format!("{name}, serde_json's grammar alone"), format!("{} bytes", input.len() / RECORDS));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                for line in black_box(input.as_bytes()).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    black_box(serde_json::from_slice::<serde::de::IgnoredAny>(line).unwrap());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
