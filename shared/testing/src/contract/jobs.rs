//! What a job store does.

use jiff::Timestamp;
use model::{
    Checkpoint, Event, ExportCheckpoint, ExportPlan, FailureReason, Fingerprint, IdempotencyEntry, IdempotencyKey, Job,
    JobResult, JobState, JobType, LeaseRequest, LineViolation, MAX_OPEN_UPLOADS, ObjectKey, Progress, Refusal, Release,
    ResultFile, Settlement, Token, Upload, UploadId, UploadSlot, Window,
};
use ports::{
    AcceptError, Acceptance, AcceptanceStore, AddUploadError, Cancellation, DueGroup, DueJob, DueStore, IdSource,
    IdempotencyWrite, JobStore, Stage, UpdateError, UsageStore,
};
use records::Violation;

use super::{Fixture, open_file};

/// Whatever keeps jobs.
pub trait Jobs: AcceptanceStore + JobStore + DueStore {}

impl<T: AcceptanceStore + JobStore + DueStore> Jobs for T {}

/// Runs all behaviours of [`Jobs`] and of the limits that acceptances write.
pub async fn jobs(jobs: &dyn Jobs, usage: &dyn UsageStore, seed: u64, now: Timestamp) {
    acceptance_is_all_or_nothing(jobs, usage, &Fixture::new(seed, now)).await;
    jobs_stay_in_their_partition(jobs, &Fixture::new(seed + 1, now)).await;
    an_update_follows_the_stored_revision(jobs, &Fixture::new(seed + 2, now)).await;
    every_state_survives_storage(jobs, usage, &Fixture::new(seed + 3, now)).await;
    a_reservation_fits_the_month_or_nothing_is_written(jobs, usage, &Fixture::new(seed + 5, now)).await;
    an_upload_is_used_once(jobs, usage, &Fixture::new(seed + 6, now)).await;
    what_is_due_is_found_until_moved(jobs, &Fixture::new(seed + 4, now)).await;
    an_entry_of_a_job_that_is_gone_is_replaced(jobs, usage, &Fixture::new(seed + 7, now)).await;
    jobs_are_listed_newest_first_until_deleted(jobs, &Fixture::new(seed + 8, now)).await;
    violations_are_kept_and_no_list_reads_them(jobs, &Fixture::new(seed + 9, now)).await;
}

