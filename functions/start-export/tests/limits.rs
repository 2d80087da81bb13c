//! The limits of minute, month and hour, and the numbers that every answer tells.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use http::Api;
use in_process::network::{Fate, Network, Operation};
use in_process::{Service, request, shown};
use model::{Month, Plan, Pool, Tenant};
use ports::UsageStore;
use serde_json::Value;
use start_export::StartExport;

fn api(service: &Service) -> Api<StartExport> {
    Api::new(service.middleware(), StartExport { starter: service.export_starter() })
}

async fn call(api: &Api<StartExport>) -> Value {
    shown(&api.handle(request("start-export", "all-patients")).await)
}

fn header(answer: &Value, name: &str) -> String {
    answer["headers"][name].as_str().unwrap_or("absent").to_owned()
}

async fn use_up(service: &Service, pool: Pool, month: &Month, requests: u64) {
    for _ in 0..requests {
        service.memory.count_month(&"clinic-one".parse().unwrap(), pool, month).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn five_starts_an_hour_and_the_sixth_is_told_when() {
    let service = Service::start().await;
    let api = api(&service);
    for left in (0..5).rev() {
        let answer = call(&api).await;
        assert_eq!(answer["status"], 202);
        assert_eq!(answer["body"]["meta"]["rateLimitRemaining"], left);
        tokio::time::advance(Duration::from_mins(1)).await;
    }
    let refused = call(&api).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&429.into(), &"RATE_LIMITED".into()));
    assert_eq!(header(&refused, "retry-after"), "3300");
    assert_eq!(header(&refused, "x-ratelimit-reset"), "3300");
    assert_eq!(header(&refused, "x-quota-billable"), "false");
    tokio::time::advance(Duration::from_secs(3_299)).await;
    assert_eq!(call(&api).await["status"], 429);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(call(&api).await["status"], 202, "the first has left the hour");
    assert_eq!(call(&api).await["status"], 429, "and the second not yet");
}

#[tokio::test(start_paused = true)]
async fn of_fifty_starts_at_once_exactly_five_are_accepted() {
    let service = Service::start().await;
    let api = api(&service);
    let answers = futures::future::join_all((0..50).map(|_| call(&api))).await;
    let accepted = answers.iter().filter(|answer| answer["status"] == 202).count();
    assert_eq!(accepted, 5);
    assert!(answers.iter().all(|answer| answer["status"] == 202 || answer["body"]["code"] == "RATE_LIMITED"));
    assert_eq!(service.memory.take_messages().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn refused_calls_take_no_operation() {
    let service = Service::start().await;
    let api = api(&service);
    for name in ["missing-types", "many-violations", "no-key"] {
        assert!(api.handle(request("start-export", name)).await.status().is_client_error());
    }
    assert_eq!(call(&api).await["body"]["meta"]["rateLimitRemaining"], 4);
}

#[tokio::test(start_paused = true)]
async fn the_minute_s_limit_is_the_plan_s_and_ends_with_the_minute() {
    let service = Service::start().await;
    service.tenant("clinic-one", Plan::Sandbox, 5).await;
    let api = api(&service);
    for _ in 0..100 {
        let answer = api.handle(request("start-export", "missing-types")).await;
        assert_eq!(answer.status(), 422);
    }
    tokio::time::advance(Duration::from_secs(45)).await;
    let refused = call(&api).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&429.into(), &"RATE_LIMITED".into()));
    assert_eq!((header(&refused, "retry-after"), header(&refused, "x-ratelimit-limit")), ("15".into(), "100".into()));
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(call(&api).await["status"], 202);
}

#[tokio::test(start_paused = true)]
async fn a_month_that_is_used_up_refuses_until_it_ends() {
    let service = Service::start().await;
    service.tenant("clinic-one", Plan::Sandbox, 1_000).await;
    use_up(&service, Pool::Shared, &Month::of(Service::at(0)), 999).await;
    let api = api(&service);
    let last = call(&api).await;
    assert_eq!(last["status"], 202);
    assert_eq!((header(&last, "x-quota-used"), header(&last, "x-sandbox-used")), ("1000".into(), "1000".into()));
    let refused = call(&api).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&429.into(), &"SANDBOX_QUOTA_EXCEEDED".into()));
    // From 15 January, 09:15, to 1 February.
    let rest = 16 * 86_400 + 14 * 3_600 + 45 * 60;
    assert_eq!(header(&refused, "retry-after"), rest.to_string());
    assert_eq!(header(&refused, "x-quota-reset"), "2026-02-01T00:00:00.000Z");
    tokio::time::advance(Duration::from_secs(rest)).await;
    let next = call(&api).await;
    assert_eq!((&next["status"], header(&next, "x-quota-used")), (&202.into(), "1".into()));
}

