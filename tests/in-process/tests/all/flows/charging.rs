//! What a cancelled import costs: whatever may be stored of it.

use std::sync::Arc;
use std::time::Duration;

use api::JobManager;
use engine::Delivery;
use in_process::jobs::{deliver, patients};
use in_process::network::{Fate, Network, Operation};
use in_process::{Service, test_partition};
use model::JobId;
use records::ResourceType;

use super::{deliver_for, worker_with};

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

/// What is charged for an import that is cancelled while its next worker is at its first group.
async fn charged_when_cancelled(service: &Service, id: &JobId) -> u64 {
    let hanging = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Hangs));
    let memory = Arc::new(service.memory.clone());
    let driver = service.import_worker().driver;
    let manager = JobManager { jobs: memory.clone(), files: memory, clock: driver.clock, ids: driver.ids };
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        manager.cancel(&test_partition(), id).await.unwrap();
    };
    let worker = worker_with(service, hanging);
    let (delivery, ()) = tokio::join!(deliver(&worker, id), cancelled);
    assert_eq!(delivery, Delivery::AlreadyEnded);
    service.job(id).await.charged()
}