async fn jobs_are_listed_newest_first_until_deleted(jobs: &dyn Jobs, fixture: &Fixture) {
    let partition = &fixture.partition;
    let (mut window, mut accepted) = (Window::default(), Vec::new());
    for _ in 0..5 {
        window = window.admit(fixture.now, 100).unwrap();
        let job = fixture.export_job(1);
        jobs.accept(partition, &acceptance(fixture, job.clone(), window.clone())).await.unwrap();
        accepted.push(job.id().clone());
    }
    accepted.sort();
    accepted.reverse();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = jobs.list(partition, after.as_ref(), fixture.now, 2).await.unwrap();
        assert!(page.jobs.len() <= 2);
        listed.extend(page.jobs.into_iter().map(|job| job.id().clone()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, accepted);
    assert!(jobs.list(&fixture.live(), None, fixture.now, 10).await.unwrap().jobs.is_empty(), "another partition");
    assert!(jobs.list(partition, None, fixture.later(8 * 86_400), 10).await.unwrap().jobs.is_empty(), "expired");
    for _ in 0..2 {
        jobs.delete(partition, &accepted[0]).await.unwrap();
    }
    jobs.delete(&fixture.live(), &accepted[1]).await.unwrap();
    let left = jobs.list(partition, None, fixture.now, 10).await.unwrap().jobs;
    assert_eq!(left.iter().map(|job| job.id().clone()).collect::<Vec<_>>(), accepted[1..]);
}

fn acceptance(fixture: &Fixture, job: Job, window: Window) -> Acceptance {
    let request_token = format!("{:032x}", fixture.ids.random());
    Acceptance { job, window, month_limit: Some(100), upload: None, idempotency: None, request_token }
}

async fn accepted(jobs: &dyn Jobs, fixture: &Fixture) -> Job {
    accepted_as(jobs, fixture, fixture.export_job(1)).await
}

async fn accepted_as(jobs: &dyn Jobs, fixture: &Fixture, job: Job) -> Job {
    let window = Window::default().admit(fixture.now, 5).unwrap();
    jobs.accept(&fixture.partition, &acceptance(fixture, job.clone(), window)).await.unwrap();
    job
}

fn cancelled(result: Result<(), AcceptError>) -> Cancellation {
    match result {
        Err(AcceptError::Cancelled(cancellation)) => cancellation,
        other => panic!("expected a cancellation, got {other:?}"),
    }
}

async fn acceptance_is_all_or_nothing(jobs: &dyn Jobs, usage: &dyn UsageStore, fixture: &Fixture) {
    let Fixture { partition, now, .. } = fixture;
    let tenant = &partition.tenant;
    let key = IdempotencyKey::parse(b"retry-1").unwrap();
    let first = fixture.export_job(60);
    let entry = IdempotencyEntry {
        fingerprint: Fingerprint::of("POST", "/v1/bulk/export", b"{}"),
        job_id: first.id().clone(),
        expires_at: fixture.later(86_400),
    };
    let window = usage.window(tenant).await.unwrap();
    assert_eq!(window, Window::default());
    let mut first = acceptance(fixture, first, window.admit(*now, 5).unwrap());
    first.idempotency = Some(IdempotencyWrite { key: key.clone(), entry: entry.clone(), gone: None });
    jobs.accept(partition, &first).await.unwrap();
    let stored = jobs.get(partition, first.job.id(), *now).await.unwrap();
    assert_eq!(stored.as_ref(), Some(&first.job));
    assert_eq!(usage.window(tenant).await.unwrap(), first.window);
    assert_eq!(usage.idempotency(partition, &key, *now).await.unwrap(), Some(entry.clone()));
    assert_eq!(usage.idempotency(&fixture.live(), &key, *now).await.unwrap(), None);
    assert_eq!(usage.idempotency(partition, &key, fixture.later(86_400)).await.unwrap(), None);

    // The same call again, as after a lost answer: no second effect, whether it is told or not.
    match jobs.accept(partition, &first).await {
        Ok(()) => {}
        other => assert!(cancelled(other).job_exists),
    }
    assert_eq!(usage.month(tenant, &first.job.reservation().month).await.unwrap().test, 60);

    let mut second = acceptance(fixture, fixture.export_job(41), first.window.clone());
    second.idempotency = Some(IdempotencyWrite { key: key.clone(), entry, gone: None });
    let reasons = cancelled(jobs.accept(partition, &second).await);
    assert!(reasons.idempotency_key_used && reasons.window_changed && reasons.month_full, "{reasons:?}");
    assert!(!reasons.job_exists);
    assert_eq!(jobs.get(partition, second.job.id(), *now).await.unwrap(), None);
    assert_eq!(usage.window(tenant).await.unwrap(), first.window);

    // What exactly fits is taken, and an expired idempotency entry is written over.
    let mut third = acceptance(fixture, fixture.export_job(40), first.window.admit(*now, 5).unwrap());
    let renewed = IdempotencyEntry {
        fingerprint: Fingerprint::of("POST", "/v1/bulk/export", b"other"),
        job_id: third.job.id().clone(),
        expires_at: fixture.later(2 * 86_400),
    };
    let key = IdempotencyKey::parse(b"retry-2").unwrap();
    third.idempotency = Some(IdempotencyWrite { key, entry: renewed, gone: None });
    jobs.accept(partition, &third).await.unwrap();
    assert_eq!(usage.month(tenant, &first.job.reservation().month).await.unwrap().test, 100);

    let mut unlimited = acceptance(fixture, fixture.export_job(1_000), third.window.admit(*now, 5).unwrap());
    unlimited.month_limit = None;
    jobs.accept(partition, &unlimited).await.unwrap();
    assert_eq!(usage.month(tenant, &first.job.reservation().month).await.unwrap().test, 1_100);
}

async fn jobs_stay_in_their_partition(jobs: &dyn Jobs, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    assert!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap().is_some());
    assert_eq!(jobs.get(&fixture.live(), job.id(), fixture.now).await.unwrap(), None);
    assert_eq!(jobs.get(&fixture.partition, job.id(), job.expires_at()).await.unwrap(), None);
}

fn request(fixture: &Fixture, token: &Token, seconds: i64) -> LeaseRequest {
    let (expires_at, due_at) = (fixture.later(seconds), fixture.later(seconds + 10));
    LeaseRequest { token: token.clone(), expires_at, due_at, oldest: fixture.later(-60) }
}

fn acquired(fixture: &Fixture, token: &Token) -> Event {
    Event::Acquired(request(fixture, token, 60))
}

