//! What a job store does.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Fixture;
use crate::idempotency::{Fingerprint, IdempotencyEntry, IdempotencyKey};
use crate::ids::{Token, UploadId};
use crate::job::{Event, ExportPlan, FailureReason, IllegalTransition, Job, JobStatus, JobType, Progress};
use crate::lease::Claim;
use crate::object_key::ObjectKey;
use crate::ports::{
    AcceptError, Acceptance, Cancellation, Change, Due, IdSource, JobStore, MultipartId, PageKey, Settlement,
    UpdateError, UploadedPart, UsageStore,
};
use crate::segment::{Checkpoint, Segment, SegmentEvent};
use crate::upload::Upload;
use crate::window::Window;

/// Runs all behaviours of a [`JobStore`] and of the limits that its acceptance writes.
pub async fn jobs(jobs: &dyn JobStore, usage: &dyn UsageStore, seed: u64, now: Timestamp) {
    acceptance_is_all_or_nothing(jobs, usage, &Fixture::new(seed, now)).await;
    jobs_stay_in_their_partition(jobs, &Fixture::new(seed + 1, now)).await;
    an_update_follows_the_stored_revision(jobs, &Fixture::new(seed + 2, now)).await;
    every_state_survives_storage(jobs, usage, &Fixture::new(seed + 3, now)).await;
    a_reservation_fits_the_month_or_nothing_is_written(jobs, usage, &Fixture::new(seed + 5, now)).await;
    an_upload_is_used_once(jobs, usage, &Fixture::new(seed + 6, now)).await;
    what_is_due_is_found_until_moved(jobs, &Fixture::new(seed + 4, now)).await;
    a_plan_and_its_segments_are_written_together(jobs, &Fixture::new(seed + 7, now)).await;
    a_segment_ends_together_with_its_mark_in_the_job(jobs, &Fixture::new(seed + 8, now)).await;
    a_due_segment_is_found_until_moved(jobs, &Fixture::new(seed + 9, now)).await;
}

/// An export in its segments.
async fn planned(jobs: &dyn JobStore, fixture: &Fixture) -> (Job, Vec<Segment>) {
    let (partition, token) = (&fixture.partition, Token::new(1));
    let job = accepted(jobs, fixture).await.apply(taken(fixture, &token), fixture.now).unwrap();
    jobs.update(partition, &Change::job(job.clone())).await.unwrap();
    let plan = ExportPlan {
        started_reading_at: fixture.now,
        file: ObjectKey::export(partition, job.id(), &token),
        upload: MultipartId("upload-1".to_owned()),
        part_size: 8 << 20,
        segments: 2,
        done: BTreeSet::new(),
        counted: 7,
    };
    let job = job.apply(Event::Planned { token, plan, due_at: fixture.later(86_400) }, fixture.now).unwrap();
    let segments = [(0, 0..9), (1, 9..32)];
    let segments = segments.map(|(number, slices)| Segment::new(&job, number, slices, fixture.later(300)));
    (job, segments.to_vec())
}

async fn a_plan_and_its_segments_are_written_together(jobs: &dyn JobStore, fixture: &Fixture) {
    let partition = &fixture.partition;
    let (job, segments) = planned(jobs, fixture).await;
    let plan = Change { segments: segments.clone(), ..Change::job(job.clone()) };
    assert_eq!(jobs.segment(partition, job.id(), 1, fixture.now).await.unwrap(), None);
    jobs.update(partition, &plan).await.unwrap();
    let stored = jobs.with_segments(partition, job.id(), fixture.now).await.unwrap();
    assert_eq!(stored, Some((job.clone(), segments.clone())));
    let one = jobs.segment(partition, job.id(), 1, fixture.now).await.unwrap();
    assert_eq!(one.as_ref(), segments.last());
    assert_eq!(jobs.get(partition, job.id(), fixture.now).await.unwrap(), Some(job.clone()));
    for other in [&fixture.live(), &"contract-other#test".parse().unwrap()] {
        assert_eq!(jobs.with_segments(other, job.id(), fixture.now).await.unwrap(), None);
        assert_eq!(jobs.segment(other, job.id(), 1, fixture.now).await.unwrap(), None);
    }
    assert_eq!(jobs.with_segments(partition, job.id(), job.expires_at()).await.unwrap(), None);
    let again = jobs.update(partition, &plan).await;
    assert!(matches!(again, Err(UpdateError::Conflict)), "a plan is written once: {again:?}");
}

