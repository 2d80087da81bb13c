//! Wiring of `cancel-job`.

use std::sync::Arc;

use api::JobManager;
use cancel_job::CancelJob;
use deployment::Deployment;
use http::{Api, Middleware};
use runtime::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let (jobs, files) = (deployment.jobs(), deployment.files());
    deployment.check()?;
    let manager = JobManager { jobs, files, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) };
    http::serve(Api::new(middleware, CancelJob { manager })).await
}
