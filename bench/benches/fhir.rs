//! Records of 730 bytes as FHIR resources and back, on one core. `FHIR_OUT` names a file for the resources, so that others
//! can be measured on them.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;

use bench::SHAPES;
use criterion::{Criterion, criterion_group, criterion_main};
use fhir::Unmapped;
use records::ResourceType;

const RECORDS: usize = 1_000;

fn resources(criterion: &mut Criterion) {
    let shape = SHAPES.iter().find(|(name, _)| *name == "observation").unwrap().1;
    // As they are stored: the export reads such lines.
    let head = r#"{"resourceType":"Observation","id":"#;
    let stored = |n: usize| shape(n).replacen('{', &format!("{head}\"o-{n}\","), 1);
    let flat: Vec<String> = (0..RECORDS).map(stored).collect();
    let write = |out: &mut Vec<u8>, line: &str| {
        out.clear();
        fhir::write_fhir(ResourceType::Observation, line.as_bytes(), out).unwrap();
    };
    let mut out = Vec::new();
    let mut written = Vec::new();
    for line in &flat {
        write(&mut out, line);
        written.push(out.clone());
    }
    if let Some(path) = std::env::var_os("FHIR_OUT") {
        std::fs::write(path, written.join(&b'\n')).unwrap();
    }
    let mut group = criterion.benchmark_group("fhir");
    group.bench_function("write", |bencher| {
        bencher.iter(|| flat.iter().for_each(|line| write(&mut out, black_box(line))));
    });
    let mut record = Vec::new();
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            for line in &written {
                let read = fhir::read_fhir(ResourceType::Observation, black_box(line), Unmapped::Keep, &mut record);
                black_box(read.unwrap().unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, resources);
criterion_main!(benches);
