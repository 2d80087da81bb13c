//! `GET /health`, and the 404 of every route that there is not. It needs nothing of AWS.

use std::sync::Arc;

use edge::http::Fallback;
use edge::system::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), edge::Error> {
    edge::init_telemetry();
    edge::http::serve_fallback(Fallback { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) }).await
}
