//! Nobody reaches what is another's: not by ids, keys, links, tags, or by what is smuggled into a string that
//! becomes part of a key.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::process::Command;

use over_http::{Answer, Client, admin, setting};
use serde_json::{Value, json};

/// A tenant with a test and a live key.
struct Tenant {
    id: String,
    test: Client,
    live: Client,
}

impl Tenant {
    fn new(name: &str) -> Self {
        let id = format!("{name}-{:x}", std::process::id());
        let _created = admin(&["tenant", "create", &id, "--plan", "pro", "--bulk-operations-per-hour", "1000"]);
        let key = |environment: &str| {
            let created = admin(&["key", "create", &id, "--environment", environment]);
            Client::with_key(created["key"].as_str().unwrap())
        };
        Self { test: key("test"), live: key("live"), id }
    }
}

fn patient(id: &str, secret: &str) -> String {
    json!({"id": id, "firstName": "Jane", "lastName": secret}).to_string()
}

fn upload(client: &Client, content: &str) -> Value {
    client.uploaded(content.as_bytes())
}

/// What is the same in two refusals of the same kind.
fn told(answer: &Answer) -> (u16, String, Value) {
    (answer.status, answer.code(), answer.json()["message"].clone())
}

#[test]
fn ids_open_nothing_to_strangers() {
    let (own, other) = (Tenant::new("iso-own"), Tenant::new("iso-other"));
    let import = own.test.imported("Patient", &patient("p1", "owned"));
    let (export, file) = own.test.exported(&["Patient"], None);
    assert!(file.contains("owned"));
    let mine = upload(&own.test, &patient("p2", "owned"));
    for stranger in [&own.live, &other.test, &other.live] {
        let nowhere = told(&stranger.job("job_00000000000000000000000000"));
        assert_eq!(nowhere.0, 404);
        for id in [&import["id"], &export["id"]] {
            let id = id.as_str().unwrap();
            let partition = format!("{}%23test", own.id);
            for spelling in [
                id.to_owned(),
                id.to_lowercase(),
                format!("{id}%2300"),
                format!("{id}%20"),
                format!("{partition}%23{id}"),
                format!("{partition}/{id}"),
                format!("..%2F{id}"),
                format!("%EF%BD%8A{}", &id[1..]),
                format!("{id}%00"),
                id.repeat(100),
            ] {
                let answer = stranger.job(&spelling);
                assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_FOUND"), "{spelling}: {answer:?}");
                if spelling == id {
                    assert_eq!(told(&answer), nowhere, "foreign is the same as absent");
                }
            }
        }
        let with =
            |upload: &Value| stranger.post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": upload}));
        let absent = told(&with(&json!("upl_00000000000000000000000000")));
        assert_eq!(told(&with(&mine["uploadId"])), absent, "foreign is the same as absent");
        let (_, file) = stranger.exported(&["Patient"], None);
        assert_eq!(file, "");
    }
    // It is still its owner's.
    let job = own.test.post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": mine["uploadId"]}));
    assert_eq!(own.test.ended(&job.job_id())["succeededRecords"], 1);
}

#[test]
fn an_owner_reaches_a_job_by_its_one_spelling() {
    let own = Tenant::new("iso-spelling");
    let job = own.test.imported("Patient", &patient("p1", "x"));
    let id = job["id"].as_str().unwrap();
    assert_eq!(own.test.job(id).status, 200);
    for spelling in [id.to_lowercase(), format!("{id}%2300"), format!("{id}%20"), format!("x%2F..%2F{id}")] {
        assert_eq!(own.test.job(&spelling).status, 404, "{spelling}");
    }
}

#[test]
fn links_open_one_file() {
    let (own, other) = (Tenant::new("iso-links"), Tenant::new("iso-links-other"));
    let _stored = other.test.imported("Patient", &patient("p1", "theirs"));
    let (theirs, _) = other.test.exported(&["Patient"], None);
    let _stored = own.test.imported("Patient", &patient("p1", "ours"));
    let (ours, _) = own.test.exported(&["Patient"], None);
    let path = |url: &str| url.split('?').next().unwrap().to_owned();
    let (url, foreign) = (ours["downloadUrl"].as_str().unwrap(), theirs["downloadUrl"].as_str().unwrap());
    assert_eq!(own.test.fetch(url).status, 200);
    let query = url.split_once('?').unwrap().1;
    for bent in [
        format!("{}?{query}", path(foreign)),
        url.replace("/test/", "/live/"),
        url.replace(&own.id, &other.id),
        url.replace("/exports/", "/imports/"),
        path(foreign),
        path(url),
    ] {
        let answer = own.test.fetch(&bent);
        assert_eq!(answer.status, 403, "{bent}: {answer:?}");
        assert!(!answer.text.contains("theirs"));
    }
    let place = own.test.create_upload(2).data();
    let place = place["uploadUrl"].as_str().unwrap();
    for bent in
        [place.replace(&own.id, &other.id), place.replace("/test/", "/live/"), place.replace("/uploads/", "/exports/")]
    {
        assert_eq!(own.test.put(&bent, b"{}"), 403, "{bent}");
    }
    // A link to read is none to write, and the other way round.
    assert_eq!(own.test.put(url, b"{}"), 403);
    assert_eq!(own.test.fetch(place).status, 403);
}

