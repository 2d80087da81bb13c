//! Wiring of `start-import`.

use std::sync::Arc;

use aws::Aws;
use domain::Starter;
use edge::config::Settings;
use edge::http::{Api, Gate};
use edge::system::{SystemClock, SystemIds};
use start_import::StartImport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), edge::Error> {
    edge::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, keys) = (settings.required("JOBS_TABLE"), settings.required("API_KEYS_TABLE"));
    let (usage_table, bucket) = (settings.required("USAGE_TABLE"), settings.required("BUCKET"));
    let queue = settings.required("IMPORT_QUEUE_URL");
    let (pace, retention) = (settings.pace(), settings.retention());
    settings.check()?;
    let aws = Aws::from_env().await;
    let gate = Gate::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage_table.clone())));
    let starter = Starter {
        jobs: Arc::new(aws.jobs(jobs, usage_table.clone())),
        usage: Arc::new(aws.usage(usage_table)),
        objects: Arc::new(aws.objects(bucket)),
        queue: Arc::new(aws.queue(Some(queue), None)),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        pace,
        retention,
    };
    edge::http::serve(Api::new(gate, StartImport { starter })).await
}
