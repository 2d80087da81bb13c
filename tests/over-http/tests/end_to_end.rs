//! The documented calls, exactly as documented, and what they promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

#[path = "end_to_end/fhir.rs"]
mod fhir;

use std::time::Duration;

use in_process::network::{Fate, Network, Operation};
use over_http::{Answer, Client, Request, Service, admin, setting};
use serde_json::{Value, json};
use testing::Memory;

const TWO_PATIENTS: &str = "{\"firstName\":\"Jane\",\"lastName\":\"Doe\",\"gender\":\"female\"}\n{\"firstName\":\"John\",\"lastName\":\"Smith\",\"gender\":\"male\"}";

fn sample(name: &str) -> String {
    let path = format!("{}/../../events/samples/{name}.ndjson", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn pro(name: &str) -> Client {
    Client::of_new_tenant(name, &["--plan", "pro", "--bulk-operations-per-hour", "1000"])
}

#[test]
fn the_documented_story_works_as_documented() {
    let client = pro("story");
    let started = client.import("Patient", TWO_PATIENTS);
    assert_eq!(started.status, 202);
    let id = started.job_id();
    let expected =
        format!(r#"{{"data":{{"jobId":"{id}","status":"pending","message":"Import job started"}},"meta":{{"#);
    assert!(started.text.starts_with(&expected), "{}", started.text);
    for (header, member) in [
        ("x-request-id", "requestId"),
        ("x-timestamp", "timestamp"),
        ("x-ratelimit-limit", "rateLimitTotal"),
        ("x-ratelimit-remaining", "rateLimitRemaining"),
        ("x-ratelimit-reset", "rateLimitReset"),
    ] {
        let value = &started.json()["meta"][member];
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(started.headers[header], value, "{header}");
    }
    let import = client.ended(&id);
    assert_eq!(import["status"], "completed");
    assert_eq!((&import["totalRecords"], &import["processedRecords"]), (&json!(2), &json!(2)));
    assert_eq!((&import["succeededRecords"], &import["failedRecords"]), (&json!(2), &json!(0)));
    assert_eq!(import["errors"], json!([]));

    let types = ["Patient", "Encounter", "Observation"];
    let (export, file) = client.exported(&types, Some("2025-01-01T00:00:00Z"));
    assert_eq!(export["type"], "export");
    assert_eq!((&export["totalRecords"], &export["processedRecords"]), (&json!(2), &json!(2)));
    assert_eq!(export["errors"], json!([]));
    let mut names = Vec::new();
    for line in file.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["resourceType"], "Patient");
        let code = record["meta"]["tag"][0]["code"].as_str().unwrap();
        assert_eq!(record["meta"]["tag"], json!([{"system": "https://clinikapi.com/tenant", "code": code}]));
        names.push(record["firstName"].as_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["Jane", "John"]);
    assert!(file.ends_with('\n'));
}

#[test]
fn samples_of_every_type_go_in_and_come_out_and_in_again() {
    let client = pro("samples");
    let types = ["Patient", "Practitioner", "Encounter", "Observation", "Condition", "MedicationRequest"];
    for resource_type in types {
        let lines = sample(&format!("records/{resource_type}"));
        let job = client.imported(resource_type, &lines);
        assert_eq!(job["succeededRecords"], lines.lines().count(), "{job}");
    }
    let (job, first) = client.exported(&types, None);
    assert_eq!(job["totalRecords"], 113);
    for resource_type in types {
        for line in sample(&format!("records/{resource_type}")).lines() {
            // Everything but the id, which is part of the new head, is there byte for byte.
            let members = line.split_once(',').unwrap().1;
            assert!(first.contains(members), "{resource_type}: {line}");
        }
        let again: String = first
            .lines()
            .filter(|line| line.contains(&format!("{{\"resourceType\":\"{resource_type}\",")))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(client.imported(resource_type, &again)["failedRecords"], 0);
    }
    let (_, second) = client.exported(&types, None);
    let without_stamps = |file: &str| {
        let mut lines: Vec<_> = file
            .lines()
            .map(|line| line[..line.find("lastUpdated").unwrap()].to_owned() + &line[line.find("\"tag\"").unwrap()..])
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(without_stamps(&first), without_stamps(&second));
}

#[test]
fn invalid_lines_are_reported_and_the_others_stored() {
    let client = pro("faults");
    let job = client.imported("Patient", &sample("patients-with-violations"));
    assert_eq!(job["status"], "completed");
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(1), &json!(6)));
    let errors: Vec<_> = job["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            assert_eq!(error["index"].as_u64().unwrap() + 1, error["line"].as_u64().unwrap());
            format!("{} {} {}", error["line"], error["code"].as_str().unwrap(), error["path"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        errors,
        [
            "2 min_length /firstName",
            "2 format /email",
            "3 blank_line ",
            "4 invalid_json ",
            "5 not_an_object ",
            "6 enum /gender",
            "7 resource_type_mismatch /resourceType",
        ]
    );
}

#[test]
fn nobody_sees_what_is_another_s() {
    let (own, live, other) = (Client::of("API_KEY"), Client::of("API_KEY_LIVE"), Client::of("API_KEY_OTHER"));
    let job = own.imported("Patient", "{\"id\":\"isolation\",\"firstName\":\"Jane\",\"lastName\":\"Doe\"}");
    assert_eq!(job["status"], "completed");
    let id = job["id"].as_str().unwrap();
    for stranger in [&live, &other] {
        let (there, nowhere) = (stranger.job(id), stranger.job("job_00000000000000000000000000"));
        assert_eq!((there.status, there.code()), (404, "NOT_FOUND".to_owned()));
        assert_eq!(there.json()["message"], nowhere.json()["message"]);
        let (_, file) = stranger.exported(&["Patient"], None);
        assert!(!file.contains("isolation"));
    }
    let (_, file) = own.exported(&["Patient"], None);
    assert!(file.contains("isolation"));
}

#[test]
fn a_download_url_cannot_be_bent() {
    let client = pro("urls");
    let (job, _) = client.exported(&["Patient"], None);
    let url = job["downloadUrl"].as_str().unwrap();
    let signature = url.find("X-Amz-Signature=").unwrap() + "X-Amz-Signature=".len();
    let digit = if url[signature..].starts_with('0') { "1" } else { "0" };
    let tampered = format!("{}{digit}{}", &url[..signature], &url[signature + 1..]);
    assert_eq!(client.fetch(&tampered).status, 403);
    assert_eq!(client.fetch(&url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")).status, 403);
    assert_eq!(client.fetch(url).status, 200);
    assert_eq!(client.fetch(url).headers["content-type"], "application/x-ndjson");
}

#[tokio::test]
async fn a_download_url_ends_after_its_hour() {
    use model::{JobId, ObjectKey, Token};
    use ports::{Clock, ObjectStore, UrlSigner};
    let objects = Service::new().await.objects();
    let partition = "clinic-one#test".parse().unwrap();
    let now = runtime::SystemClock.now();
    let key = ObjectKey::export(&partition, &JobId::new(now, 1), &Token::new(1), 0, model::Compression::None);
    objects.put(&partition, &key, "x\n".into()).await.unwrap();
    let client = Client::of("API_KEY");
    for (age, status) in [(3_590, 200), (3_601, 403)] {
        let signed_at = now - jiff::SignedDuration::from_secs(age);
        let until = signed_at + jiff::SignedDuration::from_hours(1);
        let signed = objects
            .sign_download(&partition, &key, ("x.ndjson", "application/x-ndjson"), signed_at, until)
            .await
            .unwrap();
        let answer = client.fetch(&signed.url);
        assert_eq!(answer.status, status, "signed {age} s ago: {answer:?}");
    }
}

#[test]
fn bad_calls_have_their_answers() {
    let client = pro("answers");
    let long = "{\"firstName\":\"J\",\"lastName\":\"D\"}\n".repeat(10_001);
    let import = |body: Value| client.post("/v1/bulk/import", &body);
    let text = |content_type: &str, body: &str| {
        client.post_with("/v1/bulk/import", &[("content-type", content_type)], body.as_bytes())
    };
    let expect = |answer: Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        assert!(answer.json()["requestId"].as_str().unwrap().starts_with("req_"));
        assert_eq!(answer.json()["issue"], answer.json()["issues"]);
    };
    expect(text("application/json", "no json"), 400, "INVALID_JSON");
    expect(text("application/json", "[]"), 400, "INVALID_JSON");
    expect(text("text/plain", "{}"), 415, "UNSUPPORTED_MEDIA_TYPE");
    expect(import(json!({})), 422, "VALIDATION_ERROR");
    expect(import(json!({"resourceType": "Starship", "data": "{}"})), 422, "VALIDATION_ERROR");
    expect(import(json!({"resourceType": "Patient", "data": ""})), 422, "VALIDATION_ERROR");
    expect(import(json!({"resourceType": "Patient", "data": long})), 422, "VALIDATION_ERROR");
    expect(client.export(&[], None), 422, "VALIDATION_ERROR");
    expect(client.export(&["Patient"], Some("2999-01-01T00:00:00Z")), 422, "VALIDATION_ERROR");
    expect(client.get("/v1/bulk/jobs/job_1"), 404, "NOT_FOUND");
    expect(client.get("/v1/patients"), 404, "NOT_FOUND");
    expect(client.get("/v1/bulk/import"), 404, "NOT_FOUND");
    let overriding = [("content-type", "application/json"), ("x-http-method-override", "PUT")];
    expect(client.post_with("/v1/bulk/import", &overriding, b"{}"), 400, "METHOD_OVERRIDE_REJECTED");

    let keyed = |key: &str| Client::with_key(key).job("job_00000000000000000000000000");
    expect(keyed("sesame"), 401, "INVALID_KEY_FORMAT");
    expect(keyed("clk_test_nobodyhasthis"), 401, "INVALID_KEY");
    assert_eq!(client.fetch(&format!("{}/health", setting("API_URL"))).json()["status"], "ok");
    let no_key = client.fetch(&format!("{}/v1/bulk/jobs/x", setting("API_URL")));
    assert_eq!((no_key.status, no_key.code().as_str()), (401, "UNAUTHORIZED"));
}

#[test]
fn keys_have_scopes_and_an_end() {
    let tenant = format!("keys-{:x}", std::process::id());
    let _created = admin(&["tenant", "create", &tenant, "--plan", "starter"]);
    let create = |options: &[&str]| admin(&[&["key", "create", &tenant], options].concat());
    let client = |key: &Value| Client::with_key(key["key"].as_str().unwrap());
    let somewhere = "job_00000000000000000000000000";

    let reader = client(&create(&["--scopes", "read"]));
    assert_eq!(reader.job(somewhere).status, 404);
    assert_eq!(reader.export(&["Patient"], None).code(), "INSUFFICIENT_SCOPE");
    let writer = client(&create(&["--scopes", "write"]));
    assert_eq!(writer.job(somewhere).code(), "INSUFFICIENT_SCOPE");
    assert_eq!(writer.export(&["Patient"], None).status, 202);

    let soon = runtime::SystemClock;
    let soon = ports::Clock::now(&soon) + jiff::SignedDuration::from_secs(10);
    let brief = client(&create(&["--expires", &soon.to_string()]));
    assert_eq!(brief.job(somewhere).status, 404);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(brief.job(somewhere).code(), "KEY_EXPIRED");

    let doomed = create(&[]);
    let _revoked = admin(&["key", "revoke", &tenant, doomed["id"].as_str().unwrap()]);
    assert_eq!(client(&doomed).job(somewhere).code(), "KEY_REVOKED");
    let listed = admin(&["key", "list", &tenant]);
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert!(listed.as_array().unwrap().iter().all(|key| key.get("key").is_none() && key.get("hash").is_none()));
}

#[test]
fn the_sixth_bulk_operation_of_an_hour_waits() {
    let client = Client::of_new_tenant("hourly", &["--plan", "pro"]);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(|| client.export(&["Patient"], None))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let accepted = statuses.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 5, "{statuses:?}");
    for refused in statuses.iter().filter(|answer| answer.status != 202) {
        assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
        let retry_after: u64 = refused.headers["retry-after"].parse().unwrap();
        assert!((3_500..=3_600).contains(&retry_after));
        assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    }
}

#[test]
fn the_same_call_said_again_is_one_job() {
    let client = pro("idempotent");
    let body = json!({"resourceTypes": ["Patient"]}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "nightly-2026-01-15")];
    let call = || client.post_with("/v1/bulk/export", &headers, body.as_bytes());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..20).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let first = answers[0].job_id();
    assert!(answers.iter().all(|answer| answer.job_id() == first));
    let replayed = answers.iter().filter(|answer| answer.headers.contains_key("idempotency-replayed")).count();
    assert_eq!(replayed, 19);
    let other = client.post_with("/v1/bulk/export", &headers, br#"{"resourceTypes":["Encounter"]}"#);
    assert_eq!((other.status, other.code().as_str()), (409, "IDEMPOTENCY_CONFLICT"));
}

#[test]
fn an_upload_goes_in_by_its_url_and_comes_back_with_reports() {
    let client = pro("uploads");
    let data = sample("records/Patient") + &sample("patients-with-violations");
    let created = client.create_upload(data.len());
    assert_eq!(created.status, 201, "{created:?}");
    let upload = created.data();
    assert_eq!(upload["maxBytes"], 104_857_600);
    let url = upload["uploadUrl"].as_str().unwrap();
    assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bhost&"), "the length is signed, and no other header");
    let import = |upload: &Value| {
        client.post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": upload["uploadId"]}))
    };
    assert_eq!(import(&upload).code(), "VALIDATION_ERROR", "nothing has been uploaded yet");
    for other in [&data[1..], &format!("{data}\n")] {
        assert_eq!(client.put(url, other.as_bytes()), 403, "of another length than was stated");
    }
    assert_eq!(client.put(url, data.as_bytes()), 200);
    let job = client.ended(&import(&upload).job_id());
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["totalRecords"], &job["succeededRecords"]), (&json!(27), &json!(21)), "{job}");
    assert_eq!(job["errorsTruncated"], false);
    let fetch = |name: &str| client.fetch(job[name].as_str().unwrap());
    assert_eq!(fetch("errorsUrl").text.lines().count() as u64, job["errorCount"].as_u64().unwrap());
    assert_eq!(fetch("resultsUrl").text.lines().count(), 27);
    let disposition = &fetch("rejectedUrl").headers["content-disposition"];
    assert_eq!(*disposition, format!("attachment; filename=\"{}-rejected.ndjson\"", job["id"].as_str().unwrap()));
    // The rejected lines come back as they were: imported again, they are rejected again.
    let again = client.imported("Patient", &fetch("rejectedUrl").text);
    assert_eq!(again["failedRecords"], 6);
    assert_eq!(import(&upload).status, 422, "an upload is imported once");
    assert_eq!(
        Client::of("API_KEY_OTHER")
            .post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": upload["uploadId"]}))
            .status,
        422
    );
}

