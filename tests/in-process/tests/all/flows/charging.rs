//! What a cancelled import costs: whatever may be stored of it.

use std::sync::Arc;
use std::time::Duration;

use api::JobManager;
use engine::{Delivery, ImportWorker};
use in_process::jobs::{caller, deliver, import_of_upload, patients};
use in_process::network::{Fate, Network, Operation, Weather};
use in_process::{Service, test_partition};
use model::{FailureReason, JobId, JobState, ObjectKey, Plan};
use records::ResourceType;

use super::{deliver_for, with_jobs, worker_with};
use crate::metrics::Metrics;

#[tokio::test(start_paused = true)]
async fn what_an_earlier_worker_had_begun_stays_charged() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(600)).await;
    // The first group is refused for good, the five behind it are stored: the watermark stays at the beginning.
    let script = [vec![Fate::Refused; 4], vec![Fate::Good; 20]].concat().into_iter();
    let script = script.chain(std::iter::repeat(Fate::Refused));
    let first = Network::scripted(&service.memory, Operation::WriteBatch, script);
    assert_eq!(deliver(&worker_with(&service, first), &id).await, Delivery::Deferred);
    let stored = service.memory.count_records(&test_partition(), ResourceType::Patient) as u64;
    assert!(stored > 100 && service.job(&id).await.progress().processed == 0, "{stored} are stored");
    let charged = charged_when_cancelled(&service, &id).await;
    assert!(charged >= stored, "{stored} stored, {charged} charged");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_may_have_written_stays_charged() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(1_200)).await;
    // It dies before its first progress is written, and while writes are on their way; they arrive all the same. Its
    // successor begins half of what is stored.
    let script = [[Fate::Good; 24], [Fate::Late(Duration::from_secs(2)); 24]].concat();
    let first = Network::scripted(&service.memory, Operation::WriteBatch, script);
    let killed = deliver_for(&worker_with(&service, first), &id, Duration::from_millis(500)).await;
    assert!(killed.is_err(), "it was killed");
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(service.memory.count_records(&test_partition(), ResourceType::Patient), 1_200);
    assert_eq!(charged_when_cancelled(&service, &id).await, 1_200);
}

#[tokio::test(start_paused = true)]
async fn what_is_begun_when_the_upload_changes_stays_charged() {
    let service = Service::start().await;
    let (upload, _) = service.uploader().create(&caller(Plan::Pro), 100).await.unwrap();
    let key = ObjectKey::upload(&test_partition(), &upload);
    service.memory.put_object(&key, patients(3_000));
    let id = service.begin(&caller(Plan::Pro), import_of_upload(upload)).await;
    let network = Network::new(&service.memory, 7, Weather::STILL);
    let slow = Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Late(Duration::from_millis(400)); 24]);
    let worker = ImportWorker { objects: Arc::new(network.clone()), ..worker_with(&service, slow) };
    // Before the first progress is written the body breaks, and the upload is another.
    let changed = async {
        while !service.job(&id).await.is_counted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.memory.put_object(&key, patients(2_999));
        network.set(Weather { broken_bodies: 1_000, ..Weather::STILL });
    };
    let (delivery, ()) = tokio::join!(deliver(&worker, &id), changed);
    assert_eq!(delivery, Delivery::Done);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let job = service.job(&id).await;
    assert_eq!(job.state(), &JobState::Failed(FailureReason::UploadChanged));
    let stored = service.memory.count_records(&test_partition(), ResourceType::Patient) as u64;
    assert!(stored > 0 && job.charged() >= stored, "{stored} stored, {} charged", job.charged());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_given_back_is_told() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(1_200)).await;
    let told = Metrics::told();
    let hangs = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Hangs));
    let jobs = Network::scripted(&service.memory, Operation::Settle, std::iter::repeat(Fate::Denied));
    let worker = with_jobs(worker_with(&service, hangs), jobs);
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        manager(&service).cancel(&test_partition(), &id).await.unwrap();
    };
    let (delivery, ()) = tokio::join!(deliver(&worker, &id), cancelled);
    assert_eq!((delivery, told.count("service_defects=1")), (Delivery::AlreadyEnded, 1));
}

fn manager(service: &Service) -> JobManager {
    let memory = Arc::new(service.memory.clone());
    let driver = service.import_worker().driver;
    JobManager { jobs: memory.clone(), files: memory, clock: driver.clock, ids: driver.ids }
}

/// What is charged for an import that is cancelled while its next worker is at its first group.
async fn charged_when_cancelled(service: &Service, id: &JobId) -> u64 {
    let hanging = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Hangs));
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        manager(service).cancel(&test_partition(), id).await.unwrap();
    };
    let worker = worker_with(service, hanging);
    let (delivery, ()) = tokio::join!(deliver(&worker, id), cancelled);
    assert_eq!(delivery, Delivery::AlreadyEnded);
    service.job(id).await.charged()
}
