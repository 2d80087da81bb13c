//! Dependencies that are down, silent or wrong: what waits says so, and what hangs holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use api::ExportRequest;
use engine::{Delivery, ExportWorker, ImportWorker, JobDriver, JobWorker};
use in_process::jobs::{caller, deliver, export_of, patients};
use in_process::network::{Dependency, Fate, Network, Operation, Weather};
use in_process::{Service, test_partition};
use model::{ChunkSize, ExportSpec, FailureReason, JobSpec, JobState, Plan};
use records::ResourceType;
use tokio::time::Instant;

use super::{slow_export_worker, with_jobs, worker_with};
use crate::metrics::Metrics;

/// Workers of the service behind a network that is fair but for what a test does to it.
fn networked(service: &Service, network: &Network) -> (ImportWorker, ExportWorker) {
    let network = Arc::new(network.clone());
    let driver = JobDriver {
        jobs: network.clone(),
        queue: network.clone(),
        files: network.clone(),
        ..service.import_worker().driver
    };
    let (objects, multipart) = (network.clone(), network.clone());
    let import = ImportWorker { driver: driver.clone(), records: network.clone(), objects, multipart };
    let (objects, multipart) = (network.clone(), network.clone());
    let chunk_size = ChunkSize::new(5 << 20);
    (import, ExportWorker { driver, records: network, objects, multipart, chunk_size })
}

#[tokio::test(start_paused = true)]
async fn half_a_minute_without_an_answer_costs_no_lease() {
    let dependencies = [Dependency::Jobs, Dependency::Records, Dependency::Objects];
    // The lease is renewed 20 s after it was acquired: the silence begins before, at and after that.
    for (dependency, after) in dependencies.into_iter().flat_map(|of| [0, 3, 19, 20, 21].map(|after| (of, after))) {
        let service = Service::start().await;
        let network = Network::new(&service.memory, 7, Weather::FAIR);
        let (import, _) = networked(&service, &network);
        let id = service.begin_import(&patients(2_000)).await;
        // A store that takes ten minutes for all, so that the lease has to be renewed again and again.
        let slow =
            Network::scripted(&service.memory, Operation::WriteBatch, vec![Fate::Late(Duration::from_secs(4)); 80]);
        let import = if dependency == Dependency::Records { import } else { ImportWorker { records: slow, ..import } };
        let began = Instant::now();
        let silence = async {
            tokio::time::sleep(Duration::from_secs(after)).await;
            network.hang(dependency, Instant::now() + Duration::from_secs(30));
        };
        let (delivery, ()) = tokio::join!(deliver(&import, &id), silence);
        assert_eq!(delivery, Delivery::Done, "{dependency:?} after {after} s");
        let job = service.job(&id).await;
        assert_eq!(job.progress().succeeded, 2_000, "{dependency:?} after {after} s, {:?}", began.elapsed());
        assert_eq!(job.due_at(), None, "no worker has taken it over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_of_the_job_that_hangs_delays_no_other_call() {
    let service = Service::start().await;
    let network = Network::new(&service.memory, 7, Weather::FAIR);
    let (import, _) = networked(&service, &network);
    let id = service.begin_import(&patients(5_000)).await;
    let acquired = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.hang(Dependency::Jobs, Instant::now() + Duration::from_secs(30));
        tokio::time::sleep(Duration::from_secs(20)).await;
        service.memory.count_records(&test_partition(), ResourceType::Patient)
    };
    let (delivery, written) = tokio::join!(deliver(&import, &id), acquired);
    assert_eq!((delivery, written), (Delivery::Done, 5_000), "all was written while the table of jobs was silent");
}

#[tokio::test(start_paused = true)]
async fn a_store_of_files_that_does_not_answer_is_a_deferral_and_no_time_slice() {
    let service = Service::start().await;
    service.begin_import(&patients(300)).await;
    service.work().await;
    let network = Network::new(&service.memory, 7, Weather::FAIR);
    let (_, export) = networked(&service, &network);
    let export = ExportWorker { chunk_size: ChunkSize::new(1_500), ..export };
    let id = service.begin_export().await;
    network.hang(Dependency::Objects, Instant::now() + Duration::from_hours(1));
    assert_eq!(deliver(&export, &id).await, Delivery::Deferred);
    assert_eq!(service.job(&id).await.deferrals(), 1);
}

/// A store in which the promise of a job is broken: its source has fewer lines than were counted.
#[tokio::test(start_paused = true)]
async fn a_defective_job_fails_after_three_tries() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let before = service.used().await;
    let JobSpec::Import { source, .. } = service.job(&id).await.spec().clone() else { panic!("an import") };
    service.memory.put_object(source.key(), patients(29));
    for deferrals in 1..3 {
        assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Deferred);
        assert_eq!(service.job(&id).await.deferrals(), deferrals);
    }
    assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done);
    let job = service.job(&id).await;
    assert_eq!(job.state(), &JobState::Failed(FailureReason::InternalError));
    assert_eq!(service.used().await, before - 30, "its requests come back");
}