#[tokio::test(start_paused = true)]
async fn overage_lets_live_traffic_pass_and_tells_by_how_much() {
    let service = Service::start().await;
    let tenant = |overage| Tenant {
        id: "clinic-one".parse().unwrap(),
        plan: Plan::Starter,
        bulk_operations_per_hour: 100,
        overage,
    };
    use_up(&service, Pool::Live, &Month::of(Service::at(0)), 60_000).await;
    let live = async |overage| {
        let before = service.memory.tenant(&tenant(overage).id).await.unwrap();
        assert!(service.memory.save_tenant(&tenant(overage), before.as_ref()).await.unwrap());
        let mut request = request("start-export", "all-patients");
        request.headers_mut().insert("x-api-key", "clk_live_EXAMPLEKEY000".parse().unwrap());
        shown(&api(&service).handle(request).await)
    };
    let refused = live(false).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&429.into(), &"MONTHLY_QUOTA_EXCEEDED".into()));
    assert_eq!(header(&refused, "x-quota-overage"), "absent");
    let over = live(true).await;
    assert_eq!(over["status"], 202);
    assert_eq!((header(&over, "x-quota-overage"), header(&over, "x-quota-remaining")), ("1".into(), "0".into()));
    assert_eq!(header(&over, "x-sandbox-limit"), "absent", "a live key is told of the live pool alone");
    // Test traffic has a pool of its own, and no overage.
    assert_eq!(call(&api(&service)).await["status"], 202);
}

#[tokio::test(start_paused = true)]
async fn an_enterprise_is_unlimited() {
    let service = Service::start().await;
    service.tenant("clinic-one", Plan::Enterprise, 5).await;
    let answer = call(&api(&service)).await;
    assert_eq!(
        (header(&answer, "x-quota-limit"), header(&answer, "x-quota-remaining")),
        ("unlimited".into(), "unlimited".into())
    );
    assert_eq!(header(&answer, "x-quota-billable"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_nothing_and_works_when_everything_is_used_up() {
    let service = Service::start().await;
    let api = api(&service);
    let keyed = async || {
        let mut request = request("start-export", "all-patients");
        request.headers_mut().insert("idempotency-key", "again".parse().unwrap());
        shown(&api.handle(request).await)
    };
    let first = keyed().await;
    for _ in 0..4 {
        assert_eq!(call(&api).await["status"], 202);
    }
    assert_eq!(call(&api).await["status"], 429);
    let replay = keyed().await;
    assert_eq!(replay["status"], 202);
    assert_eq!(replay["body"]["data"], first["body"]["data"]);
    assert_eq!(header(&replay, "idempotency-replayed"), "true");
    assert_eq!(header(&replay, "x-quota-billable"), "false");
    assert_eq!(header(&replay, "x-ratelimit-remaining"), "0", "the numbers are those of now");
    assert_eq!(service.memory.take_messages().len(), 5);
    tokio::time::advance(Duration::from_hours(24)).await;
    let later = keyed().await;
    assert_eq!(later["status"], 202);
    assert_ne!(later["body"]["data"]["jobId"], first["body"]["data"]["jobId"], "after a day the key is free again");
}

fn api_with(service: &Service, script: impl IntoIterator<Item = Fate, IntoIter: Send + 'static>) -> Api<StartExport> {
    let acceptances = Network::scripted(&service.memory, Operation::Accept, script);
    let starter = api::ExportStarter { acceptor: api::JobAcceptor { acceptances, ..service.acceptor() } };
    Api::new(service.middleware(), StartExport { starter })
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again() {
    let service = Service::start().await;
    let answer = call(&api_with(&service, [Fate::Contended; 15])).await;
    assert_eq!((&answer["status"], &answer["body"]["meta"]["rateLimitRemaining"]), (&202.into(), &4.into()));
}

#[tokio::test(start_paused = true)]
async fn who_loses_every_race_is_told_to_come_again_and_nothing_is_counted() {
    let service = Service::start().await;
    let answer = call(&api_with(&service, [Fate::Contended; 100])).await;
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&503.into(), &"UNAVAILABLE".into()));
    assert_ne!(header(&answer, "retry-after"), "absent");
    assert!(service.memory.take_messages().is_empty());
    assert_eq!(call(&api(&service)).await["body"]["meta"]["rateLimitRemaining"], 4);
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_whose_answer_is_lost_counts_once() {
    let service = Service::start().await;
    let answer = call(&api_with(&service, [Fate::AnswerLost])).await;
    assert_eq!((&answer["status"], header(&answer, "x-sandbox-used")), (&202.into(), "1".into()));
    assert_eq!(service.memory.take_messages().len(), 1);
    assert_eq!(call(&api(&service)).await["body"]["meta"]["rateLimitRemaining"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_a_503() {
    let service = Service::start().await;
    let answer = call(&api_with(&service, [Fate::Refused; 10])).await;
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&503.into(), &"UNAVAILABLE".into()));
    assert_eq!(answer["body"]["message"], "Temporarily unavailable; try again");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_acts_within_a_minute_and_an_unknown_key_is_not_remembered() {
    let service = Service::start().await;
    service.tenant("clinic-one", Plan::Pro, 1_000).await;
    let api = api(&service);
    assert_eq!(call(&api).await["status"], 202);
    let revoke = |key: &mut model::StoredKey| key.revoked_at = Some(Service::at(0));
    service.key(in_process::TEST_KEY, "clinic-one#test", vec![model::Scope::All], revoke).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(call(&api).await["status"], 202, "it is remembered for a minute");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(call(&api).await["body"]["code"], "KEY_REVOKED");

    let late = async || {
        let mut request = request("start-export", "all-patients");
        request.headers_mut().insert("x-api-key", "clk_test_LATECOMER".parse().unwrap());
        shown(&api.handle(request).await)
    };
    assert_eq!(late().await["body"]["code"], "INVALID_KEY");
    service.key("clk_test_LATECOMER", "clinic-one#test", vec![model::Scope::All], |_| {}).await;
    assert_eq!(late().await["status"], 202);
}
