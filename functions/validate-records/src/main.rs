//! Wiring of `validate-records`.

use deployment::Deployment;
use http::{Api, Middleware};
use validate_records::ValidateRecords;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    let mut deployment = Deployment::from_env().await;
    let middleware = Middleware::new(deployment.keys(), deployment.usage(), deployment.settings.origins());
    deployment.check()?;
    http::serve(Api::new(middleware, ValidateRecords)).await
}
