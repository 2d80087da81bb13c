//! What stands before every endpoint: answers in time, and which way a call has come.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::sync::Arc;
use std::time::Duration;

use api::{Authenticator, Uploader};
use async_trait::async_trait;
use http::{Api, Middleware};
use in_process::{Service, request, sha256, shown};
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

/// Behind a distribution every call shows a secret; two are taken while one replaces the other.
#[tokio::test(start_paused = true)]
async fn a_call_has_to_come_by_the_way_it_should() {
    let service = Service::start().await;
    let origins = ["old", "new"].map(|secret| sha256(secret.as_bytes())).to_vec();
    let call = async |shown_secret: Option<&str>, origins: &[String]| {
        let middleware = Middleware { origins: origins.to_vec(), ..service.middleware() };
        let api = Api::new(middleware, create_upload::CreateUpload { uploader: service.uploader() });
        let mut request = request("create-upload", "upload");
        if let Some(secret) = shown_secret {
            request.headers_mut().insert("x-origin-secret", secret.parse().unwrap());
        }
        shown(&api.handle(request).await)
    };
    for secret in ["old", "new"] {
        assert_eq!(call(Some(secret), &origins).await["status"], 201, "{secret}");
    }
    for secret in [None, Some(""), Some("other"), Some(origins[0].as_str())] {
        let answer = call(secret, &origins).await;
        assert_eq!((&answer["status"], &answer["body"]["code"]), (&401.into(), &"UNAUTHORIZED".into()), "{secret:?}");
        assert!(answer["headers"]["x-ratelimit-limit"].is_null(), "nothing is counted, and no key is looked at");
    }
    assert_eq!(call(None, &[]).await["status"], 201);
}
