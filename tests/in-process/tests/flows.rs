//! Jobs from start to end on in-memory ports, with luck and without. Time is paused: it moves when
//! everything waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Change, JobStore, UsageStore};
use domain::{
    Delivery, FailureReason, Job, JobId, JobResult, JobStatus, Pace, Plan, Pool, Principal, Scope, StartError,
    StartJob, Starter, Swept, Tenant, Work, Worker,
};
use in_process::faulty::{DeadQueue, Fault, FaultyRecords};
use in_process::{Service, test_partition};
use records::ResourceType;
use tokio::time::Instant;

fn caller() -> Principal {
    Principal {
        partition: test_partition(),
        scopes: vec![Scope::All],
        tenant: Tenant {
            id: "clinic-one".parse().unwrap(),
            plan: Plan::Pro,
            bulk_operations_per_hour: 100,
            overage: false,
        },
        key_id: "key_test".to_owned(),
    }
}

fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"firstName\":\"Jane\",\"lastName\":\"Doe {n}\"}}\n")).collect()
}

async fn start(starter: &Starter, work: Work) -> JobId {
    starter.start(&caller(), StartJob { work, idempotency: None }).await.unwrap().job_id
}

async fn start_import(service: &Service, data: &str) -> JobId {
    let work = Work::Import {
        resource_type: ResourceType::Patient,
        data: data.to_owned().into(),
        lines: data.lines().count() as u64,
    };
    start(&service.starter(), work).await
}

async fn start_export(service: &Service) -> JobId {
    start(&service.starter(), Work::Export { resource_types: vec![ResourceType::Patient], since: None }).await
}

async fn job(service: &Service, id: &JobId) -> Job {
    service.memory.get(&test_partition(), id, Service::at(0)).await.unwrap().unwrap()
}

/// Exports all patients, and returns the file's lines.
async fn exported(service: &Service) -> Vec<String> {
    let id = start_export(service).await;
    service.work().await;
    let job = job(service, &id).await;
    let Some(JobResult::Export { file, .. }) = job.result() else { panic!("{job:?}") };
    let content = String::from_utf8(service.memory.object(file).unwrap().to_vec()).unwrap();
    assert_eq!(job.progress().total, content.lines().count() as u64);
    content.lines().map(str::to_owned).collect()
}

async fn deliver(worker: &Worker, id: &JobId) -> Delivery {
    worker.deliver(&test_partition(), &id.into(), Instant::now() + Duration::from_mins(10)).await.unwrap()
}

/// Delivers, and kills the processor when the time is over.
async fn deliver_for(worker: &Worker, id: &JobId, time: Duration) -> Result<Delivery, tokio::time::error::Elapsed> {
    tokio::time::timeout(time, deliver(worker, id)).await
}

