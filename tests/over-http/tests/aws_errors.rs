//! Every call that every function makes to AWS goes wrong in every way, once and for as long as it is tried:
//! the API answers as usual or 503 with `Retry-After`, a processor leaves the job for later, and when the
//! trouble is over everything ends as if it had never been. And processors are killed before and after each of
//! their calls.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;
use http::StatusCode;
use in_process::jobs::{export_of, import_of, import_of_upload};
use jiff::SignedDuration;
use model::{JobResult, ObjectKey};
use over_http::faults::Fault;
use over_http::{Request, setting};
use ports::{Clock, ObjectStore};
use records::ResourceType;

mod unlucky;

use unlucky::{Call, Tenant, Unlucky, body, data};

const FAULTS: [Fault; 6] =
    [Fault::Throttled, Fault::ServerError, Fault::TimedOut, Fault::Cut, Fault::AnswerLost, Fault::BodyCut];

/// What may be wrong with the content of an object.
const OF_OBJECTS: [Fault; 4] = [Fault::BodyEnds, Fault::BodyStalls, Fault::OtherRange, Fault::OtherETag];

/// Once, and for as long as it is tried.
const TIMES: [u32; 2] = [1, u32::MAX];

/// Cases that run at a time, of each of the four tests that do: the emulator answers them all one after the other.
const MAX_CONCURRENCY: usize = 6;

/// Records of an export, and of an import one more, which is not valid.
const RECORDS: usize = 40;

/// A fault on one operation.
#[derive(Debug, Clone)]
struct Case {
    operation: String,
    fault: Fault,
    times: u32,
}

/// What a processor goes through.
#[derive(Debug)]
enum Trouble {
    Fault(Case),
    /// It is killed at a call of its first delivery, whatever that is.
    Death {
        after_calls: u32,
        fault: Fault,
    },
}

/// All cases for what was called when nothing went wrong.
fn cases(operations: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in operations {
        let unprocessed = operation.starts_with("BatchWriteItem").then_some(Fault::Unprocessed);
        let is_contended =
            ["PutItem", "UpdateItem", "TransactWriteItems"].iter().any(|write| operation.starts_with(write));
        let contended = is_contended.then_some(Fault::Contended);
        let of_objects = OF_OBJECTS.into_iter().filter(|_| operation == "GetObject");
        let is_slow = ["UploadPartCopy", "CompleteMultipartUpload"].contains(&operation.as_str());
        let inside = is_slow.then_some(Fault::ErrorInside);
        for fault in FAULTS.into_iter().chain(unprocessed).chain(contended).chain(of_objects).chain(inside) {
            cases.extend(TIMES.map(|times| Case { operation: operation.clone(), fault, times }));
        }
    }
    cases
}

/// Cases of creating an upload that one tenant may have: a partition has at most 20 open ones.
const UPLOAD_CASES: usize = 5;