#[test]
fn an_idempotency_key_is_its_partition_s_alone() {
    let (own, other) = (Tenant::new("iso-idem"), Tenant::new("iso-idem-other"));
    let body = json!({"resourceTypes": ["Patient"]}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "nightly")];
    let mut jobs: Vec<_> = [&own.test, &own.live, &other.test, &other.live]
        .map(|client| client.post_with("/v1/bulk/export", &headers, body.as_bytes()))
        .into_iter()
        .map(|answer| {
            assert!(!answer.headers.contains_key("idempotency-replayed"), "{answer:?}");
            answer.job_id()
        })
        .collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 4);
}

#[test]
fn the_key_alone_says_whose_a_call_is() {
    let (own, other) = (Tenant::new("iso-key"), Tenant::new("iso-key-other"));
    let tag = |code: &str| json!({"tag": [{"system": "https://clinikapi.com/tenant", "code": code}]});
    let smuggled = json!({
        "id": "p1", "firstName": "Jane", "lastName": "smuggled", "meta": tag(&other.id), "tenant": other.id,
        "partition": format!("{}#test", other.id), "pk": format!("{}#test#Patient#00", other.id), "sk": "p1",
    });
    let body = json!({
        "resourceType": "Patient", "data": smuggled.to_string(), "tenant": other.id, "environment": "live",
        "partition": format!("{}#test", other.id),
    });
    let bearer = format!("Bearer {}", other.test.key());
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
        ("x-tenant-id", other.id.as_str()),
        ("x-environment", "live"),
        ("x-forwarded-user", other.id.as_str()),
    ];
    let started = own.test.post_with("/v1/bulk/import", &headers, body.to_string().as_bytes());
    assert_eq!(own.test.ended(&started.job_id())["succeededRecords"], 1);
    for stranger in [&own.live, &other.test, &other.live] {
        assert_eq!(stranger.exported(&["Patient"], None).1, "");
    }
    let (_, file) = own.test.exported(&["Patient"], None);
    let record: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(record["meta"]["tag"], tag(&own.id)["tag"], "the tenant's tag is the service's to set");
}

#[test]
fn the_same_id_is_another_record_elsewhere() {
    let (own, other) = (Tenant::new("iso-same"), Tenant::new("iso-same-other"));
    let clients = [(&own.test, "a"), (&own.live, "b"), (&other.test, "c"), (&other.live, "d")];
    for (client, secret) in clients {
        let _stored = client.imported("Patient", &patient("same", secret));
    }
    for (client, secret) in clients {
        let (_, file) = client.exported(&["Patient"], None);
        assert_eq!(file.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&file).unwrap()["lastName"], secret);
    }
}

#[test]
fn what_becomes_part_of_a_key_has_no_room_for_tricks() {
    let own = Tenant::new("iso-tricks");
    let long = "x".repeat(10_000);
    let ids = [
        "",
        " ",
        "a b",
        "a#b",
        "a/b",
        "../p",
        "a\u{0}",
        "a\n",
        "\u{ff41}",
        "Ａ",
        "é",
        "\u{202e}x",
        "\u{200b}",
        "other#test#Patient#00",
        "%23",
        long.as_str(),
    ];
    let lines: String = ids.iter().map(|id| patient(id, "x") + "\n").collect();
    let job = own.test.imported("Patient", &lines);
    assert_eq!(job["failedRecords"], ids.len(), "{job}");
    assert!(job["errors"].as_array().unwrap().iter().all(|fault| fault["path"] == "/id"), "{job}");

    for id in ["a#b", "a/b", "", "é", "a b", long.as_str()] {
        let done = Command::new(setting("CLINIK_BULK_ADMIN")).args(["tenant", "create", id]).output().unwrap();
        assert!(!done.status.success(), "tenant {id:.20}");
    }
    let call = |key: &str| {
        own.test.post_with(
            "/v1/bulk/export",
            &[("content-type", "application/json"), ("idempotency-key", key)],
            br#"{"resourceTypes":["Patient"]}"#,
        )
    };
    for key in ["", " ", "a b", &"k".repeat(256)] {
        assert_eq!(call(key).code(), "VALIDATION_ERROR", "{key:.20}");
    }
    // What is visible ASCII is a key, and no part of another's.
    let jobs: std::collections::BTreeSet<_> =
        ["a#b", "a", "b", "live#a", "../a", "a%23b"].into_iter().map(|key| call(key).job_id()).collect();
    assert_eq!(jobs.len(), 6);
}
