//! Accepting an import of 10,000 short lines (2 MB): the whole handler, on in-memory ports.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{Api, Body};
use in_process::{Service, request};
use start_import::StartImport;
use tokio::runtime::Builder;

fn accept(criterion: &mut Criterion) {
    let line = format!("{{\"firstName\":\"Jane\",\"lastName\":\"{}\"}}\n", "x".repeat(160));
    let body = serde_json::json!({"resourceType": "Patient", "data": line.repeat(10_000)}).to_string();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut group = criterion.benchmark_group("accept an import");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("10,000 lines", |bencher| {
        bencher.iter_batched(
            || {
                let service = runtime.block_on(Service::start());
                let api = Api::new(service.middleware(), StartImport { starter: service.import_starter() });
                let mut request = request("start-import", "two-patients");
                *request.body_mut() = Body::Text(body.clone());
                (api, request)
            },
            |(api, request)| assert_eq!(runtime.block_on(api.handle(request)).status(), 202),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, accept);
criterion_main!(benches);
