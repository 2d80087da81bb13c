//! Wiring of `get-job`.

use std::sync::Arc;

use aws::Aws;
use edge::config::Settings;
use edge::http::{Api, Gate};
use get_job::GetJob;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), edge::Error> {
    edge::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, keys) = (settings.required("JOBS_TABLE"), settings.required("API_KEYS_TABLE"));
    let (usage, bucket) = (settings.required("USAGE_TABLE"), settings.required("BUCKET"));
    settings.check()?;
    let aws = Aws::from_env().await;
    let gate = Gate::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage.clone())));
    let endpoint = GetJob { jobs: Arc::new(aws.jobs(jobs, usage)), objects: Arc::new(aws.objects(bucket)) };
    edge::http::serve(Api::new(gate, endpoint)).await
}
