//! `GET /health`, and the 404 of every route that there is not. It needs nothing of AWS.

use std::sync::Arc;

use http::Fallback;
use runtime::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    http::serve_fallback(Fallback { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) }).await
}
