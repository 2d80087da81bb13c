//! Jobs from start to end on in-memory ports, with luck and without. Time is paused: it moves when
//! everything waits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

mod charging;
mod lost_answers;
mod sweeping;
mod usage_away;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use api::{ExportStarter, JobAcceptor, JobFilter, JobLister};
use engine::{Delivery, ExportWorker, ImportWorker, JobDriver, JobWorker};
use in_process::jobs::{caller, deliver, export_of, patients};
use in_process::network::{Fate, Network, Operation};
use in_process::{Service, test_partition};
use model::{Event, FailureReason, JobId, JobState, Plan, Release, Settlement, Timings};
use ports::JobStore;
use records::ResourceType;
use testing::Memory;
use tokio::time::Instant;

/// Delivers, and kills the processor when the time is over.
async fn deliver_for(
    worker: &dyn JobWorker,
    id: &JobId,
    time: Duration,
) -> Result<Delivery, tokio::time::error::Elapsed> {
    tokio::time::timeout(time, deliver(worker, id)).await
}

/// A queue that takes no message.
fn dead_queue() -> Arc<Network> {
    Network::scripted(&Memory::new(), Operation::Send, std::iter::repeat(Fate::Refused))
}

/// A queue that never answers.
fn hanging_queue() -> Arc<Network> {
    Network::scripted(&Memory::new(), Operation::Send, std::iter::repeat(Fate::Hangs))
}

/// How many batches were sent, and how many records in them.
fn sent(network: &Network) -> (u64, u64) {
    (network.seen().batches, network.seen().records)
}

fn worker_with(service: &Service, records: Arc<Network>) -> ImportWorker {
    ImportWorker { records, ..service.import_worker() }
}

fn with_jobs(worker: ImportWorker, jobs: Arc<Network>) -> ImportWorker {
    ImportWorker { driver: JobDriver { jobs, ..worker.driver }, ..worker }
}

