//! What each function does with its permissions, and what operators do with theirs: run by `local/permissions.py`, which
//! takes one permission away after the other and expects the scenario to fail. With all permissions each of them passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Delivery;
use in_process::jobs::{export_of, import_of};
use jiff::{SignedDuration, Timestamp};
use model::{ChunkSize, Event, JobId, JobMessage, JobType, LeaseRequest, MAX_TAKEOVERS, Partition, Settlement, Token};
use over_http::faults::{Fault, Faults, aws_with};
use over_http::{Answer, Client, Evidence, Request, Service, Skewed, boto3, evidence, setting};
use ports::{Clock, JobStore};
use records::ResourceType;
use runtime::SystemClock;
use serde_json::{Value, json};
use testing::Memory;

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: &str = "{\"id\":\"p1\",\"firstName\":\"J\",\"lastName\":\"D\"}\n{}\n";

fn tenant(name: &str) -> (Client, Partition) {
    let client = Client::of_new_tenant(name, &["--plan", "pro", "--bulk-operations-per-hour", "1000"]);
    (client, format!("{name}-{:x}#test", std::process::id()).parse().unwrap())
}

/// The job's end, which is seconds away: no sweeper comes to help.
fn ended(client: &Client, id: &str) -> Value {
    ended_within(client, id, Duration::from_secs(10))
}

fn ended_within(client: &Client, id: &str, time: Duration) -> Value {
    let began = Instant::now();
    loop {
        let answer = client.job(id);
        assert_eq!(answer.status, 200, "{answer:?}");
        let job = answer.data();
        if matches!(job["status"].as_str().unwrap(), "completed" | "failed") {
            return job;
        }
        assert!(began.elapsed() < time, "job does not end: {job}");
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
    client.create_upload(LINES.len()).data()
}

/// Has the service do something in this process.
fn in_service<T>(clock: impl Clock + 'static, work: impl AsyncFnOnce(Service) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Service::at(Arc::new(clock)).await).await })
}

/// A job whose message is lost, so many minutes old.
fn lost(partition: &Partition, request: Request, minutes: i64) -> JobId {
    let clock = Skewed(SignedDuration::from_mins(-minutes));
    in_service(clock, async |service| service.start(partition, request, Some(Arc::new(Memory::new()))).await)
}

fn import() -> Request {
    Request::Import(import_of(ResourceType::Patient, LINES))
}

fn export() -> Request {
    Request::Export(export_of(ResourceType::Patient))
}

/// Has a processor look at a job.
fn send(queue: &str, partition: &Partition, id: &JobId) {
    let body = JobMessage::new(partition.clone(), id.clone()).encode();
    boto3(&format!(
        "import boto3, os
boto3.client('sqs').send_message(QueueUrl=os.environ['{queue}'], MessageBody='{body}', MessageGroupId='perm')"
    ));
}

/// Nothing of this tenant is being written in parts any more.
fn no_upload_is_left(kind: &str, partition: &Partition) {
    boto3(&format!(
        "import boto3, os
uploads = boto3.client('s3').list_multipart_uploads(Bucket=os.environ['BUCKET'], Prefix='{kind}/{}/')
assert not uploads.get('Uploads'), 'an upload was not aborted'",
        partition.tenant
    ));
}

/// What a worker of the job has written: a file, a chunk, and an upload that is being put together.
fn leave_files(kind: &str, partition: &Partition, id: &str) {
    boto3(&format!(
        "import boto3, os
s3, bucket, key = boto3.client('s3'), os.environ['BUCKET'], '{kind}/{}/test/{id}/token/file'
s3.put_object(Bucket=bucket, Key=key, Body=b'x')
s3.put_object(Bucket=bucket, Key=key.replace('{kind}', 'chunks', 1), Body=b'x')
s3.create_multipart_upload(Bucket=bucket, Key=key)",
        partition.tenant
    ));
}

/// Nothing of the job is in the bucket any more.
fn no_file_is_left(kind: &str, partition: &Partition, id: &str) {
    boto3(&format!(
        "import boto3, os, time
s3, bucket, prefix = boto3.client('s3'), os.environ['BUCKET'], '{kind}/{}/test/{id}'
for _ in range(20):
    left = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get('Contents')
    left = left or s3.list_objects_v2(Bucket=bucket, Prefix=prefix.replace('{kind}', 'chunks', 1)).get('Contents')
    left = left or s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get('Uploads')
    if not left: break
    time.sleep(0.25)
assert not left, 'files of the job are left'",
        partition.tenant
    ));
}

/// A function that has few seconds for an invocation, until this is dropped.
struct Hurried(&'static str);

impl Hurried {
    fn new(function: &'static str, seconds: u32) -> Self {
        set_timeout(function, seconds);
        Self(function)
    }
}

impl Drop for Hurried {
    fn drop(&mut self) {
        // As the template has it.
        set_timeout(self.0, 900);
    }
}

fn set_timeout(function: &str, seconds: u32) {
    boto3(&format!(
        "import boto3, os
name = os.environ['STACK'] + '-{function}'
boto3.client('lambda').update_function_configuration(FunctionName=name, Timeout={seconds})"
    ));
}

/// Patients of 9 KB each, of which deflate saves little: they take the store some time.
fn patients(count: usize) -> String {
    let mut noise = 1_u64;
    let mut hex = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{noise:016x}")
    };
    let patient = |n| {
        let note: String = (0..560).map(|_| hex()).collect();
        format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\",\"note\":\"{note}\"}}\n")
    };
    (0..count).map(patient).collect()
}

