//! Writes that have their effect while their answers are lost: what follows such a write happens all the same, once.

use std::sync::Arc;
use std::time::Duration;

use api::{JobManager, ManageJobError};
use engine::{Delivery, ExportWorker, ImportWorker, JobDriver, JobWorker, Sweeper};
use in_process::jobs::{deliver, patients};
use in_process::network::{Death, Fate, Network, Operation, Weather};
use in_process::{Service, test_partition};
use model::{ChunkSize, FailureReason, JobId, JobState, ObjectKey};
use tokio::time::Instant;

use super::{dead_queue, deliver_for, with_jobs, worker_with};
use crate::metrics::Metrics;

/// What cancels and deletes jobs, on calls about jobs that go as the script says.
fn manager(service: &Service, script: impl IntoIterator<Item = Fate, IntoIter: Send + 'static>) -> JobManager {
    let JobDriver { files, clock, ids, .. } = service.import_worker().driver;
    JobManager { jobs: Network::scripted(&service.memory, Operation::Job, script), files, clock, ids }
}

/// An export that a worker has left with chunks, and nobody works on.
async fn left_with_files(service: &Service) -> JobId {
    service.begin_import(&patients(2_000)).await;
    service.work().await;
    let id = service.begin_export().await;
    let dies = Network::new(&service.memory, 7, Weather::STILL).for_process(Some((Death::Complete, false)));
    let (chunk_size, multipart) = (ChunkSize::new(10_000), Arc::new(dies));
    let worker = ExportWorker { chunk_size, multipart, ..service.export_worker() };
    deliver_for(&worker, &id, Duration::from_secs(30)).await.unwrap_err();
    tokio::time::advance(Duration::from_mins(2)).await;
    id
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_told_once_and_clears_the_files_away() {
    // A look, the write, and what is tried after it.
    for script in [
        vec![Fate::Good, Fate::Good],
        vec![Fate::Good, Fate::AnswerLost],
        vec![Fate::Good, Fate::AnswerLost, Fate::Refused],
        vec![Fate::Refused, Fate::Good, Fate::Refused, Fate::Good, Fate::AnswerLost],
    ] {
        let service = Service::start().await;
        let id = left_with_files(&service).await;
        let is_file = |key: &ObjectKey| key.as_str().contains(id.as_str());
        assert!(service.memory.object_keys().iter().any(is_file));
        let told = Metrics::told();
        let cancelled = manager(&service, script.clone()).cancel(&test_partition(), &id).await.unwrap();
        assert_eq!(cancelled.state(), &JobState::Failed(FailureReason::Cancelled));
        assert_eq!(told.count("jobs_failed=1"), 1, "{script:?}");
        assert!(!service.memory.object_keys().iter().any(is_file), "{script:?}: its files are cleared away");
        manager(&service, []).cancel(&test_partition(), &id).await.unwrap();
        assert_eq!(told.count("jobs_failed=1"), 0, "who says it again changes nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clearing_that_fails_is_left_to_the_sweeper() {
    for fate in [Fate::Refused, Fate::Denied] {
        let service = Service::start().await;
        let id = left_with_files(&service).await;
        manager(&service, []).cancel(&test_partition(), &id).await.unwrap();
        tokio::time::advance(Duration::from_mins(11)).await;
        let told = Metrics::told();
        let files = Network::scripted(&service.memory, Operation::Objects, std::iter::repeat(fate));
        let worker = service.export_worker();
        let worker = ExportWorker { driver: JobDriver { files, ..worker.driver }, ..worker };
        assert_eq!(deliver(&worker, &id).await, Delivery::Deferred, "{fate:?}: its message is done");
        assert_eq!(told.count("jobs_deferred=1"), 1, "{fate:?}");
        assert!(service.job(&id).await.due_at().is_some(), "{fate:?}: it stays due");
        assert_eq!(deliver(&service.export_worker(), &id).await, Delivery::Cleared);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_one() {
    for script in [
        vec![Fate::Good, Fate::AnswerLost],
        vec![Fate::Good, Fate::AnswerLost, Fate::Refused],
        vec![Fate::Good, Fate::Refused],
    ] {
        for has_leftovers in [true, false] {
            let service = Service::start().await;
            let id = if has_leftovers { left_with_files(&service).await } else { service.begin_export().await };
            manager(&service, []).cancel(&test_partition(), &id).await.unwrap();
            assert_eq!(service.job(&id).await.due_at().is_some(), has_leftovers);
            let deleted = manager(&service, script.clone()).delete(&test_partition(), &id).await;
            assert_eq!(deleted.unwrap().id(), &id, "{script:?}, {has_leftovers}");
            let again = manager(&service, []).delete(&test_partition(), &id).await;
            assert!(matches!(again, Err(ManageJobError::NotFound)), "{script:?}, {has_leftovers}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_stored_is_told_when_the_lease_ends_first() {
    let service = Service::start().await;
    let told = Metrics::told();
    let id = service.begin_import(&patients(30)).await;
    let network = Arc::new(Network::new(&service.memory, 7, Weather::FAIR));
    let slow = Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Late(Duration::from_secs(2))]);
    let worker = with_jobs(worker_with(&service, slow), network.clone());
    // While it writes, and for longer than its lease, nothing is heard of the table of jobs.
    let silence = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.set(Weather { answer_lost: 1_000, ..Weather::FAIR });
        tokio::time::sleep(Duration::from_secs(62)).await;
        network.set(Weather::FAIR);
    };
    let (delivery, ()) = tokio::join!(deliver(&worker, &id), silence);
    assert_eq!(service.job(&id).await.progress().succeeded, 30, "{delivery:?}");
    let metrics = told.take();
    let count = |text: &str| metrics.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("jobs_completed=1"), 1, "{metrics:?}");
    assert_eq!(count("jobs_deferred=1"), 1, "the silence is told, too: {metrics:?}");
}

#[tokio::test(start_paused = true)]
async fn a_time_slice_that_ends_in_silence_goes_on_all_the_same() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let _first = service.memory.take_messages();
    // Neither the message can be sent, nor the job be marked: read, acquired, released, and no more.
    let script = std::iter::repeat_n(Fate::Good, 3).chain(std::iter::repeat(Fate::Refused));
    let jobs = Network::scripted(&service.memory, Operation::Job, script);
    let worker = service.import_worker();
    let worker = ImportWorker { driver: JobDriver { jobs, queue: dead_queue(), ..worker.driver }, ..worker };
    let told = Metrics::told();
    let now = Instant::now();
    assert!(worker.deliver(&test_partition(), &id, now).await.is_err(), "its message comes again");
    assert_eq!(told.count("jobs_deferred=1"), 1);
    // It is released, the answer is lost, and the table is silent until the lease has ended.
    let script = [Fate::Good, Fate::Good, Fate::AnswerLost].into_iter().chain(std::iter::repeat_n(Fate::Hangs, 19));
    let jobs = Network::scripted(&service.memory, Operation::Job, script);
    let worker = with_jobs(service.import_worker(), jobs);
    let delivery = worker.deliver(&test_partition(), &id, Instant::now()).await.unwrap();
    assert_eq!((delivery, service.memory.take_messages().len()), (Delivery::Yielded, 1));
    assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done);
    assert_eq!(service.job(&id).await.progress().succeeded, 30);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_is_told_at_once() {
    let service = Service::start().await;
    let told = Metrics::told();
    let _id = service.begin_export().await;
    tokio::time::advance(Duration::from_mins(10)).await;
    let refuses = Network::scripted(&service.memory, Operation::Send, std::iter::repeat(Fate::Denied));
    let sweeper = Sweeper { exports: refuses, ..service.sweeper() };
    let swept = sweeper.sweep(Instant::now() + Duration::from_mins(1)).await;
    assert_eq!((swept.errors, told.count("service_defects=1")), (1, 1));
    let sweeper = Sweeper { exports: dead_queue(), ..service.sweeper() };
    tokio::time::advance(Duration::from_mins(1)).await;
    let swept = sweeper.sweep(Instant::now() + Duration::from_mins(1)).await;
    assert_eq!((swept.errors, told.count("service_defects=1")), (1, 0), "what passes by itself pages nobody");
}

#[tokio::test(start_paused = true)]
async fn a_time_slice_of_an_import_without_an_advance_is_a_deferral() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let hangs = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Hangs));
    let told = Metrics::told();
    let worker = worker_with(&service, hangs);
    assert_eq!(deliver(&worker, &id).await, Delivery::Deferred);
    assert_eq!(told.count("jobs_deferred=1 deferrals_in_a_row=1"), 1);
    service.work().await;
}
