//! Wiring of `start-export`.

use std::sync::Arc;

use api::{ExportStarter, JobAcceptor};
use deployment::Deployment;
use http::{Api, Middleware};
use runtime::{SystemClock, SystemIds};
use start_export::StartExport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let (jobs, usage, queue) = (deployment.jobs(), deployment.usage(), deployment.exports());
    let (timings, retention) = (deployment.settings.timings(), deployment.settings.retention());
    deployment.check()?;
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let acceptor = JobAcceptor { acceptances: jobs.clone(), jobs, usage, queue, clock, ids, timings, retention };
    let starter = ExportStarter { acceptor };
    http::serve(Api::new(middleware, StartExport { starter })).await
}
