//! Whatever comes as the body of a call, it has an answer of the contract's, and never a 5xx.
#![no_main]

use http::{Api, Body};
use in_process::{Service, request};
use libfuzzer_sys::fuzz_target;
use start_export::StartExport;
use start_import::StartImport;

fuzz_target!(|input: (u8, &[u8])| {
    let (how, bytes) = input;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let service = Service::start().await;
        let (function, payload) = if how & 1 == 0 { ("start-import", "two-patients") } else { ("start-export", "all-patients") };
        let mut request = request(function, payload);
        *request.body_mut() = match (how & 2, std::str::from_utf8(bytes)) {
            (0, Ok(text)) => Body::Text(text.to_owned()),
            _ => Body::Binary(bytes.to_vec()),
        };
        if how & 4 != 0 {
            request.headers_mut().insert("content-encoding", "gzip".parse().expect("a header"));
        }
        let answer = if how & 1 == 0 {
            Api::new(service.middleware(), StartImport { starter: service.import_starter() }).handle(request).await
        } else {
            Api::new(service.middleware(), StartExport { starter: service.export_starter() }).handle(request).await
        };
        let status = answer.status().as_u16();
        assert!(matches!(status, 202 | 400 | 413 | 415 | 422 | 429), "{status}");
        assert!(matches!(answer.body(), Body::Text(text) if serde_json::from_str::<serde_json::Value>(text).is_ok()));
    });
});
