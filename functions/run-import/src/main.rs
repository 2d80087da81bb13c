//! Wiring of `run-import`: imports from the queue go to the domain's worker.

use std::sync::Arc;

use aws::Aws;
use domain::Worker;
use edge::config::Settings;
use edge::system::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), edge::Error> {
    edge::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, usage) = (settings.required("JOBS_TABLE"), settings.required("USAGE_TABLE"));
    let (records, bucket) = (settings.required("RECORDS_TABLE"), settings.required("BUCKET"));
    let queue = settings.required("IMPORT_QUEUE_URL");
    let (pace, sizes) = (settings.pace(), settings.export_sizes());
    settings.check()?;
    let aws = Aws::from_env().await;
    edge::sqs::serve(Worker {
        jobs: Arc::new(aws.jobs(jobs, usage)),
        records: Arc::new(aws.records(records)),
        objects: Arc::new(aws.objects(bucket)),
        queue: Arc::new(aws.queue(Some(queue), None)),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        pace,
        sizes,
    })
    .await
}