#[test]
fn gzip_bodies_are_read_where_the_gateway_leaves_them_whole() {
    use std::io::Write;
    let client = pro("gzip");
    let body = json!({"resourceType": "Patient", "data": TWO_PATIENTS}).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let send = |media_type: &str| {
        client.post_with("/v1/bulk/import", &[("content-type", media_type), ("content-encoding", "gzip")], &gzip)
    };
    assert_eq!(client.ended(&send("application/fhir+json").job_id())["succeededRecords"], 2);
    let destroyed = send("application/json");
    assert_eq!((destroyed.status, destroyed.code().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    assert!(destroyed.json()["message"].as_str().unwrap().contains("application/fhir+json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_many_times_is_one_import() {
    let queue = Service::new().await.queue(model::JobType::Import);
    let data: String = (0..2_000).map(|n| format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\"}}\n")).collect();
    let (client, partition) = (pro("race"), format!("race-{:x}#test", std::process::id()).parse().unwrap());
    let id = tokio::task::block_in_place(|| client.import("Patient", &data).job_id());
    for _ in 0..6 {
        queue.send(&partition, &id.parse().unwrap()).await.unwrap();
    }
    tokio::task::block_in_place(|| {
        let job = client.ended(&id);
        assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(2_000), &json!(0)));
        // The other messages find the job leased or ended, and change nothing.
        std::thread::sleep(Duration::from_secs(2));
        let later = client.job(&id).data();
        for member in ["status", "completedAt", "processedRecords", "succeededRecords"] {
            assert_eq!(later[member], job[member]);
        }
        assert_eq!(client.exported(&["Patient"], None).1.lines().count(), 2_000);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_message_could_not_be_sent_is_found_by_the_sweeper() {
    let client = pro("unsent");
    let partition: model::Partition = format!("unsent-{:x}#test", std::process::id()).parse().unwrap();
    let export = Request::Export(in_process::jobs::export_of(records::ResourceType::Patient));
    let dead = Network::scripted(&Memory::new(), Operation::Send, std::iter::repeat(Fate::Refused));
    let id = Service::new().await.start(&partition, export, Some(dead)).await;
    // The schedule of the deployed sweeper fires once a minute.
    let job = tokio::task::block_in_place(|| client.ended(id.as_str()));
    assert_eq!(job["status"], "completed");
}
