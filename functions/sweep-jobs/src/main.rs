//! Wiring of `sweep-jobs`: every minute the sweeper redrives what is due.

use std::sync::Arc;

use aws::Aws;
use engine::Sweeper;
use runtime::{Settings, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, usage) = (settings.required("JOBS_TABLE"), settings.required("USAGE_TABLE"));
    let (imports, exports) = (settings.required("IMPORT_QUEUE_URL"), settings.required("EXPORT_QUEUE_URL"));
    let timings = settings.timings();
    settings.check()?;
    let aws = Aws::from_env().await;
    let (imports, exports) = (Arc::new(aws.queue(imports)), Arc::new(aws.queue(exports)));
    let jobs = Arc::new(aws.jobs(jobs, usage));
    sweep_jobs::serve(Sweeper { jobs, imports, exports, clock: Arc::new(SystemClock), timings }).await
}
