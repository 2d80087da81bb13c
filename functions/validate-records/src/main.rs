//! Wiring of `validate-records`.

use std::sync::Arc;

use aws::Aws;
use http::{Api, Middleware};
use runtime::Settings;
use validate_records::ValidateRecords;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (keys, usage) = (settings.required("API_KEYS_TABLE"), settings.required("USAGE_TABLE"));
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), Arc::new(aws.usage(usage)), origins);
    http::serve(Api::new(middleware, ValidateRecords)).await
}