/// A worker of exports for which each page takes so long, in time slices of so long.
fn slow_export_worker(service: &Service, page: Duration, time_slice: Duration) -> ExportWorker {
    let late = std::iter::repeat(Fate::Late(page));
    let records = Network::scripted(&service.memory, Operation::ReadRecords, late);
    let worker = ExportWorker { records, ..service.export_worker() };
    let timings = Timings { time_slice, ..worker.driver.timings };
    ExportWorker { driver: JobDriver { timings, ..worker.driver }, ..worker }
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_comes_out() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(1_000)).await;
    assert_eq!(service.job(&id).await.state(), &JobState::Pending);
    service.work().await;
    let job = service.job(&id).await;
    assert_eq!(job.state().name(), "completed");
    assert_eq!((job.progress().succeeded, job.progress().failed), (1_000, 0));
    let lines = service.exported().await;
    assert_eq!(lines.len(), 1_000);
    assert!(lines.iter().all(|line| line.contains(r#""code":"clinic-one""#)));
    assert_eq!(service.memory.open_multiparts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_export_is_one_file_of_many_parts() {
    let service = Service::start().await;
    let note = "x".repeat(50_000);
    let lines: String =
        (0..500).map(|n| format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\",\"note\":\"{note}\"}}\n")).collect();
    service.begin_import(&lines).await;
    service.work().await;
    assert_eq!(service.exported().await.len(), 500);
    assert_eq!(service.memory.open_multiparts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_twice_changes_nothing() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let worker = service.import_worker();
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    let after_first = service.job(&id).await;
    assert_eq!(deliver(&worker, &id).await, Delivery::AlreadyEnded);
    assert_eq!(service.job(&id).await, after_first);
    assert_eq!(service.exported().await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn of_two_processors_one_gets_the_job() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let (one, two) = (service.import_worker(), service.import_worker());
    let (first, second) = tokio::join!(deliver(&one, &id), deliver(&two, &id));
    let mut outcomes = [first, second];
    outcomes.sort_by_key(|outcome| *outcome != Delivery::Done);
    assert_eq!(outcomes[0], Delivery::Done);
    assert!(matches!(outcomes[1], Delivery::Busy | Delivery::AlreadyEnded), "{outcomes:?}");
    assert_eq!(service.exported().await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_dead_worker_s_job_is_taken_over_after_its_lease_and_goes_on_where_it_stopped() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(1_000)).await;
    let _first_message = service.memory.take_messages();
    // Five groups of four batches are written, then the store hangs, and the process dies a little later.
    let mut script = vec![Fate::Good; 20];
    script.extend([Fate::Hangs; 20]);
    let dying = worker_with(&service, Network::scripted(&service.memory, Operation::WriteBatch, script));
    let died = deliver_for(&dying, &id, Duration::from_secs(25)).await;
    assert!(died.is_err());
    let left = service.job(&id).await;
    assert_eq!(left.progress().processed, 500, "the renewal told how far it was");

    let healthy = Network::scripted(&service.memory, Operation::WriteBatch, []);
    assert_eq!(deliver(&worker_with(&service, healthy.clone()), &id).await, Delivery::Busy);
    assert_eq!(service.sweep().await.redriven, 0, "a live lease is not touched");
    tokio::time::advance(Duration::from_secs(70)).await;
    let swept = service.sweep().await;
    assert_eq!(swept.redriven, 1);
    assert_eq!(service.memory.take_messages().len(), 1);
    assert_eq!(deliver(&worker_with(&service, healthy.clone()), &id).await, Delivery::Done);
    assert_eq!(sent(&healthy), (20, 500), "what was written is not written again");
    let job = service.job(&id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (1_000, 0));
    assert_eq!(service.exported().await.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_kill_repeats_no_more_than_was_written_since_the_last_progress() {
    // Each batch takes 200 ms, and six groups of a hundred are under way: 3,000 records a second.
    let slow = |service: &Service| {
        Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Late(Duration::from_millis(200)); 400])
    };
    for milliseconds in [150, 900, 1_250, 1_990, 2_010, 3_100] {
        let service = Service::start().await;
        let id = service.begin_import(&patients(10_000)).await;
        let first = slow(&service);
        let dying = worker_with(&service, first.clone());
        assert!(deliver_for(&dying, &id, Duration::from_millis(milliseconds)).await.is_err(), "it was killed");
        let told = service.job(&id).await.progress().processed;
        tokio::time::advance(Duration::from_secs(70)).await;
        let second = slow(&service);
        assert_eq!(deliver(&worker_with(&service, second.clone()), &id).await, Delivery::Done);
        let written = service.memory.count_records(&test_partition(), ResourceType::Patient);
        assert_eq!(written, 10_000);
        // A second's worth, and what was under way.
        let repeated = sent(&first).1 + sent(&second).1 - written as u64;
        assert!(repeated <= 3_000 + 6 * 100, "killed after {milliseconds} ms at {told}: {repeated} again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_lost_its_lease_stops_by_itself() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(100)).await;
    let hanging = worker_with(&service, Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Hangs; 8]));
    let usual = service.import_worker();
    let taken_over = async {
        // The first processor is cut off from the jobs' store, and does not know it.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let stolen = service.job(&id).await;
        let expired = stolen.apply(
            Event::Released {
                token: stolen.lease().unwrap().token.clone(),
                due_at: Service::at(5),
                why: Release::Yielded,
                progress: stolen.progress(),
                checkpoint: None,
            },
            Service::at(5),
        );
        service.memory.update(&test_partition(), &expired.unwrap(), &Settlement::None).await.unwrap();
        deliver(&usual, &id).await
    };
    let (first, second) = tokio::join!(deliver(&hanging, &id), taken_over);
    assert_eq!((first, second), (Delivery::AlreadyEnded, Delivery::Done));
    assert_eq!(service.exported().await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_long_import_keeps_its_lease() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(25)).await;
    let slow = worker_with(&service, Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Hangs]));
    let (outcome, ()) = tokio::join!(deliver_for(&slow, &id, Duration::from_mins(5)), async {
        for _ in 0..28 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Busy);
        }
    });
    assert!(outcome.is_err(), "it was at it all the time");
}

#[tokio::test(start_paused = true)]
async fn unwritten_records_are_written_again_and_only_those() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(100)).await;
    let faults = [Fate::Partial, Fate::Throttled, Fate::AnswerLost, Fate::Partial, Fate::Good, Fate::Partial];
    let records = Network::scripted(&service.memory, Operation::WriteBatch, faults);
    assert_eq!(deliver(&worker_with(&service, records), &id).await, Delivery::Done);
    assert_eq!(service.job(&id).await.progress().succeeded, 100);
    assert_eq!(service.exported().await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn the_largest_records_are_written_though_each_of_their_bytes_is_two_on_the_wire() {
    let service = Service::start().await;
    let note = r#"\""#.repeat(189_000);
    let lines: String =
        (0..60).map(|n| format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\",\"note\":\"{note}\"}}\n")).collect();
    let id = service.begin_import(&lines).await;
    let records = Network::scripted(&service.memory, Operation::WriteBatch, []);
    assert_eq!(deliver(&worker_with(&service, records.clone()), &id).await, Delivery::Done);
    assert_eq!(service.job(&id).await.progress().succeeded, 60);
    assert_eq!(sent(&records).1, 60, "none was refused");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_defers_the_job_and_does_not_fail_it() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(50)).await;
    let _message = service.memory.take_messages();
    let down = Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Throttled; 1_000]);
    assert_eq!(deliver(&worker_with(&service, down), &id).await, Delivery::Deferred);
    let deferred = service.job(&id).await;
    assert_eq!(deferred.deferrals(), 1);
    assert!(!deferred.has_ended());
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(service.sweep().await.redriven, 1);
    service.work().await;
    assert_eq!(service.job(&id).await.progress().succeeded, 50);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_sent_is_sent_by_the_sweeper() {
    let service = Service::start().await;
    let queues: [Arc<dyn ports::JobQueue>; 2] = [dead_queue(), hanging_queue()];
    for queue in queues {
        let starter = ExportStarter { acceptor: JobAcceptor { queue, ..service.acceptor() } };
        let began = Instant::now();
        let accepted = starter.start(&caller(Plan::Pro), &export_of(ResourceType::Patient)).await.unwrap();
        assert!(began.elapsed() <= Duration::from_secs(2), "the answer does not wait for the queue");
        assert!(service.memory.take_messages().is_empty());
        assert_eq!(service.sweep().await.redriven, 1);
        service.work().await;
        assert!(service.job(&accepted.job_id).await.has_ended());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_lost_is_redriven_after_five_minutes() {
    let service = Service::start().await;
    let id = service.begin_export().await;
    let _lost = service.memory.take_messages();
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(service.sweep().await.redriven, 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(service.sweep().await.redriven, 1);
    assert_eq!(service.sweep().await.redriven, 0, "it was moved on");
    service.work().await;
    assert!(service.job(&id).await.has_ended());
    tokio::time::advance(Duration::from_secs(10_000)).await;
    assert_eq!(service.sweep().await.redriven, 0, "an ended job is never due");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_too_old_fails_and_gives_its_requests_back() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(10)).await;
    assert_eq!(service.used().await, 10);
    let _lost = service.memory.take_messages();
    tokio::time::advance(Timings::default().max_age + Duration::from_secs(1)).await;
    assert_eq!(service.sweep().await.redriven, 1);
    service.work().await;
    assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::TooOld));
    assert_eq!(service.used().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_processors_die_again_and_again_fails() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(10)).await;
    for _ in 0..5 {
        let dying = worker_with(&service, Network::scripted(&service.memory, Operation::WriteBatch, [Fate::Hangs]));
        let died = deliver_for(&dying, &id, Duration::from_secs(10)).await;
        assert!(died.is_err());
        tokio::time::advance(Duration::from_secs(70)).await;
    }
    assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done, "this one writes the failure");
    assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::AttemptsExhausted));
}

