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

/// One sweep. An error says that not all could be looked through; what is due stays so, and the next sweep finds it.
pub async fn handle(sweeper: &Sweeper, deadline: Instant) -> Result<Swept, Error> {
    let swept = sweeper.sweep(deadline).await;
    let Swept { redriven, errors, failed_groups, stuck_groups, oldest_ms } = swept;
    tracing::info!(redriven, errors, failed_groups, stuck_groups, "swept");
    // Nothing is told that is not known: a sweep has looked at every group and moved what is due, and an age is that of the
    // oldest of all.
    let sweeps = (failed_groups == 0 && stuck_groups == 0).then_some(1);
    tracing::info!(target: METRICS, sweeps, jobs_redriven = redriven, sweep_errors = errors, oldest_job_ms = oldest_ms);
    if failed_groups > 0 {
        return Err(format!("{failed_groups} groups of jobs could not be swept").into());
    }
    Ok(swept)
}