#[tokio::test(start_paused = true)]
async fn whatever_waits_says_so() {
    let told = Metrics::told();
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    for in_a_row in 1..=3 {
        let down = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Refused));
        assert_eq!(deliver(&worker_with(&service, down), &id).await, Delivery::Deferred);
        let metrics = told.take();
        let expected = format!("cause=\"unavailable\" jobs_deferred=1 deferrals_in_a_row={in_a_row} service_defects=0");
        assert!(metrics.iter().any(|metric| metric.contains(&expected)), "{metrics:?}");
    }
    // A table of jobs that is away: the job cannot even be looked at, and the message comes again.
    let network = Network::new(&service.memory, 7, Weather { refused: 1_000, ..Weather::FAIR });
    let (import, _) = networked(&service, &network);
    let deadline = Instant::now() + Duration::from_hours(1);
    assert!(import.deliver(&test_partition(), &id, deadline).await.is_err());
    let metrics = told.take();
    assert!(metrics.iter().any(|metric| metric.contains("jobs_deferred=1")), "{metrics:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deferral_that_cannot_be_written_is_told_once() {
    let service = Service::start().await;
    let id = service.begin_import(&patients(30)).await;
    let told = Metrics::told();
    let down = Network::scripted(&service.memory, Operation::WriteBatch, std::iter::repeat(Fate::Denied));
    // Read and acquired; then the table of jobs is silent until the lease has ended.
    let script = [Fate::Good, Fate::Good].into_iter().chain(std::iter::repeat(Fate::Refused));
    let jobs = Network::scripted(&service.memory, Operation::Job, script);
    let worker = with_jobs(worker_with(&service, down), jobs);
    assert_eq!(deliver(&worker, &id).await, Delivery::LeaseLost);
    assert_eq!(told.count("jobs_deferred=1"), 1);
}

/// A shard in which nothing is new takes as long to read as any other.
#[tokio::test(start_paused = true)]
async fn an_export_that_reads_much_and_keeps_nothing_is_not_deferred() {
    let service = Service::start().await;
    let _id = service.begin_import(&patients(300)).await;
    service.work().await;
    tokio::time::advance(Duration::from_hours(24 * 200)).await;
    // Older than the log reaches: all records are read, and none is of then.
    let since = Some(Service::at(86_400));
    let spec = ExportSpec { since, ..export_of(ResourceType::Patient).spec };
    let request = ExportRequest { spec, ..export_of(ResourceType::Patient) };
    let id = service.export_starter().start(&caller(Plan::Pro), &request).await.unwrap().job_id;
    let worker = slow_export_worker(&service, Duration::from_secs(8), Duration::from_secs(12));
    let mut deliveries = Vec::new();
    while deliveries.last() != Some(&Delivery::Done) && deliveries.len() < 40 {
        deliveries.push(deliver(&worker, &id).await);
    }
    assert_eq!(deliveries.pop(), Some(Delivery::Done));
    assert!(deliveries.len() > 1 && deliveries.iter().all(|one| *one == Delivery::Yielded), "{deliveries:?}");
}

/// A worker that has nothing left to do does not wait for a timer to tell it so: whatever the size, a job on stores that
/// answer at once takes no time of the (paused) clock.
#[tokio::test(start_paused = true)]
async fn a_job_ends_when_its_work_is_done() {
    for records in [1, 40, 300, 5_000] {
        let service = Service::start().await;
        let began = Instant::now();
        let import = service.begin_import(&patients(records)).await;
        assert_eq!(deliver(&service.import_worker(), &import).await, Delivery::Done);
        let imported = began.elapsed();
        let began = Instant::now();
        let export = service.begin_export().await;
        assert_eq!(deliver(&service.export_worker(), &export).await, Delivery::Done);
        let exported = began.elapsed();
        let most = Duration::from_secs(2);
        assert!(imported < most && exported < most, "{records}: {imported:?}, {exported:?}");
    }
}
