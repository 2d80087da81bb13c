//! Wiring of `run-import`: imports from the queue go to the worker.

use std::sync::Arc;

use deployment::Deployment;
use engine::{ImportWorker, JobDriver};
use runtime::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let mut deployment = Deployment::from_env().await;
    let (jobs, records, objects) = (deployment.jobs(), deployment.records(), deployment.files());
    let (queue, timings) = (deployment.imports(), deployment.settings.timings());
    deployment.check()?;
    let (multipart, files) = (objects.clone(), objects.clone());
    let driver = JobDriver { jobs, queue, files, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds), timings };
    processor::serve(ImportWorker { driver, records, objects, multipart }).await
}
