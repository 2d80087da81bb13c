//! The sweeper's function: invoked by a schedule, whose event says nothing.

use std::sync::Arc;

use domain::{Sweeper, Swept};
use edge::Error;
use lambda_runtime::LambdaEvent;
use serde_json::Value;

/// Sweeps at every invocation until the sandbox ends.
pub async fn serve(sweeper: Sweeper) -> Result<(), Error> {
    let sweeper = Arc::new(sweeper);
    lambda_runtime::run(lambda_runtime::service_fn(move |_event: LambdaEvent<Value>| {
        let sweeper = Arc::clone(&sweeper);
        async move { handle(&sweeper).await.map(|_| ()) }
    }))
    .await
}

/// One sweep. An error is one of the look-up; what is due stays so, and the next sweep finds it.
pub async fn handle(sweeper: &Sweeper) -> Result<Swept, Error> {
    let swept = sweeper.sweep().await?;
    tracing::info!(sent = swept.sent, failed = swept.failed, errors = swept.errors, "swept");
    Ok(swept)
}