async fn a_segment_ends_together_with_its_mark_in_the_job(jobs: &dyn JobStore, fixture: &Fixture) {
    let (partition, now, token) = (&fixture.partition, fixture.now, Token::new(5));
    let (job, segments) = planned(jobs, fixture).await;
    jobs.update(partition, &Change { segments: segments.clone(), ..Change::job(job.clone()) }).await.unwrap();
    let claim = |seconds| claim(fixture, &token, seconds);
    let segment = segments[0].apply(SegmentEvent::Taken(claim(60)), now).unwrap();
    jobs.update(partition, &segment.clone().into()).await.unwrap();
    let behind = PageKey { id: "r-1".to_owned(), last_updated: format!("{now:.3}") };
    let parts = vec![UploadedPart { number: 1, etag: "\"tag\"".to_owned() }];
    let covered = Checkpoint { slice: 3, behind: Some(behind), next_part: 2, processed: 40, bytes: 9 << 20, parts };
    let segment = segment.apply(SegmentEvent::Renewed(claim(90), covered.clone()), now).unwrap();
    jobs.update(partition, &segment.clone().into()).await.unwrap();
    assert_eq!(jobs.segment(partition, job.id(), 0, now).await.unwrap(), Some(segment.clone()));

    let tail = Some(ObjectKey::tail(partition, job.id(), 0, &token));
    let done = segment.apply(SegmentEvent::Done { token: token.clone(), tail, covered }, now).unwrap();
    let marked = job.apply(Event::SegmentDone { number: 0, claim: claim(70) }, now).unwrap();
    let stale = marked.clone().restored(marked.revision() + 1, marked.due_at());
    let refused = jobs.update(partition, &Change { job: Some(stale), ..done.clone().into() }).await;
    assert!(matches!(refused, Err(UpdateError::Conflict)), "{refused:?}");
    assert_eq!(jobs.segment(partition, job.id(), 0, now).await.unwrap(), Some(segment), "neither is written");
    jobs.update(partition, &Change { job: Some(marked.clone()), ..done.clone().into() }).await.unwrap();
    let stored = jobs.with_segments(partition, job.id(), now).await.unwrap();
    assert_eq!(stored, Some((marked, vec![done, segments[1].clone()])));
}

async fn a_due_segment_is_found_until_moved(jobs: &dyn JobStore, fixture: &Fixture) {
    let (job, segments) = planned(jobs, fixture).await;
    jobs.update(&fixture.partition, &Change { segments: segments.clone(), ..Change::job(job.clone()) }).await.unwrap();
    let find = async |seconds| -> Vec<Due> {
        let mut due = jobs.due(JobType::Export, fixture.later(seconds), 1_000).await.unwrap();
        due.retain(|due| due.target.job_id == *job.id());
        due.sort_by_key(|due| due.target.segment);
        due
    };
    assert_eq!(find(299).await, Vec::new());
    let due = find(300).await;
    let targets: Vec<_> = due.iter().map(|due| due.target.clone()).collect();
    assert_eq!(targets, [segments[0].target(), segments[1].target()]);
    assert!(jobs.postpone(&due[1], fixture.later(600)).await.unwrap());
    assert!(!jobs.postpone(&due[1], fixture.later(900)).await.unwrap());
    assert_eq!(find(599).await, due[..1]);
    let dropped = segments[0].apply(SegmentEvent::Dropped, fixture.now).unwrap();
    jobs.update(&fixture.partition, &dropped.into()).await.unwrap();
    assert_eq!(find(599).await, Vec::new());
    assert_eq!(find(86_400).await.len(), 2, "the job itself, once it is too old, and a segment");
}

fn acceptance(fixture: &Fixture, job: Job, window: Window) -> Acceptance {
    let request_token = format!("{:032x}", fixture.ids.random());
    Acceptance { job, window, month_limit: Some(100), upload: None, idempotency: None, request_token }
}

async fn accepted(jobs: &dyn JobStore, fixture: &Fixture) -> Job {
    accepted_as(jobs, fixture, fixture.export_job(1)).await
}

