//! Wiring of `start-import`.

use std::sync::Arc;

use api::{ImportStarter, JobAcceptor};
use deployment::Deployment;
use http::{Api, Middleware};
use runtime::{SystemClock, SystemIds};
use start_import::StartImport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let (jobs, usage, queue) = (deployment.jobs(), deployment.usage(), deployment.imports());
    let (timings, retention) = (deployment.settings.timings(), deployment.settings.retention());
    let objects = deployment.files();
    deployment.check()?;
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let acceptor = JobAcceptor { acceptances: jobs.clone(), jobs, usage, queue, clock, ids, timings, retention };
    let starter = ImportStarter { acceptor, objects };
    http::serve(Api::new(middleware, StartImport { starter })).await
}
