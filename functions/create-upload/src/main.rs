//! Wiring of `create-upload`.

use std::sync::Arc;

use api::Uploader;
use aws::Aws;
use create_upload::CreateUpload;
use http::{Api, Middleware};
use runtime::Settings;
use runtime::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (keys, usage) = (settings.required("API_KEYS_TABLE"), settings.required("USAGE_TABLE"));
    let bucket = settings.required("BUCKET");
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage.clone())), origins);
    let uploader = Uploader {
        usage: Arc::new(aws.usage(usage)),
        signer: Arc::new(aws.objects(bucket)),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
    };
    http::serve(Api::new(middleware, CreateUpload { uploader })).await
}
