//! Wiring of `get-job`.

use std::sync::Arc;

use aws::Aws;
use get_job::GetJob;
use http::{Api, Middleware};
use runtime::Settings;

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
    let endpoint = GetJob { jobs: Arc::new(aws.jobs(jobs, usage)), signer: Arc::new(aws.objects(bucket)) };
    http::serve(Api::new(middleware, endpoint)).await
}
