//! Wiring of `start-import`.

use std::sync::Arc;

use api::{ImportStarter, JobAcceptor};
use aws::Aws;
use http::{Api, Middleware};
use runtime::{Settings, SystemClock, SystemIds};
use start_import::StartImport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (jobs, keys) = (settings.required("JOBS_TABLE"), settings.required("API_KEYS_TABLE"));
    let (usage_table, bucket) = (settings.required("USAGE_TABLE"), settings.required("BUCKET"));
    let queue = settings.required("IMPORT_QUEUE_URL");
    let (timings, retention) = (settings.timings(), settings.retention());
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let (jobs, usage) = (Arc::new(aws.jobs(jobs, usage_table.clone())), Arc::new(aws.usage(usage_table)));
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), usage.clone(), origins);
    let (queue, clock, ids) = (Arc::new(aws.queue(queue)), Arc::new(SystemClock), Arc::new(SystemIds));
    let acceptor = JobAcceptor { acceptances: jobs.clone(), jobs, usage, queue, clock, ids, timings, retention };
    let starter = ImportStarter { acceptor, objects: Arc::new(aws.objects(bucket)) };
    http::serve(Api::new(middleware, StartImport { starter })).await
}
