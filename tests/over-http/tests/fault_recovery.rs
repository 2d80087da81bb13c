//! Bad luck on the running stack: whatever happens between the 202 and the end, the job ends, once.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use in_process::jobs::{export_of, import_of};
use jiff::SignedDuration;
use model::{ChunkSize, JobId, JobType, Partition};
use over_http::{Client, Request, Service, Skewed, boto3, sweep_until};
use ports::{JobQueue, PortError};
use records::ResourceType;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What becomes of a message.
#[derive(Clone, Copy)]
enum Fate {
    Refused,
    Lost,
    FiveTimes,
}

struct Post {
    queue: Arc<dyn JobQueue>,
    fate: Fate,
}

#[async_trait]
impl JobQueue for Post {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        let copies = match self.fate {
            Fate::Refused => {
                return Err(PortError::unavailable("send message", "as the test wants it"));
            }
            Fate::Lost => 0,
            Fate::FiveTimes => 5,
        };
        for _ in 0..copies {
            self.queue.send(partition, id).await?;
        }
        Ok(())
    }
}

/// The service by a clock that is wrong by so many seconds.
async fn skewed(seconds: i64) -> Service {
    Service::at(Arc::new(Skewed(SignedDuration::from_secs(seconds)))).await
}

/// Starts a job as the API functions do, but for its message's fate and its clock.
async fn start(partition: &Partition, request: Request, fate: Fate, skew: i64) -> JobId {
    let service = skewed(skew).await;
    let job_type = match request {
        Request::Import(_) => JobType::Import,
        Request::Export(_) => JobType::Export,
    };
    let queue = service.queue(job_type);
    service.start(partition, request, Some(Arc::new(Post { queue, fate }))).await
}

fn tenant(name: &str) -> (Client, Partition) {
    let client = Client::of_new_tenant(name, &["--plan", "enterprise", "--bulk-operations-per-hour", "1000"]);
    (client, format!("{name}-{:x}#test", std::process::id()).parse().unwrap())
}

fn patients(prefix: &str, count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"{prefix}-{n}\",\"firstName\":\"J\",\"lastName\":\"D\"}}\n")).collect()
}

fn import(prefix: &str, count: usize) -> Request {
    Request::Import(import_of(ResourceType::Patient, &patients(prefix, count)))
}

fn export() -> Request {
    Request::Export(export_of(ResourceType::Patient))
}

/// Runs something while a sweeper sweeps every second.
fn swept<T>(work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| sweep_until(&stop));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

fn check_import(job: &Value, count: usize) {
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(count), &json!(0)), "{job}");
}

fn check_file(client: &Client, job: &Value, count: usize) {
    assert_eq!(job["status"], "completed", "{job}");
    let file = client.fetch(job["downloadUrl"].as_str().unwrap()).text;
    let ids: BTreeSet<_> = file.lines().map(|line| line.split('"').nth(7).unwrap()).collect();
    assert_eq!((ids.len(), file.lines().count()), (count, count), "{job}");
    assert_eq!((&job["totalRecords"], &job["processedRecords"]), (&json!(count), &json!(count)), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_refused_lost_or_come_five_times() {
    let (client, partition) = tenant("mis-messages");
    let mut imports = Vec::new();
    for (name, fate) in [("refused", Fate::Refused), ("lost", Fate::Lost), ("five", Fate::FiveTimes)] {
        imports.push(start(&partition, import(name, 200), fate, 0).await);
    }
    tokio::task::block_in_place(|| {
        swept(|| imports.iter().for_each(|id| check_import(&client.ended(id.as_str()), 200)));
    });
    let mut exports = Vec::new();
    for fate in [Fate::Refused, Fate::Lost, Fate::FiveTimes] {
        exports.push(start(&partition, export(), fate, 0).await);
    }
    tokio::task::block_in_place(|| {
        swept(|| exports.iter().for_each(|id| check_file(&client, &client.ended(id.as_str()), 600)));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_minutes_do_no_harm() {
    let (client, partition) = tenant("mis-clocks");
    // Whoever accepts is two minutes ahead or behind of whoever works.
    for (name, skew) in [("ahead", 120), ("behind", -120)] {
        let id = start(&partition, import(name, 300), Fate::FiveTimes, skew).await;
        tokio::task::block_in_place(|| swept(|| check_import(&client.ended(id.as_str()), 300)));
    }
    // Workers that are ahead or behind look at the same jobs as the deployed ones do: one that is ahead takes
    // leases over that still run, and whoever lost one stops.
    for (name, skew) in [("work-ahead", 120), ("work-behind", -120)] {
        let data = import(name, 3_000);
        let id = start(&partition, data, Fate::FiveTimes, 0).await;
        work_beside(&partition, JobType::Import, &id, skew).await;
        tokio::task::block_in_place(|| swept(|| check_import(&client.ended(id.as_str()), 3_000)));
        let id = start(&partition, export(), Fate::FiveTimes, 0).await;
        work_beside(&partition, JobType::Export, &id, skew).await;
        let count = if skew > 0 { 3_600 } else { 6_600 };
        tokio::task::block_in_place(|| swept(|| check_file(&client, &client.ended(id.as_str()), count)));
    }
}

/// Looks at a job again and again for some seconds.
async fn work_beside(partition: &Partition, job_type: JobType, id: &JobId, skew: i64) {
    let service = skewed(skew).await;
    let worker = service.worker(job_type, service.queue(job_type), ChunkSize::default());
    for _ in 0..6 {
        // Whether it has a part in it is a matter of luck.
        let _delivered = worker.deliver(partition, id, Instant::now() + Duration::from_secs(20)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Denies a role everything about a service for some seconds.
fn deny(role: &str, action: &str, seconds: u32) {
    boto3(&format!(
        "import boto3, json, time
iam = boto3.client('iam')
role = [r['RoleName'] for p in iam.get_paginator('list_roles').paginate() for r in p['Roles'] if '{role}' in r['RoleName']][0]
document = json.dumps({{'Version': '2012-10-17', 'Statement': [{{'Effect': 'Deny', 'Action': '{action}', 'Resource': '*'}}]}})
iam.put_role_policy(RoleName=role, PolicyName='refuse', PolicyDocument=document)
time.sleep({seconds})
iam.delete_role_policy(RoleName=role, PolicyName='refuse')"
    ));
}

#[test]
fn a_store_that_refuses_for_a_while_costs_time_and_nothing_else() {
    let (client, _) = tenant("mis-refusal");
    check_import(&client.imported("Patient", &patients("before", 100)), 100);
    swept(|| {
        std::thread::scope(|scope| {
            let imports = [("RunImportRole", "dynamodb:BatchWriteItem", "table"), ("RunImportRole", "s3:*", "bucket")];
            for (role, action, name) in imports {
                let refusal = scope.spawn(move || deny(role, action, 4));
                std::thread::sleep(Duration::from_millis(1_500));
                check_import(&client.imported("Patient", &patients(name, 100)), 100);
                refusal.join().unwrap();
            }
            for action in ["dynamodb:Query", "s3:*"] {
                let refusal = scope.spawn(move || deny("RunExportRole", action, 4));
                std::thread::sleep(Duration::from_millis(1_500));
                let job = client.ended(&client.export(&["Patient"], None).job_id());
                check_file(&client, &job, 300);
                refusal.join().unwrap();
            }
        });
    });
}
