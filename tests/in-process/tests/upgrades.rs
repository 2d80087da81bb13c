//! Jobs in flight when another version is deployed: what earlier versions wrote is read, and finished.
//!
//! The texts under `formats/` are items as those versions stored them (the attribute `job`, `segment`, or a
//! message's body). They are never changed; a new form gets a new file, and where an old one can no longer be
//! read, a new version number.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeSet;

use domain::ports::{Change, JobStore, RecordStore, Settlement};
use domain::{Job, JobId, JobMessage, JobResult, JobStatus, Segment, Target};
use in_process::{Service, test_partition};
use records::ResourceType;
use tokio::time::Instant;

const JOB: &str = "job_01KF0G8B50ZZZZZZZZZZZZZZZZ";
const RECORDS: usize = 30;

fn job(text: &str) -> Job {
    let job: Job = serde_json::from_str(text).unwrap();
    // As the store finds it: at some revision, and due.
    job.restored(1, Some(Service::at(0)))
}

/// A service in the middle of an export or an import, with records and the import's object.
async fn service() -> Service {
    let service = Service::start().await;
    let schema = ResourceType::Patient.schema().unwrap();
    let mut lines: Vec<_> = (0..RECORDS)
        .map(|n| {
            let line = format!(r#"{{"id":"p-{n}","firstName":"Jane","lastName":"Doe"}}"#);
            schema.scan(line.as_bytes()).unwrap().into_stored("clinic-one", || unreachable!()).unwrap()
        })
        .collect();
    for batch in lines.chunks_mut(25) {
        let written =
            service.memory.write_batch(&test_partition(), ResourceType::Patient, batch, Service::at(-3_600)).await;
        assert!(written.unwrap().unwritten.is_empty());
    }
    let key = serde_json::from_str(&format!("\"imports/clinic-one/test/{JOB}.ndjson\"")).unwrap();
    service.memory.put_object(&key, "{\"firstName\":\"Jane\",\"lastName\":\"Doe\"}\n{}\n");
    service
}

async fn store(service: &Service, job: Job, segments: Vec<Segment>) {
    let change = Change { job: Some(job), segments, settlement: Settlement::None };
    service.memory.update(&test_partition(), &change).await.unwrap();
}

/// Delivers to the job and its segments, as the sweeper would, until it has ended.
async fn ended(service: &Service) -> Job {
    let id: JobId = JOB.parse().unwrap();
    for _ in 0..20 {
        let job = service.job(&id).await;
        if job.has_ended() {
            return job;
        }
        for segment in [None, Some(0), Some(1)] {
            let target = Target { job_id: id.clone(), segment };
            let deadline = Instant::now() + std::time::Duration::from_mins(10);
            let _delivered = service.worker().deliver(&test_partition(), &target, deadline).await.unwrap();
        }
        // Leases of workers that are gone run out.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    }
    panic!("the job does not end");
}

fn has_every_record_once(service: &Service, job: &Job) {
    let file = service.file(job);
    let ids: BTreeSet<_> = file.lines().map(|line| line.split('"').nth(7).unwrap().to_owned()).collect();
    assert_eq!((ids.len(), file.lines().count()), (RECORDS, RECORDS));
}

#[tokio::test(start_paused = true)]
async fn a_job_in_flight_finishes_after_a_deploy() {
    for (name, text) in [
        ("pending import", include_str!("formats/import-pending.json")),
        ("import under a dead worker's lease", include_str!("formats/import-working.json")),
        ("pending export", include_str!("formats/export-pending.json")),
        ("export of before segments, under a dead worker's lease", include_str!("formats/export-working-whole.json")),
        ("export that was being planned", include_str!("formats/export-planning.json")),
    ] {
        let service = service().await;
        store(&service, job(text), Vec::new()).await;
        let job = ended(&service).await;
        assert_eq!(*job.status(), JobStatus::Completed, "{name}");
        match job.result().unwrap() {
            JobResult::Import { fault_count, .. } => {
                assert_eq!((job.progress().succeeded, job.progress().failed, *fault_count), (1, 1, 2), "{name}");
            }
            JobResult::Export { .. } => has_every_record_once(&service, &job),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_in_segments_finishes_after_a_deploy() {
    let service = service().await;
    let job = job(include_str!("formats/export-segments.json"));
    let key = job.plan().unwrap().file.clone();
    // The upload that the plan names.
    let upload = domain::ports::ObjectStore::begin(&service.memory, &test_partition(), &key).await.unwrap();
    assert_eq!(upload, job.plan().unwrap().upload);
    let segments = [include_str!("formats/segment-0.json"), include_str!("formats/segment-1.json")];
    let segments = segments.map(|text| {
        let segment: Segment = serde_json::from_str(text).unwrap();
        segment.restored(1, Some(Service::at(0)))
    });
    store(&service, job, segments.to_vec()).await;
    let job = ended(&service).await;
    assert_eq!(*job.status(), JobStatus::Completed);
    has_every_record_once(&service, &job);
}

#[test]
fn messages_on_their_way_are_understood() {
    let partition = test_partition();
    for (text, segment) in
        [(include_str!("formats/message-job.json"), None), (include_str!("formats/message-segment.json"), Some(1))]
    {
        let message = JobMessage::decode(text.trim()).unwrap();
        assert_eq!((message.partition, message.target.segment), (partition.clone(), segment));
    }
}

/// What this version writes is what the newest files hold: a change of the form is seen here, and decided.
#[test]
fn the_form_has_not_changed_unnoticed() {
    for text in [
        include_str!("formats/import-pending.json"),
        include_str!("formats/import-working.json"),
        include_str!("formats/export-pending.json"),
        include_str!("formats/export-planning.json"),
        include_str!("formats/export-segments.json"),
    ] {
        let (stored, again) = (serde_json::from_str::<serde_json::Value>(text).unwrap(), job(text));
        assert_eq!(serde_json::to_value(again).unwrap(), stored);
    }
    for text in [include_str!("formats/segment-0.json"), include_str!("formats/segment-1.json")] {
        let stored: serde_json::Value = serde_json::from_str(text).unwrap();
        let again: Segment = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), stored);
    }
}