async fn accepted_as(jobs: &dyn JobStore, fixture: &Fixture, job: Job) -> Job {
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

async fn acceptance_is_all_or_nothing(jobs: &dyn JobStore, usage: &dyn UsageStore, fixture: &Fixture) {
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
    first.idempotency = Some((key.clone(), entry.clone()));
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
    second.idempotency = Some((key.clone(), entry));
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
    third.idempotency = Some((IdempotencyKey::parse(b"retry-2").unwrap(), renewed));
    jobs.accept(partition, &third).await.unwrap();
    assert_eq!(usage.month(tenant, &first.job.reservation().month).await.unwrap().test, 100);

    let mut unlimited = acceptance(fixture, fixture.export_job(1_000), third.window.admit(*now, 5).unwrap());
    unlimited.month_limit = None;
    jobs.accept(partition, &unlimited).await.unwrap();
    assert_eq!(usage.month(tenant, &first.job.reservation().month).await.unwrap().test, 1_100);
}

async fn jobs_stay_in_their_partition(jobs: &dyn JobStore, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    assert!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap().is_some());
    assert_eq!(jobs.get(&fixture.live(), job.id(), fixture.now).await.unwrap(), None);
    assert_eq!(jobs.get(&fixture.partition, job.id(), job.expires_at()).await.unwrap(), None);
}

fn claim(fixture: &Fixture, token: &Token, seconds: i64) -> Claim {
    Claim { token: token.clone(), expires_at: fixture.later(seconds), due_at: fixture.later(seconds + 10) }
}

fn taken(fixture: &Fixture, token: &Token) -> Event {
    Event::Taken(claim(fixture, token, 60))
}

async fn an_update_follows_the_stored_revision(jobs: &dyn JobStore, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    let one = job.apply(taken(fixture, &Token::new(1)), fixture.now).unwrap();
    let other = job.apply(taken(fixture, &Token::new(2)), fixture.now).unwrap();
    jobs.update(&fixture.partition, &Change::job(one.clone())).await.unwrap();
    let late = jobs.update(&fixture.partition, &Change::job(other.clone())).await;
    assert!(matches!(late, Err(UpdateError::Conflict)), "{late:?}");
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(one.clone()));
    let absent = fixture.export_job(1).apply(taken(fixture, &Token::new(1)), fixture.now).unwrap();
    let nowhere = jobs.update(&fixture.partition, &Change::job(absent.clone())).await;
    assert!(matches!(nowhere, Err(UpdateError::Conflict)), "{nowhere:?}");
}

async fn every_state_survives_storage(jobs: &dyn JobStore, usage: &dyn UsageStore, fixture: &Fixture) {
    let token = Token::new(7);
    let mut job = accepted(jobs, fixture).await;
    let progress = Progress { total: 9, processed: 4, succeeded: 3, failed: 1 };
    let renewed = Event::Renewed(claim(fixture, &token, 90), progress);
    let released = Event::Released { token: token.clone(), due_at: fixture.later(30), because_unavailable: true };
    let failed = Event::Failed { token: token.clone(), reason: FailureReason::SourceMissing };
    for event in [Event::SendFailed, taken(fixture, &token), renewed, released, taken(fixture, &token), failed] {
        job = job.apply(event, fixture.now).unwrap();
        jobs.update(&fixture.partition, &Change::job(job.clone()).settle(crate::hold::settlement(&job))).await.unwrap();
        let stored = jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&job));
    }
    assert_eq!(job.status(), &JobStatus::Failed(FailureReason::SourceMissing));
    let month = usage.month(&fixture.partition.tenant, &job.reservation().month).await.unwrap();
    assert_eq!(month.test, 0, "a failed job gives its reservation back");
}

