//! Wiring of `sweep-jobs`: every minute the sweeper redrives what is due.

use std::sync::Arc;

use deployment::Deployment;
use engine::Sweeper;
use runtime::SystemClock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let mut deployment = Deployment::from_env().await;
    let (jobs, imports, exports) = (deployment.jobs(), deployment.imports(), deployment.exports());
    let timings = deployment.settings.timings();
    deployment.check()?;
    sweep_jobs::serve(Sweeper { jobs, imports, exports, clock: Arc::new(SystemClock), timings }).await
}
