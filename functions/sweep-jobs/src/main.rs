//! Wiring of `sweep-jobs`: every minute the domain's sweeper sees to what is due.

use std::sync::Arc;

use aws::Aws;
use domain::{IndexGauge, Sweeper};
use edge::config::Settings;
use edge::system::SystemClock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), edge::Error> {
    edge::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, usage) = (settings.required("JOBS_TABLE"), settings.required("USAGE_TABLE"));
    let (imports, exports) = (settings.required("IMPORT_QUEUE_URL"), settings.required("EXPORT_QUEUE_URL"));
    let (records, pace) = (settings.required("RECORDS_TABLE"), settings.pace());
    settings.check()?;
    let aws = Aws::from_env().await;
    let sweeper = Sweeper {
        jobs: Arc::new(aws.jobs(jobs, usage)),
        queue: Arc::new(aws.queue(Some(imports), Some(exports))),
        clock: Arc::new(SystemClock),
        pace,
    };
    let gauge = IndexGauge { index: Arc::new(aws.records(records)), clock: Arc::new(SystemClock) };
    sweep_jobs::serve(sweeper, gauge).await
}
