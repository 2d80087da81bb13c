//! Framing, validating and building the stored line, in bytes a second on one core.
//!
//! Three shapes of record: a flat patient of about 140 bytes, an observation of about 730, a rich patient of
//! about 2.6 KB.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_collect, reason = "benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndjson::{Frame, LineSplitter};
use records::{RecordId, ResourceType, Schema};

const RECORDS: usize = 1_000;

/// Writes the record of that number.
type Shape = fn(usize) -> String;

fn flat_patient(n: usize) -> String {
    format!(
        r#"{{"id":"pat-{n:06}","firstName":"Jane{n}","lastName":"Doe","gender":"female","birthDate":"1980-02-{:02}","phone":"+1 555 0100","maritalStatus":"M"}}"#,
        1 + n % 28
    )
}

fn observation(n: usize) -> String {
    format!(
        r#"{{"id":"obs-{n:07}","status":"final","code":{{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel with all children optional"}},"patientId":"pat-{n:06}","encounterId":"enc-{n:06}","performerId":"prac-{:03}","effectiveDateTime":"2025-03-01T09:05:00Z","issued":"2025-03-01T09:06:30+01:00","component":[{{"code":{{"system":"http://loinc.org","code":"8480-6","display":"Systolic blood pressure"}},"valueQuantity":{{"value":{},"unit":"mmHg"}}}},{{"code":{{"system":"http://loinc.org","code":"8462-4","display":"Diastolic blood pressure"}},"valueQuantity":{{"value":{}.5,"unit":"mmHg"}}}}],"note":"measured at rest, seated, left arm, after five minutes of rest; cuff size adult, device calibrated"}}"#,
        n % 100,
        100 + n % 40,
        60 + n % 30
    )
}

fn rich_patient(n: usize) -> String {
    let contact: Vec<_> = (0..6)
        .map(|c| format!(
            r#"{{"relationship":"next of kin","firstName":"Contact{c}","lastName":"Doe\u00e9","phone":"+1 555 01{c:02}","email":"contact{c}@example.org","address":{{"line":["{c} Example Street","Apartment {n}"],"city":"Springfield","state":"IL","postalCode":"62701","country":"US"}}}}"#
        ))
        .collect();
    format!(
        r#"{{"id":"rich-{n:06}","firstName":"Jane","lastName":"Doe","gender":"female","birthDate":"1980-02-28","email":"jane{n}@example.org","languages":[{{"language":"en","preferred":true}},{{"language":"de"}}],"contact":[{}],"x-notes":"{}"}}"#,
        contact.join(","),
        "plain words of a longer note, as people write them. ".repeat(16)
    )
}

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
    let shapes: [(&str, ResourceType, Shape); 3] = [
        ("flat patient", ResourceType::Patient, flat_patient),
        ("observation", ResourceType::Observation, observation),
        ("rich patient", ResourceType::Patient, rich_patient),
    ];
    let mut group = criterion.benchmark_group("frame, validate, store");
    for (name, resource_type, shape) in shapes {
        let input: String = (0..RECORDS).map(|n| shape(n) + "\n").collect();
        group.throughput(Throughput::Bytes(input.len() as u64));
        // Prepared once per job.
        let schema = resource_type.schema().unwrap();
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
