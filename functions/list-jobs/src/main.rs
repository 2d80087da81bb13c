//! Wiring of `list-jobs`.

use std::sync::Arc;

use api::JobLister;
use deployment::Deployment;
use http::{Api, Middleware};
use list_jobs::ListJobs;
use runtime::SystemClock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let lister = JobLister { jobs: deployment.jobs(), clock: Arc::new(SystemClock) };
    deployment.check()?;
    http::serve(Api::new(middleware, ListJobs { lister })).await
}