async fn update(jobs: &dyn Jobs, fixture: &Fixture, job: &Job, settlement: Settlement) -> Result<(), UpdateError> {
    jobs.update(&fixture.partition, job, &settlement).await
}

async fn an_update_follows_the_stored_revision(jobs: &dyn Jobs, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    let one = job.apply(acquired(fixture, &Token::new(1)), fixture.now).unwrap();
    let other = job.apply(acquired(fixture, &Token::new(2)), fixture.now).unwrap();
    update(jobs, fixture, &one, Settlement::None).await.unwrap();
    let late = update(jobs, fixture, &other, Settlement::None).await;
    assert!(matches!(late, Err(UpdateError::Conflict)), "{late:?}");
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(one));
    let absent = fixture.export_job(1).apply(acquired(fixture, &Token::new(1)), fixture.now).unwrap();
    let nowhere = update(jobs, fixture, &absent, Settlement::None).await;
    assert!(matches!(nowhere, Err(UpdateError::Conflict)), "{nowhere:?}");
}

/// A checkpoint with all that one can have.
fn checkpoint(fixture: &Fixture, job: &Job) -> ExportCheckpoint {
    let by_log = job.spec().resource_types().to_vec();
    let plan = ExportPlan { started_at: fixture.now, counted: 7, until: fixture.now, by_log };
    let mut checkpoint = ExportCheckpoint::new(plan);
    checkpoint.files = vec![file(fixture)];
    checkpoint.next_file = 1;
    checkpoint.open = Some(open_file(&fixture.partition, job.id()));
    checkpoint
}

fn file(fixture: &Fixture) -> ResultFile {
    ResultFile {
        name: "Patient.ndjson".to_owned(),
        key: ObjectKey::upload(&fixture.partition, &UploadId::new(fixture.now, 1)),
        resource_type: Some(records::ResourceType::Patient),
        records: 3,
        bytes: 600,
        sha256: "00".repeat(32),
    }
}

async fn every_state_survives_storage(jobs: &dyn Jobs, usage: &dyn UsageStore, fixture: &Fixture) {
    let token = Token::new(7);
    let accepted = accepted(jobs, fixture).await;
    let progress = Progress { total: 9, processed: 4, succeeded: 3, failed: 1 };
    let checkpoint = Some(Box::new(Checkpoint::Export(checkpoint(fixture, &accepted))));
    let advanced = Event::Advanced {
        token: token.clone(),
        renewal: Some(request(fixture, &token, 90)),
        progress,
        checkpoint: checkpoint.clone(),
    };
    let (due_at, why) = (fixture.later(30), Release::Deferred);
    let released = Event::Released { token: token.clone(), due_at, why, progress, checkpoint };
    let result = JobResult::Export { started_at: fixture.now, files: vec![file(fixture)] };
    let completed = Event::Completed { token: token.clone(), result, progress, leftovers: true };
    let mut job = accepted;
    for event in
        [Event::SendFailed, acquired(fixture, &token), advanced, released, acquired(fixture, &token), completed]
    {
        job = job.apply(event, fixture.now).unwrap();
        update(jobs, fixture, &job, Settlement::None).await.unwrap();
        let stored = jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&job));
    }
    assert_eq!(job.result().unwrap().files(), [file(fixture)]);
    job = job.apply(Event::Deleted, fixture.now).unwrap();
    update(jobs, fixture, &job, Settlement::None).await.unwrap();
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), None, "its owner sees it no more");
    assert_eq!(jobs.read(&fixture.partition, job.id()).await.unwrap(), Some(job));
    assert!(jobs.list(&fixture.partition, None, fixture.now, 10).await.unwrap().jobs.is_empty());

    let window = usage.window(&fixture.partition.tenant).await.unwrap().admit(fixture.now, 5).unwrap();
    let job = fixture.export_job(1);
    jobs.accept(&fixture.partition, &acceptance(fixture, job.clone(), window)).await.unwrap();
    let job = job.apply(acquired(fixture, &token), fixture.now).unwrap();
    update(jobs, fixture, &job, Settlement::None).await.unwrap();
    let reason = FailureReason::SourceMissing;
    let failed = job
        .apply(Event::Failed { token, reason, progress: Progress::default(), checkpoint: None }, fixture.now)
        .unwrap();
    let refund = failed.settlement(&job);
    assert_eq!(refund, Settlement::Refund(job.reservation().clone()));
    update(jobs, fixture, &failed, refund).await.unwrap();
    let job = failed;
    let stored = jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap().unwrap();
    assert_eq!(stored.state(), &JobState::Failed(FailureReason::SourceMissing));
    let month = usage.month(&fixture.partition.tenant, &job.reservation().month).await.unwrap();
    assert_eq!(month.test, 1, "a failed job gives its reservation back");
}