/// Tenants enough for so many cases.
fn uploaders(cases: usize) -> Vec<Tenant> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let tenant = |_| Tenant::new(&format!("faults-upload-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    (0..cases.div_ceil(UPLOAD_CASES)).map(tenant).collect()
}

/// A call meets a fault and is made again without it. Returns how it was answered at first: as usual, or that it is to be
/// made again later.
async fn answers(call: Call, tenant: &Tenant, case: &Case, usual: StatusCode) -> StatusCode {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let service = Unlucky::new(tenant).await;
    let prepared = call.prepare(&service).await;
    let key = format!("case-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    service.faults.inject(&case.operation, case.fault, case.times);
    let first = call.make(&service, &prepared, &key).await;
    assert!(service.faults.lift() > 0, "{call:?} {case:?}: nothing went wrong");
    if first.status() != usual {
        assert_eq!(first.status(), 503, "{call:?} {case:?}: {}", body(&first));
        let seconds: u32 = first.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(seconds > 0);
    }
    let again = call.make(&service, &prepared, &key).await;
    // What was deleted is gone; of a deletion that was not answered nobody knows.
    let is_gone = call == Call::DeleteJob && again.status() == StatusCode::NOT_FOUND;
    assert!(again.status() == usual || is_gone, "{call:?} {case:?}: {}", again.status());
    if call.is_start() && first.status() == usual {
        assert_eq!(data(&first)["jobId"], data(&again)["jobId"], "{call:?} {case:?}: one call, one job");
    }
    first.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_as_usual_or_says_when_to_come_again() {
    let tenant = &Tenant::new("faults-api");
    let mut tolerated = BTreeSet::new();
    for call in Call::ALL {
        let clean = Unlucky::new(tenant).await;
        let prepared = call.prepare(&Unlucky::new(tenant).await).await;
        let usual = call.make(&clean, &prepared, &format!("clean-{call:?}")).await.status();
        assert!(usual.is_success(), "{call:?}: {usual}");
        let cases = cases(&clean.faults.seen());
        let tenants = match call {
            Call::CreateUpload | Call::StartImportOfUpload => uploaders(cases.len()),
            _ => vec![tenant.clone()],
        };
        let tenants = &tenants;
        let checked = futures::stream::iter(cases.into_iter().enumerate()).map(async |(index, case)| {
            let mut first = answers(call, &tenants[index % tenants.len()], &case, usual).await;
            // An emulator that is slow at the moment is a second fault.
            for _ in 1..TRIES {
                if first == usual || case.times == u32::MAX {
                    break;
                }
                first = answers(call, &tenants[index % tenants.len()], &case, usual).await;
            }
            assert!(first == usual || case.times == u32::MAX, "{call:?} {case:?}: one fault is survived: {first}");
            (case, first == usual)
        });
        let results: Vec<_> = checked.buffer_unordered(MAX_CONCURRENCY).collect().await;
        for (case, as_usual) in results {
            // Where the effect takes place, only the answer is missing.
            let is_done = matches!(case.fault, Fault::AnswerLost | Fault::BodyCut);
            if case.times == u32::MAX && as_usual && !is_done {
                tolerated.insert(format!("{call:?}: {}", case.operation));
            }
        }
    }
    // All else is needed for an answer.
    assert_eq!(tolerated.into_iter().collect::<Vec<_>>(), TOLERATED);
}

/// What the API can do without: the sweeper makes up for a message, and the second clearing for files.
const TOLERATED: [&str; 5] = [
    "CancelJob: ListMultipartUploads",
    "CancelJob: ListObjectsV2",
    "StartExport: SendMessage",
    "StartImport: SendMessage",
    "StartImportOfUpload: SendMessage",
];

/// How often a call or a job is tried until the trouble that is meant has come, and no other.
const TRIES: usize = 5;

/// The valid records, and one that is not.
fn lines() -> String {
    let valid = (0..RECORDS).map(|n| format!("{{\"id\":\"p-{n:03}\",\"firstName\":\"Jane\",\"lastName\":\"Doe\"}}\n"));
    valid.chain(["{\"firstName\":1}\n".to_owned()]).collect()
}

/// A job goes through trouble, and ends as it always does. Returns the calls that its first delivery made, and how many of
/// them the trouble hit.
async fn survives(service: &Unlucky, work: Request, trouble: Option<&Trouble>) -> (u32, u32) {
    let id = service.begin(work).await;
    // What starting has called is no processor's.
    service.faults.forget();
    match trouble {
        Some(Trouble::Fault(case)) => service.faults.inject(&case.operation, case.fault, case.times),
        Some(Trouble::Death { after_calls, fault }) => service.faults.inject_after(*after_calls, *fault),
        None => {}
    }
    tokio::select! {
        () = service.deliver(&id) => {}
        () = service.faults.death() => {}
    }
    let (hits, calls) = (service.faults.lift(), service.faults.calls());
    // Another process goes on.
    let job = Unlucky::new(&service.tenant).await.ended(&id).await;
    assert_eq!(job.state().name(), "completed", "{trouble:?}");
    let progress = job.progress();
    match job.result().unwrap() {
        JobResult::Import { violation_count, .. } => {
            assert_eq!((progress.processed, progress.succeeded), (RECORDS as u64 + 1, RECORDS as u64), "{trouble:?}");
            assert_eq!((progress.failed, *violation_count), (1, 2), "{trouble:?}");
        }
        JobResult::Export { files, .. } => {
            let file = content(&Unlucky::new(&service.tenant).await, &files[0].key).await;
            assert_eq!(files[0].sha256, in_process::sha256(file.as_bytes()), "{trouble:?}");
            let ids: BTreeSet<_> = file.lines().map(|line| line.split('"').nth(7).unwrap()).collect();
            assert_eq!((ids.len(), file.lines().count()), (RECORDS, RECORDS), "{trouble:?}");
            assert_eq!(progress.processed, RECORDS as u64, "{trouble:?}");
        }
    }
    (calls, hits)
}

async fn content(service: &Unlucky, key: &ObjectKey) -> String {
    use futures::TryStreamExt;
    let fetched = service.inner.objects().get(&service.tenant.partition, key, None, 0).await.unwrap();
    let ports::Fetched::Content { body, .. } = fetched else { panic!("the file is there") };
    let pieces: Vec<_> = body.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Import,
    ImportOfUpload,
    Export,
}

impl Kind {
    async fn work(self, service: &Unlucky) -> Request {
        match self {
            Self::Import => Request::Import(import_of(ResourceType::Patient, &lines())),
            Self::ImportOfUpload => Request::Import(import_of_upload(service.uploaded(&lines()).await)),
            Self::Export => Request::Export(export_of(ResourceType::Patient)),
        }
    }
}

/// The operations of a delivery that ends its job, and how many calls these are. One that hands the job on, as a machine
/// does that is slow at the moment, makes calls that no other makes.
async fn calls_of(tenant: &Tenant, kind: Kind) -> (Vec<String>, u32) {
    for _ in 0..TRIES {
        let clean = Unlucky::new(tenant).await;
        let work = kind.work(&clean).await;
        let (calls, _) = survives(&clean, work, None).await;
        let operations = clean.faults.seen();
        if !operations.iter().any(|operation| operation == "SendMessage") {
            return (operations, calls);
        }
    }
    panic!("{kind:?}: no delivery ended its job");
}

/// Every kind of job goes through all troubles that `troubles` makes of its clean run: of the operations
/// that its first delivery called, and of how many calls these were.
async fn all_survive(tenant: &Tenant, troubles: impl Fn(&[String], u32) -> Vec<Trouble>) {
    for kind in [Kind::Import, Kind::ImportOfUpload, Kind::Export] {
        let (operations, calls) = calls_of(tenant, kind).await;
        futures::stream::iter(troubles(&operations, calls))
            .for_each_concurrent(MAX_CONCURRENCY, async |trouble| {
                // On a machine that is slow at the moment a delivery may end before the call that is meant.
                for _ in 0..TRIES {
                    let service = Unlucky::new(tenant).await;
                    let work = kind.work(&service).await;
                    if survives(&service, work, Some(&trouble)).await.1 > 0 {
                        return;
                    }
                }
                panic!("{kind:?}: {trouble:?} never came");
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processors_leave_what_they_cannot_do_for_later() {
    let tenant = &Tenant::new("faults-jobs");
    all_survive(tenant, |operations, _| cases(operations).into_iter().map(Trouble::Fault).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run by make soak"]
async fn any_call_of_a_processor_may_hang_for_half_a_minute() {
    let tenant = &Tenant::new("faults-hang");
    let hangs = |operation: &String| Case { operation: operation.clone(), fault: Fault::Hangs, times: 1 };
    all_survive(tenant, |operations, _| operations.iter().map(hangs).map(Trouble::Fault).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_may_die_before_and_after_any_call() {
    let tenant = &Tenant::new("faults-death");
    let before_and_after =
        |after_calls| [Fault::Killed, Fault::KilledAfter].map(|fault| Trouble::Death { after_calls, fault });
    all_survive(tenant, |_, calls| (0..calls).flat_map(before_and_after).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_finds_again_what_it_could_not_send() {
    let tenant = &Tenant::new("faults-sweep");
    let sweeper = |service: &Unlucky| service.inner.sweeper(service.dlq());
    let clean = Unlucky::new(tenant).await;
    let work = || Request::Export(export_of(ResourceType::Patient));
    clean.begin(work()).await;
    clean.clock.0.store(600, Ordering::Relaxed);
    let _started = clean.faults.seen();
    let swept = sweeper(&clean).sweep(over_http::in_a_minute()).await;
    assert!(swept.redriven > 0 && swept.failed_groups == 0, "{swept:?}");
    for operation in [
        format!("Query {}", setting("JOBS_TABLE")),
        format!("UpdateItem {}", setting("JOBS_TABLE")),
        "SendMessage".to_owned(),
    ] {
        assert!(clean.faults.seen().contains(&operation), "{operation}");
        for case in cases(&[operation]) {
            let service = Unlucky::new(tenant).await;
            let id = service.begin(work()).await;
            service.clock.0.store(600, Ordering::Relaxed);
            service.faults.inject(&case.operation, case.fault, case.times);
            let swept = sweeper(&service).sweep(over_http::in_a_minute()).await;
            let _hits = service.faults.lift();
            let is_told = swept.errors + swept.failed_groups > 0;
            let is_sent = service.job(&id).await.due_at().unwrap() > service.clock.now() + SignedDuration::from_secs(2);
            assert!(is_told || is_sent, "{case:?}: {swept:?}");
            // Whatever came of it, the next sweep has it sent, unless this one has.
            service.clock.0.fetch_add(60, Ordering::Relaxed);
            let swept = sweeper(&service).sweep(over_http::in_a_minute()).await;
            assert_eq!((swept.errors, swept.failed_groups), (0, 0), "{case:?}");
            assert!(service.job(&id).await.due_at().unwrap() > service.clock.now(), "{case:?}");
        }
    }
}