fn worker_with(service: &Service, records: Arc<FaultyRecords>) -> Worker {
    Worker { records, ..service.worker() }
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_comes_out() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(1_000)).await;
    assert_eq!(job(&service, &id).await.status(), &JobStatus::Pending);
    service.work().await;
    let job = job(&service, &id).await;
    assert_eq!(job.status(), &JobStatus::Completed);
    assert_eq!((job.progress().succeeded, job.progress().failed), (1_000, 0));
    let lines = exported(&service).await;
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
    start_import(&service, &lines).await;
    service.work().await;
    assert_eq!(exported(&service).await.len(), 500);
    assert_eq!(service.memory.open_multiparts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_twice_changes_nothing() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(30)).await;
    let worker = service.worker();
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    let after_first = job(&service, &id).await;
    assert_eq!(deliver(&worker, &id).await, Delivery::Ended);
    assert_eq!(job(&service, &id).await, after_first);
    assert_eq!(exported(&service).await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn of_two_processors_one_gets_the_job() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(30)).await;
    let (one, two) = (service.worker(), service.worker());
    let (first, second) = tokio::join!(deliver(&one, &id), deliver(&two, &id));
    let mut outcomes = [first, second];
    outcomes.sort_by_key(|outcome| *outcome != Delivery::Done);
    assert_eq!(outcomes[0], Delivery::Done);
    assert!(matches!(outcomes[1], Delivery::Busy | Delivery::Ended), "{outcomes:?}");
    assert_eq!(exported(&service).await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_dead_processor_s_job_is_taken_over_after_its_lease_and_goes_on_where_it_stopped() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(1_000)).await;
    let _first_message = service.memory.take_messages();
    // Twenty batches are written, then the store hangs, and the process dies a little later.
    let mut script = vec![Fault::None; 20];
    script.extend([Fault::Hangs; 20]);
    let dying = worker_with(&service, FaultyRecords::new(&service.memory, script));
    let died = deliver_for(&dying, &id, Duration::from_secs(25)).await;
    assert!(died.is_err());
    let left = job(&service, &id).await;
    assert_eq!(left.progress().processed, 500, "the renewal told how far it was");

    let healthy = FaultyRecords::new(&service.memory, []);
    assert_eq!(deliver(&worker_with(&service, healthy.clone()), &id).await, Delivery::Busy);
    assert_eq!(service.sweeper().sweep().await.unwrap(), Swept::default(), "a live lease is not touched");
    tokio::time::advance(Duration::from_secs(70)).await;
    let swept = service.sweeper().sweep().await.unwrap();
    assert_eq!(swept, Swept { sent: 1, ..Swept::default() });
    assert_eq!(service.memory.take_messages().len(), 1);
    assert_eq!(deliver(&worker_with(&service, healthy.clone()), &id).await, Delivery::Done);
    assert_eq!(healthy.sent(), (20, 500), "what was written is not written again");
    let job = job(&service, &id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (1_000, 0));
    assert_eq!(exported(&service).await.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_kill_repeats_no_more_than_was_written_since_the_last_progress() {
    // Each batch takes 200 ms, and sixteen are under way: 2,000 records a second.
    let slow = |service: &Service| FaultyRecords::new(&service.memory, [Fault::Late(Duration::from_millis(200)); 400]);
    for milliseconds in [150, 900, 1_250, 2_990, 3_010, 4_400] {
        let service = Service::start().await;
        let id = start_import(&service, &patients(10_000)).await;
        let first = slow(&service);
        let dying = worker_with(&service, first.clone());
        assert!(deliver_for(&dying, &id, Duration::from_millis(milliseconds)).await.is_err(), "it was killed");
        let told = job(&service, &id).await.progress().processed;
        tokio::time::advance(Duration::from_secs(70)).await;
        let second = slow(&service);
        assert_eq!(deliver(&worker_with(&service, second.clone()), &id).await, Delivery::Done);
        let written = service.memory.count_records(&test_partition(), ResourceType::Patient);
        assert_eq!(written, 10_000);
        // A second's worth, and what was under way.
        let repeated = first.sent().1 + second.sent().1 - written;
        assert!(repeated <= 2_000 + 16 * 25, "killed after {milliseconds} ms at {told}: {repeated} again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_lost_its_lease_stops_by_itself() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(100)).await;
    let hanging = worker_with(&service, FaultyRecords::new(&service.memory, [Fault::Hangs; 8]));
    let usual = service.worker();
    let taken_over = async {
        // The first processor is cut off from the jobs' store, and does not know it.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let stolen = job(&service, &id).await;
        let expired = stolen.apply(
            domain::Event::Released {
                token: stolen.lease().unwrap().token.clone(),
                due_at: Service::at(5),
                because_unavailable: false,
            },
            Service::at(5),
        );
        service.memory.update(&test_partition(), &Change::job(expired.unwrap())).await.unwrap();
        deliver(&usual, &id).await
    };
    let (first, second) = tokio::join!(deliver(&hanging, &id), taken_over);
    assert_eq!((first, second), (Delivery::LeaseLost, Delivery::Done));
    assert_eq!(exported(&service).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_long_import_keeps_its_lease() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(25)).await;
    let slow = worker_with(&service, FaultyRecords::new(&service.memory, [Fault::Hangs]));
    let (outcome, ()) = tokio::join!(deliver_for(&slow, &id, Duration::from_mins(5)), async {
        for _ in 0..28 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(deliver(&service.worker(), &id).await, Delivery::Busy);
        }
    });
    assert!(outcome.is_err(), "it was at it all the time");
}

#[tokio::test(start_paused = true)]
async fn unwritten_records_are_written_again_and_only_those() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(100)).await;
    let faults = [Fault::Partial, Fault::Throttled, Fault::AnswerLost, Fault::Partial, Fault::None, Fault::Partial];
    let records = FaultyRecords::new(&service.memory, faults);
    assert_eq!(deliver(&worker_with(&service, records), &id).await, Delivery::Done);
    assert_eq!(job(&service, &id).await.progress().succeeded, 100);
    assert_eq!(exported(&service).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_makes_the_job_rest_not_fail() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(50)).await;
    let _message = service.memory.take_messages();
    let down = FaultyRecords::new(&service.memory, [Fault::Throttled; 1_000]);
    assert_eq!(deliver(&worker_with(&service, down), &id).await, Delivery::RestsUntilDependencyIsBack);
    let resting = job(&service, &id).await;
    assert_eq!(resting.releases(), 1);
    assert!(!resting.has_ended());
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(service.sweeper().sweep().await.unwrap().sent, 1);
    service.work().await;
    assert_eq!(job(&service, &id).await.progress().succeeded, 50);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_sent_is_made_good_within_a_minute() {
    let service = Service::start().await;
    let starter = Starter { queue: Arc::new(DeadQueue), ..service.starter() };
    let work = Work::Export { resource_types: vec![ResourceType::Patient], since: None };
    let id = start(&starter, work).await;
    assert!(service.memory.take_messages().is_empty());
    assert_eq!(service.sweeper().sweep().await.unwrap().sent, 1);
    service.work().await;
    assert!(job(&service, &id).await.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_lost_is_sent_again_after_five_minutes() {
    let service = Service::start().await;
    let id = start_export(&service).await;
    let _lost = service.memory.take_messages();
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(service.sweeper().sweep().await.unwrap().sent, 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(service.sweeper().sweep().await.unwrap().sent, 1);
    assert_eq!(service.sweeper().sweep().await.unwrap().sent, 0, "it was moved on");
    service.work().await;
    assert!(job(&service, &id).await.has_ended());
    tokio::time::advance(Duration::from_secs(10_000)).await;
    assert_eq!(service.sweeper().sweep().await.unwrap(), Swept::default(), "an ended job is never due");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_too_old_fails_and_gives_its_requests_back() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(10)).await;
    let used = async || {
        let month = domain::Month::of(Service::at(0));
        service.memory.month(&test_partition().tenant, &month).await.unwrap().of(Pool::Test)
    };
    assert_eq!(used().await, 10);
    tokio::time::advance(Pace::default().max_age).await;
    assert_eq!(service.sweeper().sweep().await.unwrap(), Swept { failed: 1, ..Swept::default() });
    assert_eq!(job(&service, &id).await.status(), &JobStatus::Failed(FailureReason::TooOld));
    assert_eq!(used().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_processors_die_again_and_again_fails() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(10)).await;
    for _ in 0..5 {
        let dying = worker_with(&service, FaultyRecords::new(&service.memory, [Fault::Hangs]));
        let died = deliver_for(&dying, &id, Duration::from_secs(10)).await;
        assert!(died.is_err());
        tokio::time::advance(Duration::from_secs(70)).await;
    }
    assert_eq!(deliver(&service.worker(), &id).await, Delivery::Ended);
    assert_eq!(job(&service, &id).await.status(), &JobStatus::Failed(FailureReason::AttemptsExhausted));
}

#[tokio::test(start_paused = true)]
async fn an_import_whose_data_is_gone_fails_with_a_reason() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(10)).await;
    for key in service.memory.object_keys() {
        service.memory.remove_object(&key);
    }
    service.work().await;
    assert_eq!(job(&service, &id).await.status(), &JobStatus::Failed(FailureReason::SourceMissing));
}

#[tokio::test(start_paused = true)]
async fn near_its_deadline_a_processor_yields_and_a_fresh_one_goes_on() {
    let service = Service::start().await;
    let id = start_import(&service, &patients(500)).await;
    let _first = service.memory.take_messages();
    let worker = service.worker();
    let now = worker.deliver(&test_partition(), &(&id).into(), Instant::now()).await.unwrap();
    assert_eq!(now, Delivery::Yielded);
    assert_eq!(service.memory.take_messages().len(), 1);
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    assert_eq!(exported(&service).await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_twice_in_a_batch_is_stored_once_and_told() {
    let service = Service::start().await;
    let line = |id: &str, name: &str| format!("{{\"id\":\"{id}\",\"firstName\":\"{name}\",\"lastName\":\"Doe\"}}\n");
    let data =
        line("a", "First") + &line("b", "Other") + &line("a", "Second") + "{\"id\":\"c\"}\n" + &line("c", "Late");
    let id = start_import(&service, &data).await;
    service.work().await;
    let job = job(&service, &id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (3, 2));
    let Some(JobResult::Import { faults, .. }) = job.result() else { panic!("{job:?}") };
    assert_eq!((faults[0].line, faults[0].fault.message.as_str()), (3, "id: Same as in line 1"));
    let lines = exported(&service).await;
    assert!(lines.iter().any(|line| line.contains("First")));
    assert!(lines.iter().any(|line| line.contains("Late")), "an invalid line does not take the id");
}

/// What one report says, by the job's result.
fn report(service: &Service, job: &Job, of: fn(&JobResult) -> Option<&domain::ObjectKey>) -> String {
    let key = of(job.result().unwrap()).unwrap();
    String::from_utf8(service.memory.object(key).unwrap().to_vec()).unwrap()
}

fn errors(result: &JobResult) -> Option<&domain::ObjectKey> {
    let JobResult::Import { errors, .. } = result else { return None };
    errors.as_ref()
}

fn rejected(result: &JobResult) -> Option<&domain::ObjectKey> {
    let JobResult::Import { rejected, .. } = result else { return None };
    rejected.as_ref()
}

fn results(result: &JobResult) -> Option<&domain::ObjectKey> {
    let JobResult::Import { results, .. } = result else { return None };
    Some(results)
}

#[tokio::test(start_paused = true)]
async fn reports_tell_every_fault_and_give_the_rejected_lines_back() {
    let service = Service::start().await;
    let gigantic = format!("{{\"note\":\"{}\"}}", "x".repeat(2 << 20));
    let lines = [
        "{\"id\":\"own\",\"firstName\":\"J\",\"lastName\":\"D\"}",
        "{\"firstName\":\"\",  \"lastName\":7}",
        "{\"firstName\":\"J\",\"lastName\":\"D\"}",
        &gigantic,
        "",
        "{\"id\":\"own\",\"firstName\":\"J\",\"lastName\":\"E\"}",
    ];
    let id = start_import(&service, &lines.join("\r\n")).await;
    service.work().await;
    let job = job(&service, &id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (2, 4));
    assert_eq!(report(&service, &job, rejected), format!("{}\n{gigantic}\n\n{}\n", lines[1], lines[5]));
    let told = report(&service, &job, errors);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(
        told,
        [
            r#"{"index":1,"line":2,"code":"min_length","path":"/firstName","message":"firstName: Must not be empty"}"#,
            r#"{"index":1,"line":2,"code":"type","path":"/lastName","message":"lastName: Expected string"}"#,
            r#"{"index":3,"line":4,"code":"too_large","path":"","message":"Must be at most 1048576 bytes"}"#,
            r#"{"index":4,"line":5,"code":"blank_line","path":"","message":"Blank line"}"#,
            r#"{"index":5,"line":6,"code":"duplicate_id","path":"/id","message":"id: Same as in line 1"}"#,
        ]
    );
    let told = report(&service, &job, results);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), 6);
    assert_eq!(told[0], r#"{"line":1,"outcome":"stored","id":"own"}"#);
    assert_eq!(told[1], r#"{"line":2,"outcome":"rejected"}"#);
    assert!(told[2].starts_with(r#"{"line":3,"outcome":"created","id":""#));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_invalid_records_are_all_reported() {
    let service = Service::start().await;
    let id = start_import(&service, &"{\"firstName\":7}\n".repeat(10_000)).await;
    service.work().await;
    let job = job(&service, &id).await;
    assert_eq!((job.status(), job.progress().failed), (&JobStatus::Completed, 10_000));
    let Some(JobResult::Import { faults, fault_count, .. }) = job.result() else { panic!("{job:?}") };
    assert_eq!((faults.len(), *fault_count), (100, 20_000));
    assert_eq!(report(&service, &job, errors).lines().count(), 20_000);
    assert_eq!(report(&service, &job, rejected), "{\"firstName\":7}\n".repeat(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_take_over_rebuilds_the_reports() {
    let service = Service::start().await;
    let data = (patients(40) + "no json\n").repeat(5);
    let id = start_import(&service, &data).await;
    let mut script = vec![Fault::None; 3];
    script.extend([Fault::Hangs; 20]);
    let dying = worker_with(&service, FaultyRecords::new(&service.memory, script));
    assert!(tokio::time::timeout(Duration::from_secs(25), deliver(&dying, &id)).await.is_err());
    tokio::time::advance(Duration::from_secs(70)).await;
    assert_eq!(deliver(&service.worker(), &id).await, Delivery::Done);
    let job = job(&service, &id).await;
    assert_eq!((job.progress().succeeded, job.progress().failed), (200, 5));
    assert_eq!(report(&service, &job, rejected), "no json\n".repeat(5));
    assert_eq!(report(&service, &job, results).lines().count(), 205);
}

/// Uploads a batch and starts its import; the limit of the month is what the plan says.
async fn start_upload(service: &Service, content: &[u8]) -> (JobId, domain::ObjectKey) {
    let (upload, _) = service.uploader().create(&caller()).await.unwrap();
    let key = domain::ObjectKey::upload(&test_partition(), &upload);
    service.memory.put_object(&key, content.to_vec());
    let work = Work::ImportUpload { resource_type: ResourceType::Patient, upload };
    (start(&service.starter(), work).await, key)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn used(service: &Service) -> u64 {
    let month = domain::Month::of(Service::at(0));
    service.memory.month(&test_partition().tenant, &month).await.unwrap().of(Pool::Test)
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_counted_reserved_and_imported() {
    for content in [patients(600).into_bytes(), gzip(patients(600).as_bytes())] {
        let service = Service::start().await;
        let (id, _) = start_upload(&service, &content).await;
        assert_eq!(used(&service).await, 1, "the upload itself");
        service.work().await;
        let job = job(&service, &id).await;
        assert_eq!((job.progress().total, job.progress().succeeded), (600, 600));
        assert_eq!(used(&service).await, 601);
        assert_eq!(exported(&service).await.len(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn two_members_of_gzip_are_one_upload() {
    let service = Service::start().await;
    let content = [gzip(patients(30).as_bytes()), gzip(patients(20).as_bytes())].concat();
    let (id, _) = start_upload(&service, &content).await;
    service.work().await;
    assert_eq!(job(&service, &id).await.progress().succeeded, 50);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_a_limit_fails_before_anything_is_stored() {
    let bomb = gzip(&vec![b' '; usize::try_from(domain::MAX_UPLOAD).unwrap() + 1]);
    let mut cut = gzip(patients(100).as_bytes());
    cut.truncate(cut.len() / 2);
    let full = patients(10_001).into_bytes();
    for (content, reason) in [
        (full, FailureReason::TooManyRecords),
        (bomb, FailureReason::UploadTooLarge),
        (cut, FailureReason::UploadUnreadable),
    ] {
        let service = Service::start().await;
        let (id, _) = start_upload(&service, &content).await;
        service.work().await;
        assert_eq!(job(&service, &id).await.status(), &JobStatus::Failed(reason));
        assert_eq!(used(&service).await, 1);
        assert!(exported(&service).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_overruns_the_month_fails_before_anything_is_stored() {
    let service = Service::start().await;
    let sandbox = Principal { tenant: Tenant { plan: Plan::Sandbox, ..caller().tenant }, ..caller() };
    let (upload, _) = service.uploader().create(&sandbox).await.unwrap();
    service.memory.put_object(&domain::ObjectKey::upload(&test_partition(), &upload), patients(1_000));
    let work = Work::ImportUpload { resource_type: ResourceType::Patient, upload };
    let started = service.starter().start(&sandbox, StartJob { work, idempotency: None }).await.unwrap();
    service.work().await;
    let failed = job(&service, &started.job_id).await;
    assert_eq!(failed.status(), &JobStatus::Failed(FailureReason::MonthlyQuotaExceeded));
    assert!(exported(&service).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_written_to_after_the_start_fails() {
    let service = Service::start().await;
    let (id, key) = start_upload(&service, patients(5).as_bytes()).await;
    service.memory.put_object(&key, patients(6));
    service.work().await;
    assert_eq!(job(&service, &id).await.status(), &JobStatus::Failed(FailureReason::UploadChanged));
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_its_partition_s_and_good_for_one_import() {
    let service = Service::start().await;
    let try_with = async |who: &Principal, upload: &domain::UploadId| {
        let work = Work::ImportUpload { resource_type: ResourceType::Patient, upload: upload.clone() };
        service.starter().start(who, StartJob { work, idempotency: None }).await
    };
    let (upload, _) = service.uploader().create(&caller()).await.unwrap();
    assert!(matches!(try_with(&caller(), &upload).await, Err(StartError::UploadEmpty)));
    let key = domain::ObjectKey::upload(&test_partition(), &upload);
    service.memory.put_object(&key, patients(5));
    let live = Principal { partition: "clinic-one#live".parse().unwrap(), ..caller() };
    assert!(matches!(try_with(&live, &upload).await, Err(StartError::UploadUnusable)));
    assert!(try_with(&caller(), &upload).await.is_ok());
    assert!(matches!(try_with(&caller(), &upload).await, Err(StartError::UploadUnusable)));
    let (large, _) = service.uploader().create(&caller()).await.unwrap();
    let size = usize::try_from(domain::MAX_UPLOAD).unwrap() + 1;
    service.memory.put_object(&domain::ObjectKey::upload(&test_partition(), &large), vec![b' '; size]);
    assert!(matches!(try_with(&caller(), &large).await, Err(StartError::UploadTooLarge)));
    let (late, _) = service.uploader().create(&caller()).await.unwrap();
    service.memory.put_object(&domain::ObjectKey::upload(&test_partition(), &late), patients(5));
    tokio::time::advance(Duration::from_hours(24)).await;
    assert!(matches!(try_with(&caller(), &late).await, Err(StartError::UploadUnusable)));
}
