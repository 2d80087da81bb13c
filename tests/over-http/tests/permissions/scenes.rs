//! What the scenarios begin with, and what they look at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Delivery;
use in_process::jobs::{export_of, import_of};
use jiff::{SignedDuration, Timestamp};
use model::{ChunkSize, Event, JobId, JobMessage, JobType, LeaseRequest, MAX_TAKEOVERS, Partition, Settlement, Token};
use over_http::faults::{Fault, Faults, aws_with};
use over_http::{Answer, Client, Request, Service, Skewed, boto3};
use ports::{Clock, JobStore};
use records::ResourceType;
use runtime::SystemClock;
use serde_json::Value;
use testing::Memory;

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const LINES: &str = "{\"id\":\"p1\",\"firstName\":\"J\",\"lastName\":\"D\"}\n{}\n";

pub(crate) fn tenant(name: &str) -> (Client, Partition) {
    let client = Client::of_new_tenant(name, &["--plan", "pro", "--bulk-operations-per-hour", "1000"]);
    (client, format!("{name}-{:x}#test", std::process::id()).parse().unwrap())
}

/// The job's end, which is seconds away: no sweeper comes to help.
pub(crate) fn ended(client: &Client, id: &str) -> Value {
    ended_within(client, id, Duration::from_secs(10))
}

pub(crate) fn ended_within(client: &Client, id: &str, time: Duration) -> Value {
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

pub(crate) fn completed(client: &Client, started: &Answer) -> Value {
    let job = ended(client, &started.job_id());
    assert_eq!(job["status"], "completed", "{job}");
    job
}

pub(crate) fn twice(client: &Client, path: &str, body: &Value) -> Answer {
    let headers = [JSON, ("idempotency-key", "once")];
    let call = || client.post_with(path, &headers, body.to_string().as_bytes());
    let (first, again) = (call(), call());
    assert_eq!(again.headers.get("idempotency-replayed").map(String::as_str), Some("true"), "{again:?}");
    assert_eq!(first.job_id(), again.job_id());
    first
}

pub(crate) fn upload(client: &Client) -> Value {
    client.create_upload(LINES.len()).data()
}

/// Has the service do something in this process.
pub(crate) fn in_service<T>(clock: impl Clock + 'static, work: impl AsyncFnOnce(Service) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Service::at(Arc::new(clock)).await).await })
}

/// A job whose message is lost, so many minutes old.
pub(crate) fn lost(partition: &Partition, request: Request, minutes: i64) -> JobId {
    let clock = Skewed(SignedDuration::from_mins(-minutes));
    in_service(clock, async |service| service.start(partition, request, Some(Arc::new(Memory::new()))).await)
}

pub(crate) fn import() -> Request {
    Request::Import(import_of(ResourceType::Patient, LINES))
}

pub(crate) fn export() -> Request {
    Request::Export(export_of(ResourceType::Patient))
}

/// Has a processor look at a job.
pub(crate) fn send(queue: &str, partition: &Partition, id: &JobId) {
    let body = JobMessage::new(partition.clone(), id.clone()).encode();
    boto3(&format!(
        "import boto3, os
boto3.client('sqs').send_message(QueueUrl=os.environ['{queue}'], MessageBody='{body}', MessageGroupId='perm')"
    ));
}

/// Nothing of this tenant is being written in parts any more.
pub(crate) fn no_upload_is_left(kind: &str, partition: &Partition) {
    boto3(&format!(
        "import boto3, os
uploads = boto3.client('s3').list_multipart_uploads(Bucket=os.environ['BUCKET'], Prefix='{kind}/{}/')
assert not uploads.get('Uploads'), 'an upload was not aborted'",
        partition.tenant
    ));
}

/// What a worker of the job has written: a file, a chunk, and an upload that is being put together.
pub(crate) fn leave_files(kind: &str, partition: &Partition, id: &str) {
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
pub(crate) fn no_file_is_left(kind: &str, partition: &Partition, id: &str) {
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
pub(crate) struct Hurried(&'static str);

impl Hurried {
    pub(crate) fn new(function: &'static str, seconds: u32) -> Self {
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

pub(crate) fn set_timeout(function: &str, seconds: u32) {
    boto3(&format!(
        "import boto3, os
from local.reconfigure import reconfigure
reconfigure(boto3.client('lambda'), os.environ['STACK'] + '-{function}', Timeout={seconds})"
    ));
}

/// Patients of 9 KB each, of which deflate saves little: they take the store some time.
pub(crate) fn patients(count: usize) -> String {
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
pub(crate) fn exhausted(partition: &Partition) -> JobId {
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
pub(crate) fn deleted(partition: &Partition, request: Request) -> JobId {
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
pub(crate) fn no_item_is_left(partition: &Partition, id: &JobId) {
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
pub(crate) fn unfinished(partition: &Partition) -> JobId {
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
