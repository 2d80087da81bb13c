//! Wiring of `get-job`.

use deployment::Deployment;
use get_job::GetJob;
use http::{Api, Middleware};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let endpoint = GetJob { jobs: deployment.jobs(), signer: deployment.files() };
    deployment.check()?;
    http::serve(Api::new(middleware, endpoint)).await
}
