//! The sweeper's function: invoked by a schedule, whose event says nothing.

use std::sync::Arc;

use engine::{Sweeper, Swept};
use lambda_runtime::{Error, LambdaEvent};
use ports::METRICS;
use serde_json::Value;
use tokio::time::Instant;

/// Sweeps at every invocation until the sandbox ends.
pub async fn serve(sweeper: Sweeper) -> Result<(), Error> {
    let sweeper = Arc::new(sweeper);
    lambda_runtime::run(lambda_runtime::service_fn(move |event: LambdaEvent<Value>| {
        let sweeper = Arc::clone(&sweeper);
        async move { handle(&sweeper, processor::deadline(&event.context)).await.map(|_| ()) }
    }))
    .await
}

/// One sweep. An error is one of the look-up; what is due stays so, and the next sweep finds it.
pub async fn handle(sweeper: &Sweeper, deadline: Instant) -> Result<Swept, Error> {
    let swept = sweeper.sweep(deadline).await?;
    let Swept { redriven, errors, oldest_ms } = swept;
    tracing::info!(redriven, errors, "swept");
    tracing::info!(target: METRICS, sweeps = 1, jobs_redriven = redriven, sweep_errors = errors,
        oldest_job_ms = oldest_ms);
    Ok(swept)
}