/// An export that five workers in a row have died of.
fn exhausted(partition: &Partition) -> JobId {
    in_service(SystemClock, async |service| {
        let id = service.start(partition, export(), Some(Arc::new(Memory::new()))).await;
        for worker in 0..MAX_TAKEOVERS {
            let now = Timestamp::now();
            let oldest = now - SignedDuration::from_hours(24);
            let request = LeaseRequest { token: Token::new(worker.into()), expires_at: now, due_at: now, oldest };
            let acquired = service.job(partition, &id).await.apply(Event::Acquired(request), now).unwrap();
            service.jobs().update(partition, &acquired, &Settlement::None).await.unwrap();
        }
        id
    })
}

/// A job that its owner has cancelled and deleted a while ago: its worker may still have written something then.
fn deleted(partition: &Partition, request: Request) -> JobId {
    let clock = Skewed(SignedDuration::from_mins(-11));
    in_service(clock, async |service| {
        let id = service.start(partition, request, Some(Arc::new(Memory::new()))).await;
        let now = service.clock.now();
        let oldest = now - SignedDuration::from_hours(24);
        let request = LeaseRequest { token: Token::new(1), expires_at: now, due_at: now, oldest };
        let mut job = service.job(partition, &id).await;
        for event in [Event::Acquired(request), Event::Cancelled, Event::Deleted] {
            job = job.apply(event, now).unwrap();
            service.jobs().update(partition, &job, &Settlement::None).await.unwrap();
        }
        id
    })
}

/// The job's item is not in the table any more.
fn no_item_is_left(partition: &Partition, id: &JobId) {
    boto3(&format!(
        "import boto3, os, time
key = {{'pk': {{'S': '{partition}'}}, 'sk': {{'S': '{id}'}}}}
for _ in range(40):
    left = boto3.client('dynamodb').get_item(TableName=os.environ['JOBS_TABLE'], Key=key, ConsistentRead=True).get('Item')
    if not left: break
    time.sleep(0.25)
assert not left, 'the item of a deleted job is left'"
    ));
}

