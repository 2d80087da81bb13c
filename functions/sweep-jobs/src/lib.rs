//! The sweeper's function: invoked by a schedule, whose event says nothing.

use std::sync::Arc;

use domain::{IndexGauge, METRICS, Sweeper, Swept};
use edge::Error;
use lambda_runtime::LambdaEvent;
use serde_json::Value;

/// Sweeps at every invocation until the sandbox ends.
pub async fn serve(sweeper: Sweeper, gauge: IndexGauge) -> Result<(), Error> {
    let work = Arc::new((sweeper, gauge));
    lambda_runtime::run(lambda_runtime::service_fn(move |_event: LambdaEvent<Value>| {
        let work = Arc::clone(&work);
        async move { handle(&work.0, &work.1).await.map(|_| ()) }
    }))
    .await
}

/// One sweep, and then a look at the index's lag. An error is one of the look-up; what is due stays so, and the
/// next sweep finds it.
pub async fn handle(sweeper: &Sweeper, gauge: &IndexGauge) -> Result<Swept, Error> {
    let swept = sweeper.sweep().await?;
    let Swept { sent, failed, errors } = swept;
    tracing::info!(sent, failed, errors, "swept");
    tracing::info!(target: METRICS, sweeps = 1, jobs_sent_again = sent, sweep_errors = errors);
    match gauge.measure().await {
        Ok(lag) => tracing::info!(target: METRICS, index_lag_ms = lag.as_millis()),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "measure index's lag"),
    }
    Ok(swept)
}
