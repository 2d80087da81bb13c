//! Every sequence of events keeps the promises of the states.

use proptest::prelude::*;

use super::*;
use crate::files::Compression;
use crate::files::ObjectKey;
use crate::ids::{JobId, Partition};
use crate::jobs::Settlement;
use crate::jobs::{ExportCheckpoint, ExportPlan};
use crate::jobs::{ExportSpec, FileLayout, ImportFormat, ImportSource, JobSpec, NewJob, RecordFormat, Reservation};
use crate::limits::{Month, Pool};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn partition() -> Partition {
    "clinic#test".parse().unwrap()
}

fn new_import() -> Job {
    let source = ImportSource::Inline { key: ObjectKey::import(&partition(), &JobId::new(at(0), 1)) };
    job_of(JobSpec::Import { resource_type: records::ResourceType::Patient, source, format: ImportFormat::Flat })
}

fn new_export() -> Job {
    job_of(JobSpec::Export(ExportSpec {
        resource_types: vec![records::ResourceType::Patient],
        since: None,
        files: FileLayout::Single,
        compression: Compression::None,
        format: RecordFormat::Flat,
    }))
}

fn job_of(spec: JobSpec) -> Job {
    Job::new(NewJob {
        label: None,
        spec,
        partition: partition(),
        id: JobId::new(at(0), 1),
        total: 3,
        counted: true,
        reservation: Reservation { pool: Pool::Test, month: Month::of(at(0)), requests: 3 },
        created_at: at(0),
        expires_at: at(7 * 86_400),
        due_at: at(300),
    })
}

fn request(token: u128, now: i64) -> LeaseRequest {
    let token = Token::new(token);
    LeaseRequest { token, expires_at: at(now + 60), due_at: at(now + 70), oldest: at(now - 86_400) }
}

fn acquired(token: u128, now: i64) -> Event {
    Event::Acquired(request(token, now))
}

fn progress(processed: u64) -> Progress {
    Progress { total: 3, processed, succeeded: processed, failed: 0 }
}

fn advanced(token: u128, now: i64, processed: u64) -> Event {
    let renewal = Some(request(token, now));
    Event::Advanced { token: Token::new(token), renewal, progress: progress(processed), checkpoint: None }
}

fn released(token: u128, now: i64, why: Release) -> Event {
    let (token, due_at) = (Token::new(token), at(now + 30));
    Event::Released { token, due_at, why, progress: progress(0), checkpoint: None }
}

fn completed(token: u128) -> Event {
    let result = JobResult::Import { violations: Vec::new(), violation_count: 0, files: Vec::new() };
    Event::Completed { token: Token::new(token), result, progress: progress(3), leftovers: false }
}

fn refusal(result: Result<Job, IllegalTransition>) -> Refusal {
    result.unwrap_err().refusal
}

#[test]
fn a_live_lease_keeps_others_out_and_an_expired_one_does_not() {
    let job = new_import().apply(acquired(1, 0), at(0)).unwrap();
    assert_eq!(refusal(job.apply(acquired(2, 59), at(59))), Refusal::Leased);
    let job = job.apply(acquired(2, 60), at(60)).unwrap();
    assert_eq!(job.lease().unwrap().attempt, 1);
    assert_eq!(refusal(job.apply(completed(1), at(61))), Refusal::LeaseLost);
    assert_eq!(job.apply(completed(2), at(61)).unwrap().state().name(), "completed");
}

#[test]
fn an_illegal_transition_names_state_and_event() {
    let illegal = new_import().apply(completed(1), at(0)).unwrap_err();
    assert_eq!(illegal.to_string(), "event completed in state pending: lease was lost");
}

#[test]
fn the_fifth_takeover_without_progress_fails_the_job() {
    let mut job = new_import().apply(acquired(0, 0), at(0)).unwrap();
    for attempt in 1..5 {
        job = job.apply(acquired(0, attempt * 60), at(attempt * 60)).unwrap();
        assert_eq!(i64::from(job.lease().unwrap().attempt), attempt);
    }
    let failed = job.apply(acquired(0, 300), at(300)).unwrap();
    assert_eq!(failed.state(), &JobState::Failed(FailureReason::AttemptsExhausted));
    assert_eq!(failed.due_at(), Some(at(900)), "what the five have left is cleared away later");
}

#[test]
fn progress_resets_the_attempts() {
    let job = new_import().apply(acquired(0, 0), at(0)).unwrap();
    let job = job.apply(acquired(1, 60), at(60)).unwrap();
    assert_eq!(job.apply(advanced(1, 61, 0), at(61)).unwrap().lease().unwrap().attempt, 1);
    assert_eq!(job.apply(advanced(1, 61, 2), at(61)).unwrap().lease().unwrap().attempt, 0);
}

