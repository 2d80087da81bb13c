//! Wiring of `list-jobs`.

use std::sync::Arc;

use api::JobLister;
use aws::Aws;
use http::{Api, Middleware};
use list_jobs::ListJobs;
use runtime::{Settings, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, keys) = (settings.required("JOBS_TABLE"), settings.required("API_KEYS_TABLE"));
    let usage = settings.required("USAGE_TABLE");
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage.clone())), origins);
    let lister = JobLister { jobs: Arc::new(aws.jobs(jobs, usage)), clock: Arc::new(SystemClock) };
    http::serve(Api::new(middleware, ListJobs { lister })).await
}