async fn violations_are_kept_and_no_list_reads_them(jobs: &dyn Jobs, fixture: &Fixture) {
    let job = accepted_as(jobs, fixture, fixture.import_job(1)).await;
    let token = Token::new(1);
    let violations = (1..=3).map(|line| LineViolation { line, violation: Violation::duplicate_id(line) }).collect();
    let result = JobResult::Import { violations, violation_count: 3, files: vec![file(fixture)] };
    let progress = Progress { total: 3, processed: 3, succeeded: 0, failed: 3 };
    let completed = Event::Completed { token: token.clone(), result, progress, leftovers: false };
    let mut job = job;
    for event in [acquired(fixture, &token), completed] {
        job = job.apply(event, fixture.now).unwrap();
        update(jobs, fixture, &job, Settlement::None).await.unwrap();
    }
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap().as_ref(), Some(&job));
    let listed = jobs.list(&fixture.partition, None, fixture.now, 10).await.unwrap().jobs;
    assert_eq!(listed, [job.in_list()]);
}

async fn a_reservation_fits_the_month_or_nothing_is_written(
    jobs: &dyn Jobs,
    usage: &dyn UsageStore,
    fixture: &Fixture,
) {
    let job = accepted_as(jobs, fixture, fixture.import_job(1)).await;
    let acquired = job.apply(acquired(fixture, &Token::new(1)), fixture.now).unwrap();
    update(jobs, fixture, &acquired, Settlement::None).await.unwrap();
    let counted = acquired.apply(Event::Counted { token: Token::new(1), records: 99 }, fixture.now).unwrap();
    let month = async || usage.month(&fixture.partition.tenant, &job.reservation().month).await.unwrap().test;
    // One request is used already.
    for limit in [99, 50] {
        let full = update(jobs, fixture, &counted, Settlement::Reserve { limit: Some(limit) }).await;
        assert!(matches!(full, Err(UpdateError::MonthFull)), "{full:?}");
    }
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(acquired));
    assert_eq!(month().await, 1);
    update(jobs, fixture, &counted, Settlement::Reserve { limit: Some(100) }).await.unwrap();
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(counted.clone()));
    assert_eq!(month().await, 100);
    let twice = counted.apply(Event::Counted { token: Token::new(1), records: 99 }, fixture.now);
    assert_eq!(twice.unwrap_err().refusal, Refusal::AlreadyCounted);
    let again = update(jobs, fixture, &counted, Settlement::Reserve { limit: None }).await;
    assert!(matches!(again, Err(UpdateError::Conflict)), "{again:?}");
    assert_eq!(month().await, 100);
}

async fn an_entry_of_a_job_that_is_gone_is_replaced(jobs: &dyn Jobs, usage: &dyn UsageStore, fixture: &Fixture) {
    let key = IdempotencyKey::parse(b"nightly").unwrap();
    let write = |job: &Job, gone: Option<&Job>| {
        let fingerprint = Fingerprint::of("POST", "/v1/bulk/export", b"{}");
        let entry = IdempotencyEntry { fingerprint, job_id: job.id().clone(), expires_at: fixture.later(86_400) };
        Some(IdempotencyWrite { key: key.clone(), entry, gone: gone.map(|job| job.id().clone()) })
    };
    let (first, second) = (fixture.export_job(1), fixture.export_job(1));
    let window = Window::default().admit(fixture.now, 5).unwrap();
    let mut one = acceptance(fixture, first.clone(), window.clone());
    one.idempotency = write(&first, None);
    jobs.accept(&fixture.partition, &one).await.unwrap();
    let mut other = acceptance(fixture, second.clone(), window.admit(fixture.now, 5).unwrap());
    for (gone, replaces) in [(None, false), (Some(&second), false), (Some(&first), true)] {
        other.idempotency = write(&second, gone);
        other.request_token = format!("{:032x}", fixture.ids.random());
        match jobs.accept(&fixture.partition, &other).await {
            Ok(()) => assert!(replaces),
            refused => assert!(cancelled(refused).idempotency_key_used && !replaces),
        }
    }
    let entry = usage.idempotency(&fixture.partition, &key, fixture.now).await.unwrap();
    assert_eq!(entry.unwrap().job_id, *second.id());
}

