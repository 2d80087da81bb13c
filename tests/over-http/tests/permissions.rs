//! What each function does with its permissions: run by `local/permissions.py`, which takes one permission away
//! after the other and expects the function's scenario to fail. With all permissions each of them passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::ports::{JobQueue, PortError};
use domain::{JobId, JobType, Partition, Target, Work};
use jiff::SignedDuration;
use over_http::{Answer, Client, Skewed, boto3, start_job};
use records::ResourceType;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: &str = "{\"id\":\"p1\",\"firstName\":\"J\",\"lastName\":\"D\"}\n{}\n";

fn tenant(name: &str) -> (Client, Partition) {
    let client = Client::of_new_tenant(name, &["--plan", "pro", "--bulk-operations-per-hour", "1000"]);
    (client, format!("{name}-{:x}#test", std::process::id()).parse().unwrap())
}

/// The job's end, which is seconds away: no sweeper comes to help.
fn ended(client: &Client, id: &str) -> Value {
    let began = Instant::now();
    loop {
        let answer = client.job(id);
        assert_eq!(answer.status, 200, "{answer:?}");
        let job = answer.data();
        if matches!(job["status"].as_str().unwrap(), "completed" | "failed") {
            return job;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "job does not end: {job}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn completed(client: &Client, started: &Answer) -> Value {
    let job = ended(client, &started.job_id());
    assert_eq!(job["status"], "completed", "{job}");
    job
}

fn twice(client: &Client, path: &str, body: &Value) -> Answer {
    let headers = [JSON, ("idempotency-key", "once")];
    let call = || client.post_with(path, &headers, body.to_string().as_bytes());
    let (first, again) = (call(), call());
    assert_eq!(again.headers.get("idempotency-replayed").map(String::as_str), Some("true"), "{again:?}");
    assert_eq!(first.job_id(), again.job_id());
    first
}

fn upload(client: &Client) -> Value {
    let made = client.post_with("/v1/bulk/uploads", &[], b"");
    assert_eq!(made.status, 201, "{made:?}");
    made.data()
}

struct Lost;

#[async_trait]
impl JobQueue for Lost {
    async fn send(&self, _: &Partition, _: &Target, _: JobType) -> Result<(), PortError> {
        Ok(())
    }
}

/// A job whose message is lost, so many hours old.
fn lost(partition: &Partition, work: Work, hours: i64) -> JobId {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = Arc::new(Skewed(SignedDuration::from_hours(-hours)));
    runtime.block_on(start_job(partition, work, Arc::new(Lost), clock, Duration::ZERO))
}

fn import() -> Work {
    Work::Import { resource_type: ResourceType::Patient, data: LINES.into(), lines: 2 }
}

#[test]
#[ignore = "run by local/permissions.py"]
fn start_import() {
    let (client, _) = tenant("perm");
    let started = twice(&client, "/v1/bulk/import", &json!({"resourceType": "Patient", "data": LINES}));
    let _job = completed(&client, &started);
    let place = upload(&client);
    let import = || client.post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": place["uploadId"]}));
    assert_eq!(import().code(), "VALIDATION_ERROR", "nothing is there yet");
    assert_eq!(client.put(place["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
    let _job = completed(&client, &import());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn start_export() {
    let (client, _) = tenant("perm");
    let _job = completed(&client, &twice(&client, "/v1/bulk/export", &json!({"resourceTypes": ["Patient"]})));
}

#[test]
#[ignore = "run by local/permissions.py"]
fn create_upload() {
    let (client, _) = tenant("perm");
    assert_eq!(client.put(upload(&client)["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn get_job() {
    let (client, _) = tenant("perm");
    let import = completed(&client, &client.import("Patient", LINES));
    for link in ["errorsUrl", "rejectedUrl", "resultsUrl"] {
        assert_eq!(client.fetch(import[link].as_str().unwrap()).status, 200, "{link}");
    }
    let export = completed(&client, &client.export(&["Patient"], None));
    assert_eq!(client.fetch(export["downloadUrl"].as_str().unwrap()).text.lines().count(), 1);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn run_import() {
    let (client, partition) = tenant("perm");
    let job = completed(&client, &client.import("Patient", LINES));
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(1), &json!(1)));
    let place = upload(&client);
    assert_eq!(client.put(place["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let _job = completed(&client, &client.post("/v1/bulk/import", &body));

    // What was to be imported has gone: that is told, and not taken for a bucket that refuses.
    let id = lost(&partition, import(), 0);
    boto3(&format!(
        "import boto3, json, os
boto3.client('s3').delete_object(Bucket=os.environ['BUCKET'], Key='imports/{}/test/{id}.ndjson')
message = json.dumps({{'v': 1, 'partition': {{'tenant': '{}', 'environment': 'test'}}, 'jobId': '{id}'}})
boto3.client('sqs').send_message(QueueUrl=os.environ['IMPORT_QUEUE_URL'], MessageBody=message, MessageGroupId='perm')",
        partition.tenant, partition.tenant
    ));
    assert_eq!(ended(&client, id.as_str())["errors"][0]["code"], "source_missing");
}

#[test]
#[ignore = "run by local/permissions.py"]
fn run_export() {
    let (client, partition) = tenant("perm");
    let _job = completed(&client, &client.import("Patient", LINES));
    for since in [None, Some("2025-01-01T00:00:00Z")] {
        let job = completed(&client, &client.export(&["Patient"], since));
        assert_eq!(job["processedRecords"], 1, "{job}");
    }
    boto3(&format!(
        "import boto3, os
uploads = boto3.client('s3').list_multipart_uploads(Bucket=os.environ['BUCKET'], Prefix='exports/{}/')
assert not uploads.get('Uploads'), 'an upload was not given up'",
        partition.tenant
    ));
}

#[test]
#[ignore = "run by local/permissions.py"]
fn sweep_jobs() {
    let (client, partition) = tenant("perm");
    let old = lost(&partition, import(), 25);
    let (import, export) = (
        lost(&partition, import(), 0),
        lost(&partition, Work::Export { resource_types: vec![ResourceType::Patient], since: None }, 0),
    );
    boto3(
        "import boto3, json, os, time
began = int(time.time() * 1000)
name = os.environ['STACK'] + '-sweep-jobs'
answer = boto3.client('lambda').invoke(FunctionName=name, Payload=b'{}')
assert 'FunctionError' not in answer, answer['Payload'].read()
for _ in range(50):
    events = boto3.client('logs').filter_log_events(logGroupName='/aws/lambda/' + name, startTime=began)['events']
    if any('IndexLagMs' in event['message'] for event in events):
        break
    time.sleep(0.1)
else:
    raise SystemExit('the lag was not measured')",
    );
    for id in [&import, &export] {
        assert_eq!(ended(&client, id.as_str())["status"], "completed");
    }
    assert_eq!(ended(&client, old.as_str())["errors"][0]["code"], "too_old");
}
