//! Wiring of `run-export`: exports from the queue go to the worker.

use std::sync::Arc;

use aws::Aws;
use engine::{ExportWorker, JobDriver};
use model::ChunkSize;
use runtime::{Settings, SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, usage) = (settings.required("JOBS_TABLE"), settings.required("USAGE_TABLE"));
    let (records, bucket) = (settings.required("RECORDS_TABLE"), settings.required("BUCKET"));
    let (queue, timings) = (settings.required("EXPORT_QUEUE_URL"), settings.timings());
    settings.check()?;
    let aws = Aws::from_env().await;
    let (jobs, queue) = (Arc::new(aws.jobs(jobs, usage)), Arc::new(aws.queue(queue)));
    let (objects, records) = (Arc::new(aws.objects(bucket)), Arc::new(aws.records(records)));
    let (multipart, files) = (objects.clone(), objects.clone());
    let driver = JobDriver { jobs, queue, files, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds), timings };
    processor::serve(ExportWorker { driver, records, objects, multipart, chunk_size: ChunkSize::default() }).await
}
