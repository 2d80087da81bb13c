//! Imports of uploads: pinned, counted, inflated, and good for once.

#![allow(clippy::unwrap_used, reason = "test")]

use std::future::poll_fn;
use std::io::Write;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use api::{AcceptJobError, CreateUploadError, ImportData, ImportRequest, Uploader};
use engine::{Delivery, ImportWorker, JobDriver, JobWorker};
use flate2::Compression;
use flate2::write::GzEncoder;
use in_process::jobs::{caller, deliver, import_of, import_of_upload, patients};
use in_process::network::{Fate, Network, Operation, Weather};
use in_process::{Service, test_partition};
use model::{FailureReason, JobId, JobState, MAX_UPLOAD_BYTES, Month, ObjectKey, Plan, Pool, Principal, UploadId};
use ndjson::LineCounter;
use ports::UsageStore;
use proptest::prelude::*;
use records::ResourceType;
use tokio::time::Instant;

fn pro() -> Principal {
    caller(Plan::Pro)
}

/// Uploads a batch and starts its import; the limit of the month is what the plan says.
async fn start_upload(service: &Service, content: &[u8]) -> (JobId, ObjectKey) {
    let (upload, _) = service.uploader().create(&pro(), 100).await.unwrap();
    let key = ObjectKey::upload(&test_partition(), &upload);
    service.memory.put_object(&key, content.to_vec());
    (service.begin(&pro(), import_of_upload(upload)).await, key)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_counted_reserved_and_imported() {
    for content in [patients(600).into_bytes(), gzip(patients(600).as_bytes())] {
        let service = Service::start().await;
        let (id, _) = start_upload(&service, &content).await;
        assert_eq!(service.used().await, 1, "the upload itself");
        service.work().await;
        let job = service.job(&id).await;
        assert_eq!((job.progress().total, job.progress().succeeded), (600, 600));
        assert_eq!(service.used().await, 601);
        assert_eq!(service.exported().await.len(), 600);
    }
}

/// 4 MB that are one small object: nothing of it has to be waited for.
#[tokio::test(start_paused = true)]
async fn reading_an_upload_lets_the_lease_be_renewed() {
    let service = Service::start().await;
    let content =
        gzip(format!("{{\"firstName\":\"Jane\",\"lastName\":\"Doe\"{:1000}}}\n", "").repeat(4_000).as_bytes());
    let (id, _) = start_upload(&service, &content).await;
    let mut turns = 0;
    let worker = service.import_worker();
    let partition = test_partition();
    let counted = async {
        let deliver = worker.deliver(&partition, &id, Instant::now() + Duration::from_mins(10));
        tokio::select! {
            biased;
            delivered = deliver => delivered.unwrap(),
            () = poll_fn(|_| { turns += 1; Poll::Pending }) => unreachable!(),
        }
    };
    assert_eq!(counted.await, Delivery::Done);
    let pieces = 2 * content.len() / 1_024;
    assert!(turns >= pieces, "{turns} turns for {pieces} pieces");
}

#[tokio::test(start_paused = true)]
async fn two_members_of_gzip_are_one_upload() {
    let service = Service::start().await;
    // Zeros behind gzip are the padding of tapes and archivers.
    let content = [gzip(patients(30).as_bytes()), gzip(patients(20).as_bytes()), vec![0; 5_000]].concat();
    let (id, _) = start_upload(&service, &content).await;
    service.work().await;
    assert_eq!(service.job(&id).await.progress().succeeded, 50);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_a_limit_fails_before_anything_is_stored() {
    let bomb = gzip(&vec![b' '; usize::try_from(MAX_UPLOAD_BYTES).unwrap() + 1]);
    let mut cut = gzip(patients(100).as_bytes());
    cut.truncate(cut.len() / 2);
    let full = patients(10_001).into_bytes();
    let trailed = [gzip(patients(10).as_bytes()), b"\0x".to_vec()].concat();
    for (content, reason) in [
        (full, FailureReason::TooManyRecords),
        (bomb, FailureReason::UploadTooLarge),
        (cut, FailureReason::UploadUnreadable),
        (trailed, FailureReason::UploadUnreadable),
    ] {
        let service = Service::start().await;
        let (id, _) = start_upload(&service, &content).await;
        service.work().await;
        assert_eq!(service.job(&id).await.state(), &JobState::Failed(reason));
        assert_eq!(service.used().await, 1);
        assert!(service.exported().await.is_empty());
    }
}

/// A try of the reservation that fails, and may have had its effect, before the month's refusal is heard.
#[tokio::test(start_paused = true)]
async fn a_month_that_is_full_is_found_out_once() {
    let service = Service::start().await;
    let sandbox = caller(Plan::Sandbox);
    let (upload, _) = service.uploader().create(&sandbox, 100).await.unwrap();
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &upload), patients(1_000));
    let id = service.begin(&sandbox, import_of_upload(upload)).await;
    let worker = service.import_worker();
    // A look and the lease, then the count.
    let script = [Fate::Good, Fate::Good, Fate::Refused, Fate::Good, Fate::Refused];
    let jobs = Network::scripted(&service.memory, Operation::Job, script);
    let worker = ImportWorker { driver: JobDriver { jobs, ..worker.driver }, ..worker };
    let began = Instant::now();
    assert_eq!(deliver(&worker, &id).await, Delivery::Done);
    assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::MonthlyQuotaExceeded));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_overruns_the_month_fails_before_anything_is_stored() {
    let service = Service::start().await;
    let sandbox = caller(Plan::Sandbox);
    let (upload, _) = service.uploader().create(&sandbox, 100).await.unwrap();
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &upload), patients(1_000));
    let id = service.begin(&sandbox, import_of_upload(upload)).await;
    service.work().await;
    let failed = service.job(&id).await;
    assert_eq!(failed.state(), &JobState::Failed(FailureReason::MonthlyQuotaExceeded));
    assert!(service.exported().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_written_to_after_the_start_fails() {
    let service = Service::start().await;
    let (id, key) = start_upload(&service, patients(5).as_bytes()).await;
    service.memory.put_object(&key, patients(6));
    service.work().await;
    assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::UploadChanged));
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_its_partition_s_and_good_for_one_import() {
    let service = Service::start().await;
    let try_with = async |who: &Principal, upload: &UploadId| {
        service.import_starter().start(who, &import_of_upload(upload.clone())).await
    };
    let (upload, _) = service.uploader().create(&pro(), 100).await.unwrap();
    assert!(matches!(try_with(&pro(), &upload).await, Err(AcceptJobError::UploadEmpty)));
    let key = ObjectKey::upload(&test_partition(), &upload);
    service.memory.put_object(&key, patients(5));
    let live = Principal { partition: "clinic-one#live".parse().unwrap(), ..pro() };
    assert!(matches!(try_with(&live, &upload).await, Err(AcceptJobError::UploadUnknown)));
    let first = try_with(&pro(), &upload).await.unwrap().job_id;
    let is_used = |again| matches!(again, Err(AcceptJobError::UploadUsed(by)) if by == first);
    assert!(is_used(try_with(&pro(), &upload).await));
    let (large, _) = service.uploader().create(&pro(), 100).await.unwrap();
    let size = usize::try_from(MAX_UPLOAD_BYTES).unwrap() + 1;
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &large), vec![b' '; size]);
    assert!(matches!(try_with(&pro(), &large).await, Err(AcceptJobError::UploadTooLarge)));
    let (late, _) = service.uploader().create(&pro(), 100).await.unwrap();
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &late), patients(5));
    tokio::time::advance(Duration::from_hours(24)).await;
    assert!(matches!(try_with(&pro(), &late).await, Err(AcceptJobError::UploadExpired)));
    // Whoever lost the answer learns for days what became of the upload, also when the job is gone.
    tokio::time::advance(Duration::from_hours(24 * 7)).await;
    assert!(is_used(try_with(&pro(), &upload).await));
}

