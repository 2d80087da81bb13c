//! Wiring of `cancel-job`.

use std::sync::Arc;

use api::JobManager;
use aws::Aws;
use cancel_job::CancelJob;
use http::{Api, Middleware};
use runtime::{Settings, SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, keys) = (settings.required("JOBS_TABLE"), settings.required("API_KEYS_TABLE"));
    let (usage, bucket) = (settings.required("USAGE_TABLE"), settings.required("BUCKET"));
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage.clone())), origins);
    let (jobs, files) = (Arc::new(aws.jobs(jobs, usage)), Arc::new(aws.objects(bucket)));
    let manager = JobManager { jobs, files, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) };
    http::serve(Api::new(middleware, CancelJob { manager })).await
}