/// An export whose chunks are all there, and whose file cannot be put together for now.
fn unfinished(partition: &Partition) -> JobId {
    in_service(SystemClock, async |service| {
        let id = service.start(partition, export(), Some(Arc::new(Memory::new()))).await;
        let faults = Faults::default();
        faults.inject("CompleteMultipartUpload", Fault::ServerError, u32::MAX);
        let unlucky = Service { aws: aws_with(&faults).await, ..service };
        // Chunks of a record or two.
        let sizes = ChunkSize::new(200);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let worker = unlucky.worker(JobType::Export, Arc::new(Memory::new()), sizes);
        let delivery = worker.deliver(partition, &id, deadline).await.unwrap();
        assert_eq!(delivery, Delivery::Deferred);
        id
    })
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
fn list_jobs() {
    let (client, _) = tenant("perm");
    let job = completed(&client, &client.export(&["Patient"], None));
    assert_eq!(client.get("/v1/bulk/jobs").data()["data"][0]["id"], job["id"]);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn cancel_job() {
    let (client, partition) = tenant("perm");
    // Nobody looks after them: the call gives the requests back, and clears their files away.
    for (request, kind) in [(import(), "reports"), (export(), "exports")] {
        let id = lost(&partition, request, 0);
        leave_files(kind, &partition, id.as_str());
        let cancelled = client.cancel(id.as_str());
        assert_eq!((cancelled.status, &cancelled.data()["outcome"]), (200, &json!("cancelled")), "{cancelled:?}");
        no_file_is_left(kind, &partition, id.as_str());
        leave_files(kind, &partition, id.as_str());
        assert_eq!(client.delete(id.as_str()).status, 204);
        no_file_is_left(kind, &partition, id.as_str());
        no_file_is_left("imports", &partition, id.as_str());
    }
    let place = client.uploaded(LINES.as_bytes());
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let job = completed(&client, &client.post("/v1/bulk/import", &body));
    assert_eq!(client.delete(job["id"].as_str().unwrap()).status, 204);
    boto3(&format!(
        "import boto3, os
left = boto3.client('s3').list_objects_v2(Bucket=os.environ['BUCKET'], Prefix='uploads/{}/')
assert not left.get('Contents'), 'what was uploaded is left'",
        partition.tenant
    ));
    assert_eq!(client.job(job["id"].as_str().unwrap()).status, 404);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn validate_records() {
    let (client, _) = tenant("perm");
    let validated = client.post("/v1/bulk/validate", &json!({"resourceType": "Patient", "data": LINES}));
    assert_eq!((validated.status, &validated.data()["validRecords"]), (200, &json!(1)));
    assert_eq!(validated.headers["x-quota-billable"], "true");
}

#[test]
#[ignore = "run by local/permissions.py"]
fn get_limits() {
    let (client, _) = tenant("perm");
    assert_eq!(client.get("/v1/bulk/limits").status, 200);
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
        "import boto3, os
boto3.client('s3').delete_object(Bucket=os.environ['BUCKET'], Key='imports/{}/test/{id}.ndjson')",
        partition.tenant
    ));
    leave_files("reports", &partition, id.as_str());
    send("IMPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["errors"][0]["code"], "source_missing");
    no_file_is_left("reports", &partition, id.as_str());

    // One that an invocation has no time for goes on in the next, and leaves no report half written.
    let rejected = format!("{}\n", "x".repeat(60_000)).repeat(100);
    let place = client.uploaded((rejected + &patients(5_000)).as_bytes());
    let _hurried = Hurried::new("run-import", 4);
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let id = client.post("/v1/bulk/import", &body).job_id();
    let job = ended_within(&client, &id, Duration::from_secs(40));
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(5_000), &json!(100)), "{job}");
    let yielded = |line: &Evidence| line.text.contains(&id) && line.text.contains("yielded");
    assert!(evidence(&["logs"]).iter().any(yielded), "one invocation was enough");
    no_upload_is_left("reports", &partition);

    // What is left of a deleted job is cleared away later, and its item goes with it.
    let id = deleted(&partition, import());
    leave_files("reports", &partition, id.as_str());
    send("IMPORT_QUEUE_URL", &partition, &id);
    no_item_is_left(&partition, &id);
    no_file_is_left("reports", &partition, id.as_str());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn run_export() {
    let (client, partition) = tenant("perm");
    let _job = completed(&client, &client.import("Patient", LINES));
    let recently = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    for since in [None, Some(recently.as_str())] {
        let job = completed(&client, &client.export(&["Patient"], since));
        assert_eq!(job["processedRecords"], 1, "{job}");
    }
    no_upload_is_left("exports", &partition);

    // One that fails gives its request back, and leaves no file behind.
    let id = exhausted(&partition);
    leave_files("exports", &partition, id.as_str());
    send("EXPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["errors"][0]["code"], "attempts_exhausted");
    no_file_is_left("exports", &partition, id.as_str());

    // An upload that has ended is one that was completed, if the file is there; else the file is put together anew. One
    // record alone is no file of several chunks.
    let more: String = (0..5).map(|n| format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\"}}\n")).collect();
    let _job = completed(&client, &client.import("Patient", &more));
    let id = unfinished(&partition);
    boto3(&format!(
        "import boto3, os
s3, bucket = boto3.client('s3'), os.environ['BUCKET']
[upload] = s3.list_multipart_uploads(Bucket=bucket, Prefix='exports/{}/')['Uploads']
s3.abort_multipart_upload(Bucket=bucket, Key=upload['Key'], UploadId=upload['UploadId'])",
        partition.tenant
    ));
    send("EXPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["processedRecords"], 6);

    // A file of more than one chunk of the deployed size.
    let body = json!({"resourceType": "Patient", "uploadId": client.uploaded(patients(1_000).as_bytes())["uploadId"]});
    let job = ended_within(&client, &client.post("/v1/bulk/import", &body).job_id(), Duration::from_secs(40));
    assert_eq!(job["succeededRecords"], 1_000, "{job}");
    let job = ended_within(&client, &client.export(&["Patient"], None).job_id(), Duration::from_secs(40));
    assert!(job["files"][0]["bytes"].as_u64() > Some(8 << 20), "{job}");

    // What is left of a deleted job is cleared away later, and its item goes with it.
    let id = deleted(&partition, export());
    leave_files("exports", &partition, id.as_str());
    send("EXPORT_QUEUE_URL", &partition, &id);
    no_item_is_left(&partition, &id);
    no_file_is_left("exports", &partition, id.as_str());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn sweep_jobs() {
    let (client, partition) = tenant("perm");
    let old = lost(&partition, import(), 25 * 60);
    let (import, export) = (lost(&partition, import(), 1), lost(&partition, export(), 1));
    boto3(
        "import boto3, os
answer = boto3.client('lambda').invoke(FunctionName=os.environ['STACK'] + '-sweep-jobs', Payload=b'{}')
assert 'FunctionError' not in answer, answer['Payload'].read()",
    );
    for id in [&import, &export] {
        assert_eq!(ended(&client, id.as_str())["status"], "completed");
    }
    assert_eq!(ended(&client, old.as_str())["errors"][0]["code"], "too_old");
}

/// Somebody who has the operators' policy and nothing else.
fn operator(arguments: &[&str]) -> Value {
    let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
    command.env("AWS_ACCESS_KEY_ID", setting("OPERATOR_KEY_ID"));
    command.env("AWS_SECRET_ACCESS_KEY", setting("OPERATOR_SECRET_KEY"));
    let done = command.args(["--output", "json", "--stack", &setting("STACK")]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
#[ignore = "run by local/permissions.py"]
fn operators() {
    let id = format!("perm-{:x}", std::process::id());
    let partition: Partition = format!("{id}#test").parse().unwrap();
    operator(&["tenant", "create", &id, "--plan", "pro", "--bulk-operations-per-hour", "1000"]);
    assert_eq!(operator(&["tenant", "show", &id])["plan"], "pro");
    let key = operator(&["key", "create", &id, "--environment", "test"]);
    assert_eq!(operator(&["key", "list", &id]).as_array().unwrap().len(), 1);

    let client = Client::with_key(key["key"].as_str().unwrap());
    let imported = completed(&client, &client.import("Patient", LINES));
    let job = imported["id"].as_str().unwrap();
    assert_eq!(operator(&["job", "show", &id, job, "--environment", "test"])["succeeded"], 1);
    for request in [import(), export()] {
        let job = lost(&partition, request, 0);
        operator(&["job", "redrive", &id, job.as_str(), "--environment", "test"]);
        assert_eq!(ended(&client, job.as_str())["status"], "completed");
    }

    let _open = upload(&client);
    leave_files("exports", &partition, job);
    let purged = operator(&["tenant", "purge", &id, "--environment", "test", "--confirm", &id]);
    // One record that both imports have stored, three jobs.
    assert_eq!((&purged["records"], &purged["jobs"]), (&json!(1), &json!(3)), "{purged}");
    no_file_is_left("exports", &partition, job);
    assert_eq!(client.exported(&["Patient"], None).1, "");
}