#[tokio::test(start_paused = true)]
async fn sixty_calls_at_once_get_twenty_uploads() {
    let service = Service::start().await;
    let who = caller(Plan::Pro);
    // Behind a network each call takes its time, so that all of them look before any of them writes.
    let network = Arc::new(Network::new(&service.memory, 7, Weather::FAIR));
    let uploaders: Vec<_> = (0..60).map(|_| Uploader { usage: network.clone(), ..service.uploader() }).collect();
    let created = futures::future::join_all(uploaders.iter().map(|uploader| uploader.create(&who, 100))).await;
    let counted = created.iter().filter(|created| created.is_ok()).count();
    assert_eq!(counted, 20);
    for refused in created.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, CreateUploadError::TooManyOpen { .. } | CreateUploadError::Port(_)), "{refused:?}");
    }
    assert_eq!(service.used().await, 20, "each is one request");
}

#[tokio::test(start_paused = true)]
async fn an_exactly_full_month_refuses_an_upload_s_import_before_it_begins() {
    let service = Service::start().await;
    let who = caller(Plan::Sandbox);
    let (upload, _) = service.uploader().create(&who, 3).await.unwrap();
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &upload), "{}\n");
    let limit = Plan::Sandbox.per_month().unwrap();
    let month = Month::of(Service::at(0));
    while service.memory.month(&who.partition.tenant, &month).await.unwrap().of(Pool::Shared) < limit {
        service.memory.count_month(&who.partition.tenant, Pool::Shared, &month).await.unwrap();
    }
    let refused = service.import_starter().start(&who, &import_of_upload(upload)).await;
    assert!(matches!(refused, Err(AcceptJobError::MonthFull)), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The API's counter, the first pass and the reader agree, however the bytes are cut, plain and gzip.
    #[test]
    fn lines_are_counted_as_they_are_read(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("\n"), Just("\r\n"), Just("\r"), Just("{}"), Just("\u{feff}"), Just("\""), Just(" "),
                Just("{\"firstName\":\"J\",\"lastName\":\"D\"}\n"),
            ],
            1..400,
        ),
    ) {
        let content = pieces.concat().into_bytes();
        let mut counter = LineCounter::default();
        for piece in content.chunks(7) {
            counter.push(piece);
        }
        let lines = counter.count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let read = |content: Vec<u8>| runtime.block_on(async {
            let service = Service::start().await;
            let (id, _) = start_upload(&service, &content).await;
            service.work().await;
            let job = service.job(&id).await;
            (job.state().name(), job.progress().total, job.progress().processed, job.charged())
        });
        let expected = ("completed", lines, lines, lines);
        prop_assert_eq!(read(content.clone()), expected);
        prop_assert_eq!(read(gzip(&content)), expected);
        let inline = runtime.block_on(async {
            let service = Service::start().await;
            let data = ImportData::Inline { ndjson: content.into(), lines };
            let import = ImportRequest { data, ..import_of(ResourceType::Patient, "") };
            let id = service.begin(&pro(), import).await;
            service.work().await;
            let job = service.job(&id).await;
            (job.state().name(), job.progress().total, job.progress().processed, job.charged())
        });
        prop_assert_eq!(inline, expected);
    }
}
