//! Wiring of `get-limits`.

use std::sync::Arc;

use aws::Aws;
use get_limits::GetLimits;
use http::{Api, Middleware};
use runtime::Settings;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    runtime::init_telemetry();
    let mut settings = Settings::from_env();
    let (keys, usage) = (settings.required("API_KEYS_TABLE"), settings.required("USAGE_TABLE"));
    let origins = settings.origins();
    settings.check()?;
    let aws = Aws::from_env().await;
    let usage = Arc::new(aws.usage(usage));
    let middleware = Middleware::new(Arc::new(aws.keys(keys)), usage.clone(), origins);
    http::serve(Api::new(middleware, GetLimits { usage })).await
}