#[test]
fn an_outage_is_no_defect_of_the_job_and_a_time_slice_forgets_none_of_it() {
    let mut job = new_import();
    let expected = [
        (Release::Deferred, (1, 0)),
        (Release::Deferred, (2, 0)),
        (Release::Defective, (3, 1)),
        (Release::Deferred, (4, 1)),
        (Release::Defective, (5, 2)),
        (Release::Yielded, (5, 0)),
    ];
    for (now, (why, counted)) in (0..).zip(expected) {
        job = job.apply(acquired(1, now), at(now)).unwrap().apply(released(1, now, why), at(now)).unwrap();
        assert_eq!((job.deferrals(), job.defects()), counted, "{why:?}");
    }
}

#[test]
fn a_job_that_is_too_old_fails_unless_a_worker_is_at_it() {
    let day = 86_400;
    let too_old = &JobState::Failed(FailureReason::TooOld);
    assert_eq!(new_import().apply(acquired(1, day + 1), at(day + 1)).unwrap().state(), too_old);
    let leased = new_import().apply(acquired(1, day - 10), at(day - 10)).unwrap();
    assert_eq!(refusal(leased.apply(acquired(2, day + 1), at(day + 1))), Refusal::Leased);
    assert_eq!(leased.apply(acquired(2, day + 50), at(day + 50)).unwrap().state(), too_old);
}

#[test]
fn only_records_chunks_copies_and_files_are_an_advance() {
    let plan = ExportPlan { started_at: at(0), counted: 3, until: at(0), by_log: Vec::new() };
    let planned = ExportCheckpoint::new(plan);
    let of = |job: &Job, checkpoint: &ExportCheckpoint| {
        let checkpoint = Some(Box::new(Checkpoint::Export(checkpoint.clone())));
        job.apply(Event::Advanced { token: Token::new(2), renewal: None, progress: progress(0), checkpoint }, at(61))
            .unwrap()
    };
    let job = new_export().apply(acquired(1, 0), at(0)).unwrap().apply(acquired(2, 60), at(60)).unwrap();
    let job = of(&job, &planned);
    assert_eq!(job.lease().unwrap().attempt, 0, "a plan is one");
    let job = job.apply(acquired(2, 122), at(122)).unwrap();
    let mut reached = planned.clone();
    (reached.restarts, reached.is_chunked) = (1, true);
    assert_eq!(of(&job, &reached).lease().unwrap().attempt, 1, "a file that is begun anew is none");
    reached.next_file = 1;
    assert_eq!(of(&job, &reached).lease().unwrap().attempt, 0);
}

fn refund(before: &Job, job: &Job) -> u64 {
    match job.settlement(before) {
        Settlement::Refund(refund) => refund.requests,
        Settlement::None | Settlement::Reserve { .. } => 0,
    }
}

fn cancel(job: &Job, now: i64) -> Job {
    let cancelled = job.apply(Event::Cancelled, at(now)).unwrap();
    assert_eq!(cancelled.outcome(), Some(crate::jobs::JobOutcome::Cancelled));
    cancelled
}

#[test]
fn an_owner_ends_a_job_whoever_is_at_it() {
    let import = new_import().apply(acquired(1, 0), at(0)).unwrap().apply(advanced(1, 1, 2), at(1)).unwrap();
    let cancelled = cancel(&import, 2);
    assert_eq!(refusal(cancelled.apply(Event::Cancelled, at(3))), Refusal::Ended);
    for late in [completed(1), advanced(1, 3, 3), acquired(2, 90)] {
        assert_eq!(refusal(cancelled.apply(late, at(90))), Refusal::Ended, "nothing revives it");
    }
}