async fn an_upload_is_used_once(jobs: &dyn Jobs, usage: &dyn UsageStore, fixture: &Fixture) {
    let Fixture { partition, now, .. } = fixture;
    let upload = |seconds| Upload {
        id: UploadId::new(*now, fixture.ids.random()),
        expires_at: fixture.later(seconds),
        used_by: None,
    };
    let first = upload(60);
    let reservation = fixture.export_job(1).reservation().clone();
    let free = |number| UploadSlot { number, holder: None };
    usage.create_upload(partition, &first, &reservation, Some(1), &free(7)).await.unwrap();
    let full = usage.create_upload(partition, &upload(60), &reservation, Some(1), &free(8)).await;
    assert!(matches!(full, Err(AddUploadError::MonthFull)), "{full:?}");
    let late = usage.create_upload(partition, &upload(60), &reservation, None, &free(7)).await;
    assert!(matches!(late, Err(AddUploadError::Conflict)), "{late:?}");
    assert_eq!(usage.open_uploads(partition, *now).await.unwrap().holders[7], Some(first.id.clone()));
    assert_eq!(usage.upload(partition, &first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(usage.upload(&fixture.live(), &first.id).await.unwrap(), None);

    let using = |window: &Window, id: &UploadId| Acceptance {
        upload: Some(id.clone()),
        ..acceptance(fixture, fixture.export_job(1), window.admit(*now, 5).unwrap())
    };
    let accepted = using(&Window::default(), &first.id);
    jobs.accept(partition, &accepted).await.unwrap();
    let used_by = usage.upload(partition, &first.id).await.unwrap().unwrap().used_by;
    assert_eq!(used_by.as_ref(), Some(accepted.job.id()));
    let open = usage.open_uploads(partition, *now).await.unwrap();
    let free = open.free_slots(*now);
    assert_eq!((open.open(*now).count(), free.len()), (0, MAX_OPEN_UPLOADS));
    usage.create_upload(partition, &upload(60), &reservation, None, &free[7]).await.unwrap();
    for id in [first.id, UploadId::new(*now, 1)] {
        let reasons = cancelled(jobs.accept(partition, &using(&accepted.window, &id)).await);
        assert_eq!(reasons, Cancellation { upload_unusable: true, ..Cancellation::default() });
    }
}

async fn what_is_due_is_found_until_moved(jobs: &dyn Jobs, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    let find = async |seconds| -> Option<DueJob> {
        // Other tests leave due jobs of their own: all pages are read.
        let mut due = Vec::new();
        for group in DueGroup::ALL {
            let mut next = None;
            loop {
                let page = jobs.due(group, fixture.later(seconds), next.as_ref(), 3).await.unwrap();
                assert!(page.jobs.len() <= 3);
                due.extend(page.jobs);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        due.retain(|due| due.job_id == *job.id());
        assert!(due.len() <= 1);
        due.pop()
    };
    assert_eq!(find(299).await, None);
    let due = find(300).await.unwrap();
    assert_eq!((&due.partition, due.due_at), (&fixture.partition, fixture.later(300)));
    for _ in 0..2 {
        assert!(jobs.postpone(&due, fixture.later(600)).await.unwrap(), "a try whose answer was lost is made again");
    }
    assert!(!jobs.postpone(&due, fixture.later(900)).await.unwrap(), "it is no longer due as it was found");
    assert_eq!(find(599).await, None);
    assert_eq!(find(600).await.unwrap().due_at, fixture.later(600));
    let token = Token::new(1);
    let job = job.apply(acquired(fixture, &token), fixture.now).unwrap();
    update(jobs, fixture, &job, Settlement::None).await.unwrap();
    let group = DueGroup { job_type: JobType::Export, stage: Stage::Started };
    assert_eq!(find(10_000).await.unwrap().group, group);
    assert!(jobs.oldest(group).await.unwrap().is_some_and(|oldest| oldest <= job.id().created_at()));
    let (reason, progress) = (FailureReason::FileLost, Progress::default());
    let failed = job.apply(Event::Failed { token, reason, progress, checkpoint: None }, fixture.now).unwrap();
    update(jobs, fixture, &failed, Settlement::None).await.unwrap();
    assert_eq!(find(599).await, None);
    let due = find(600).await.unwrap();
    assert_eq!(due.group, DueGroup { stage: Stage::Ended, ..group }, "what its worker has left is cleared away");
    let cleared = failed.apply(Event::Cleared, fixture.now).unwrap();
    update(jobs, fixture, &cleared, Settlement::None).await.unwrap();
    assert_eq!(find(10_000).await, None);
}
