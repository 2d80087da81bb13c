//! Wiring of `create-upload`.

use std::sync::Arc;

use api::Uploader;
use create_upload::CreateUpload;
use deployment::Deployment;
use http::{Api, Middleware};
use runtime::{SystemClock, SystemIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let (usage, signer) = (deployment.usage(), deployment.files());
    deployment.check()?;
    let uploader = Uploader { usage, signer, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) };
    http::serve(Api::new(middleware, CreateUpload { uploader })).await
}