#[tokio::test(start_paused = true)]
async fn an_import_whose_data_is_gone_fails_with_a_reason() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(10)).await;
    for key in service.memory.object_keys() {
        service.memory.remove_object(&key);
    }
    service.work().await;
    assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::SourceMissing));
}

#[tokio::test(start_paused = true)]
async fn near_its_deadline_a_processor_yields_and_a_fresh_one_goes_on() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(500)).await;
    let _first = service.memory.take_messages();
    let worker = service.import_worker();
    let now = worker.deliver(&test_partition(), &id, Instant::now()).await.unwrap();
    assert_eq!(now, Delivery::Yielded);
    assert_eq!(service.memory.take_messages().len(), 1);
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    assert_eq!(service.exported().await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn one_write_that_fails_hardly_slows_an_import() {
    let latency = Fate::Late(Duration::from_millis(10));
    let time_of = async |faults: &[(usize, Fate)]| {
        let service = Service::start().await;
        let id = service.begin_import(&patients(10_000)).await;
        let mut script = vec![latency; 500];
        for (index, fault) in faults {
            script[*index] = *fault;
        }
        let began = Instant::now();
        let worker = worker_with(&service, Network::scripted(&service.memory, Operation::WriteBatch, script));
        assert_eq!(deliver(&worker, &id).await, Delivery::Done);
        began.elapsed().as_millis()
    };
    let undisturbed = time_of(&[]).await;
    for index in [0, 7, 399] {
        for fault in [Fate::Refused, Fate::AnswerLost, Fate::Partial, Fate::Throttled] {
            let disturbed = time_of(&[(index, fault)]).await;
            assert!(disturbed < undisturbed + 400, "{fault:?} at {index}: {disturbed} instead of {undisturbed} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_pages_defer_no_export() {
    let service = Service::start().await;
    service.begin_import(&patients(2_000)).await;
    service.work().await;
    let id = service.begin_export().await;
    let records =
        Network::scripted(&service.memory, Operation::ReadRecords, [Fate::Throttled, Fate::Good].into_iter().cycle());
    let worker = ExportWorker { records: records.clone(), ..service.export_worker() };
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    let job = service.job(&id).await;
    assert_eq!((job.progress().total, job.deferrals()), (2_000, 0));
    assert_eq!(service.file(&job).lines().count(), 2_000);
    assert!(records.seen().reads > 2 * 16, "16 shards are read, each refused once at least");
}

#[tokio::test(start_paused = true)]
async fn a_list_looks_at_so_many_jobs_at_most_that_are_no_more() {
    let service = Service::start().await;
    for _ in 0..1_100 {
        service.begin_export().await;
        tokio::time::advance(Duration::from_hours(1)).await;
    }
    tokio::time::advance(Duration::from_hours(24 * 30)).await;
    let JobDriver { jobs, clock, .. } = service.export_worker().driver;
    let lister = JobLister { jobs, clock };
    let first = lister.list(&test_partition(), &JobFilter::default(), None, 1).await.unwrap();
    assert!(first.jobs.is_empty() && first.next.is_some(), "it goes on with the next call: {:?}", first.next);
}