#[test]
fn a_cancelled_import_gives_back_what_certainly_is_not_stored() {
    let settled = |token, begun| Event::Settled { token: Token::new(token), begun };
    let new = new_import();
    assert_eq!(refund(&new, &cancel(&new, 1)), 3, "nobody was ever at it");

    let leased = new.apply(acquired(1, 0), at(0)).unwrap().apply(advanced(1, 1, 1), at(1)).unwrap();
    let cancelled = cancel(&leased, 2);
    assert_eq!(refund(&leased, &cancelled), 0, "its worker knows, once it notices");
    assert_eq!(refusal(cancelled.apply(settled(2, 0), at(3))), Refusal::Ended, "and nobody else");
    let told = cancelled.apply(settled(1, 2), at(3)).unwrap();
    assert_eq!((refund(&cancelled, &told), told.charged()), (1, 2), "of 3 reserved, 2 were begun to be written");
    assert_eq!(refusal(told.apply(settled(1, 0), at(4))), Refusal::Ended, "once");

    let checkpoint = Some(Box::new(Checkpoint::Import { begun: 2 }));
    let (due_at, why) = (at(30), Release::Deferred);
    let released = Event::Released { token: Token::new(1), due_at, why, progress: progress(1), checkpoint };
    let released = leased.apply(released, at(2)).unwrap();
    assert_eq!(refund(&released, &cancel(&released, 3)), 1, "it was written down when its worker stopped");

    let taken_over = leased.apply(acquired(2, 62), at(62)).unwrap();
    let cancelled = cancel(&taken_over, 63);
    let told = cancelled.apply(settled(2, 2), at(64)).unwrap();
    assert_eq!((refund(&cancelled, &told), told.charged()), (0, 3), "nobody knows what the dead worker had begun");

    let failed = |reason, processed| {
        let failed = Event::Failed { token: Token::new(1), reason, progress: progress(processed), checkpoint: None };
        refund(&leased, &leased.apply(failed, at(2)).unwrap())
    };
    assert_eq!(failed(FailureReason::UploadChanged, 2), 1, "its owner has changed it under the worker");
    assert_eq!(failed(FailureReason::SourceMissing, 2), 3, "nobody's fault but ours");

    let export = new_export();
    assert_eq!(refund(&export, &cancel(&export, 1)), 3);
    let failed = Event::Failed {
        token: Token::new(2),
        reason: FailureReason::SourceMissing,
        progress: progress(2),
        checkpoint: None,
    };
    let failed = taken_over.apply(failed, at(65)).unwrap();
    assert_eq!(refund(&taken_over, &failed), 3, "a failed one gives all of it back");
    assert_eq!(failed.progress().succeeded, 2, "and says what it has stored");
}

#[test]
fn an_ended_job_is_looked_at_once_more_when_a_worker_may_have_left_something() {
    let pending = new_import();
    assert_eq!(cancel(&pending, 5).due_at(), None);
    let working = pending.apply(acquired(1, 0), at(0)).unwrap();
    assert_eq!(working.apply(completed(1), at(5)).unwrap().due_at(), None, "one worker, no chunks");
    let taken_over = working.apply(acquired(2, 60), at(60)).unwrap();
    let released = working.apply(released(1, 2, Release::Deferred), at(2)).unwrap();
    let gone_on = released.apply(acquired(2, 60), at(60)).unwrap();
    let after = |job: &Job| job.apply(completed(2), at(65)).unwrap();
    for ended in [cancel(&working, 5), after(&taken_over), after(&gone_on)] {
        let ended_at = ended.completed_at().unwrap();
        assert_eq!(ended.due_at(), Some(ended_at + SECOND_CLEARING));
        let hidden = ended.apply(Event::Deleted, at(70)).unwrap();
        assert!(ended.is_shown(at(70)) && !hidden.is_shown(at(70)));
        let cleared = ended.apply(Event::Cleared, at(700)).unwrap();
        assert_eq!(cleared.due_at(), None);
        assert_eq!(refusal(cleared.apply(Event::Deleted, at(701))), Refusal::Ended, "nothing is left: it can go");
    }
}

fn any_event() -> impl Strategy<Value = (u8, u128, u64, i64)> {
    (0u8..12, 0u128..3, 0u64..4, 0i64..50)
}

proptest! {
    #[test]
    fn ended_jobs_stay_ended_and_progress_never_goes_back(
        is_import in any::<bool>(),
        events in proptest::collection::vec(any_event(), 0..60),
    ) {
        let mut job = if is_import { new_import() } else { new_export() };
        let mut now = 0;
        for (kind, token, processed, wait) in events {
            now += wait;
            let own = Token::new(token);
            let why = if processed > 1 { Release::Deferred } else { Release::Yielded };
            let event = match kind {
                0 | 1 => acquired(token, now),
                2 => advanced(token, now, processed),
                3 => Event::Released {
                    token: own, due_at: at(now + 30), why, progress: progress(processed), checkpoint: None,
                },
                4 => completed(token),
                5 => Event::Failed {
                    token: own, reason: FailureReason::SourceMissing, progress: progress(processed), checkpoint: None,
                },
                6 => Event::SendFailed,
                7 => Event::Cancelled,
                8 => Event::Settled { token: own, begun: processed },
                9 => Event::Deleted,
                10 => Event::Cleared,
                _ => Event::Counted { token: own, records: 3 },
            };
            match job.apply(event, at(now)) {
                Err(_) => {}
                Ok(next) => {
                    prop_assert!(!job.has_ended() || next.state() == job.state(), "an ended job changed");
                    prop_assert_eq!(next.revision(), job.revision() + 1);
                    prop_assert!(next.progress().processed >= job.progress().processed);
                    prop_assert!(next.due_at().is_some() || next.has_ended());
                    prop_assert!(next.charged() <= next.reservation().requests, "more is given back than was reserved");
                    prop_assert_eq!(next.completed_at().is_some(), next.has_ended());
                    job = next;
                }
            }
        }
    }
}
