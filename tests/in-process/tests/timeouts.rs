//! A dependency that never answers: the API does, in time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::sync::Arc;
use std::time::Duration;

use api::{Authenticator, Uploader};
use async_trait::async_trait;
use http::{Api, Middleware};
use in_process::{Service, request, shown};
use model::{ApiKeyHash, StoredKey, TenantId};
use ports::{KeyStore, PortError};
use tokio::time::Instant;

struct Silent;

#[async_trait]
impl KeyStore for Silent {
    async fn find(&self, _: &ApiKeyHash) -> Result<Option<StoredKey>, PortError> {
        std::future::pending().await
    }

    async fn save(&self, _: &StoredKey, _: Option<&StoredKey>) -> Result<bool, PortError> {
        std::future::pending().await
    }

    async fn of_tenant(&self, _: &TenantId) -> Result<Vec<StoredKey>, PortError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_before_the_function_s_time_ends() {
    let service = Service::start().await;
    let usual = service.middleware();
    let authenticator = Authenticator::new(Arc::new(Silent), usual.usage.clone(), usual.clock.clone());
    let uploader: Uploader = service.uploader();
    let api = Api::new(Middleware { authenticator, ..usual }, create_upload::CreateUpload { uploader });
    let began = Instant::now();
    let answer = shown(&api.handle(request("create-upload", "upload")).await);
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&503.into(), &"UNAVAILABLE".into()));
    assert!(answer["headers"]["retry-after"].as_str().unwrap().parse::<u32>().unwrap() > 0);
    // The gateway waits for 30 s, and the start of a sandbox may take 10 of them.
    assert!(began.elapsed() <= Duration::from_secs(20));
}
