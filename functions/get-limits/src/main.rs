//! Wiring of `get-limits`.

use deployment::Deployment;
use get_limits::GetLimits;
use http::{Api, Middleware};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    let endpoint = GetLimits { usage: deployment.usage() };
    deployment.check()?;
    http::serve(Api::new(middleware, endpoint)).await
}