async fn a_reservation_fits_the_month_or_nothing_is_written(
    jobs: &dyn JobStore,
    usage: &dyn UsageStore,
    fixture: &Fixture,
) {
    let job = accepted_as(jobs, fixture, fixture.import_job(1)).await;
    let taken = job.apply(taken(fixture, &Token::new(1)), fixture.now).unwrap();
    jobs.update(&fixture.partition, &Change::job(taken.clone())).await.unwrap();
    let counted = taken.apply(Event::Counted { token: Token::new(1), records: 99 }, fixture.now).unwrap();
    let reserve = |limit| Settlement::Reserve { reservation: counted.reservation().clone(), limit };
    let month = async || usage.month(&fixture.partition.tenant, &job.reservation().month).await.unwrap().test;
    // One request is used already.
    for limit in [99, 50] {
        let full = jobs.update(&fixture.partition, &Change::job(counted.clone()).settle(reserve(Some(limit)))).await;
        assert!(matches!(full, Err(UpdateError::MonthFull)), "{full:?}");
    }
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(taken));
    assert_eq!(month().await, 1);
    jobs.update(&fixture.partition, &Change::job(counted.clone()).settle(reserve(Some(100)))).await.unwrap();
    assert_eq!(jobs.get(&fixture.partition, job.id(), fixture.now).await.unwrap(), Some(counted.clone()));
    assert_eq!(month().await, 100);
    let twice = counted.apply(Event::Counted { token: Token::new(1), records: 99 }, fixture.now);
    assert_eq!(twice, Err(IllegalTransition::Counted));
    let again = jobs.update(&fixture.partition, &Change::job(counted.clone()).settle(reserve(None))).await;
    assert!(matches!(again, Err(UpdateError::Conflict)), "{again:?}");
    assert_eq!(month().await, 100);
}

async fn an_upload_is_used_once(jobs: &dyn JobStore, usage: &dyn UsageStore, fixture: &Fixture) {
    let Fixture { partition, now, .. } = fixture;
    let upload = |seconds| Upload {
        id: UploadId::new(*now, fixture.ids.random()),
        expires_at: fixture.later(seconds),
        used: false,
    };
    let first = upload(60);
    let reservation = fixture.export_job(1).reservation().clone();
    assert!(usage.create_upload(partition, &first, &reservation, Some(1)).await.unwrap());
    assert!(!usage.create_upload(partition, &upload(60), &reservation, Some(1)).await.unwrap(), "the month is full");
    assert_eq!(usage.upload(partition, &first.id, *now).await.unwrap(), Some(first.clone()));
    assert_eq!(usage.upload(&fixture.live(), &first.id, *now).await.unwrap(), None);
    assert_eq!(usage.upload(partition, &first.id, fixture.later(60)).await.unwrap(), None);

    let using = |window: &Window, id: &UploadId| Acceptance {
        upload: Some(id.clone()),
        ..acceptance(fixture, fixture.export_job(1), window.admit(*now, 5).unwrap())
    };
    let accepted = using(&Window::default(), &first.id);
    jobs.accept(partition, &accepted).await.unwrap();
    assert!(usage.upload(partition, &first.id, *now).await.unwrap().unwrap().used);
    for id in [first.id, UploadId::new(*now, 1)] {
        let reasons = cancelled(jobs.accept(partition, &using(&accepted.window, &id)).await);
        assert_eq!(reasons, Cancellation { upload_unusable: true, ..Cancellation::default() });
    }
}

async fn what_is_due_is_found_until_moved(jobs: &dyn JobStore, fixture: &Fixture) {
    let job = accepted(jobs, fixture).await;
    let find = async |seconds| -> Option<Due> {
        let mut due = jobs.due(JobType::Export, fixture.later(seconds), 1_000).await.unwrap();
        due.retain(|due| due.target == job.id().into());
        assert!(due.len() <= 1);
        due.pop()
    };
    assert_eq!(find(299).await, None);
    let due = find(300).await.unwrap();
    assert_eq!((&due.partition, due.job_type, due.due_at), (&fixture.partition, JobType::Export, fixture.later(300)));
    assert!(jobs.postpone(&due, fixture.later(600)).await.unwrap());
    assert!(!jobs.postpone(&due, fixture.later(900)).await.unwrap(), "it is no longer due as it was found");
    assert_eq!(find(599).await, None);
    assert_eq!(find(600).await.unwrap().due_at, fixture.later(600));
    let failed = job.apply(Event::Expired, fixture.now).unwrap();
    jobs.update(&fixture.partition, &Change::job(failed.clone())).await.unwrap();
    assert_eq!(find(10_000).await, None, "an ended job is never due");
}
