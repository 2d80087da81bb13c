//! Every sequence of events keeps the promises of the states.

use proptest::prelude::*;

use super::*;
use crate::exporting::{ExportPlan, MAX_PARTS_AHEAD, open_file_for_tests};
use crate::files::ObjectKey;
use crate::identity::{JobId, Partition};
use crate::jobs::{Compression, ExportSpec, FileLayout, ImportSource, JobSpec, NewJob, Reservation};
use crate::limits::{Month, Pool};
use crate::ports::Settlement;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn partition() -> Partition {
    "clinic#test".parse().unwrap()
}

fn new_import() -> Job {
    let source = ImportSource::Inline { key: ObjectKey::import(&partition(), &JobId::new(at(0), 1)) };
    job_of(JobSpec::Import { resource_type: records::ResourceType::Patient, source })
}

fn new_export() -> Job {
    job_of(JobSpec::Export(ExportSpec {
        resource_types: vec![records::ResourceType::Patient],
        since: None,
        files: FileLayout::Single,
        compression: Compression::None,
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

fn completed(token: u128) -> Event {
    let result = JobResult::Import { violations: Vec::new(), violation_count: 0, files: Vec::new() };
    Event::Completed { token: Token::new(token), result, progress: progress(3) }
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
    assert_eq!(failed.due_at(), None);
}

#[test]
fn progress_resets_the_attempts() {
    let job = new_import().apply(acquired(0, 0), at(0)).unwrap();
    let job = job.apply(acquired(1, 60), at(60)).unwrap();
    assert_eq!(job.apply(advanced(1, 61, 0), at(61)).unwrap().lease().unwrap().attempt, 1);
    assert_eq!(job.apply(advanced(1, 61, 2), at(61)).unwrap().lease().unwrap().attempt, 0);
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
fn part_numbers_are_skipped_unless_all_uploads_have_ended() {
    let plan = ExportPlan { started_at: at(0), counted: 3, until: at(0), by_log: Vec::new() };
    let mut checkpoint = ExportCheckpoint::new(plan);
    checkpoint.open = Some(open_file_for_tests(&partition(), &JobId::new(at(0), 1)));
    let checkpoint = Some(Box::new(checkpoint));
    let (token, progress) = (Token::new(1), progress(1));
    let leased = new_export().apply(acquired(1, 0), at(0)).unwrap();
    let advanced = Event::Advanced { token: token.clone(), renewal: None, progress, checkpoint: checkpoint.clone() };
    let working = leased.apply(advanced, at(1)).unwrap();
    let number = |job: &Job| job.checkpoint().unwrap().open.as_ref().unwrap().next_number;
    assert_eq!(number(&working), 2);
    assert_eq!(number(&working.apply(acquired(2, 60), at(60)).unwrap()), 2 + MAX_PARTS_AHEAD, "a takeover");
    let expected = [(Release::Yielded, 2), (Release::Interrupted, 18), (Release::Deferred, 18)];
    for (why, next) in expected {
        let released =
            Event::Released { token: token.clone(), due_at: at(9), why, progress, checkpoint: checkpoint.clone() };
        let released = working.apply(released, at(2)).unwrap();
        assert_eq!(number(&released), next);
        assert_eq!(number(&released.apply(acquired(2, 3), at(3)).unwrap()), next, "once");
    }
}

#[test]
fn an_owner_ends_a_job_whoever_is_at_it_and_gets_back_what_was_not_reached() {
    let import = new_import().apply(acquired(1, 0), at(0)).unwrap().apply(advanced(1, 1, 2), at(1)).unwrap();
    let cancelled = import.apply(Event::Cancelled, at(2)).unwrap();
    assert_eq!(cancelled.outcome(), Some(crate::jobs::JobOutcome::Cancelled));
    let refund = |job: &Job| match job.settlement() {
        Settlement::Refund(refund) => refund.requests,
        Settlement::None | Settlement::Reserve { .. } => 0,
    };
    assert_eq!(refund(&cancelled), 1, "of 3 reserved, 2 were reached");
    assert_eq!(refund(&new_import().apply(Event::Cancelled, at(1)).unwrap()), 3);
    assert_eq!(refund(&new_export().apply(Event::Cancelled, at(1)).unwrap()), 3);
    assert_eq!(refusal(cancelled.apply(Event::Cancelled, at(3))), Refusal::Ended);
    for late in [completed(1), advanced(1, 3, 3), acquired(2, 90)] {
        assert_eq!(refusal(cancelled.apply(late, at(90))), Refusal::Ended, "nothing revives it");
    }
}

fn any_event() -> impl Strategy<Value = (u8, u128, u64, i64)> {
    (0u8..9, 0u128..3, 0u64..4, 0i64..50)
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
                5 => Event::Failed { token: own, reason: FailureReason::SourceMissing },
                6 => Event::SendFailed,
                7 => Event::Cancelled,
                _ => Event::Counted { token: own, records: 3 },
            };
            match job.apply(event, at(now)) {
                Err(_) => {}
                Ok(next) => {
                    prop_assert!(!job.has_ended(), "an ended job changed");
                    prop_assert_eq!(next.revision(), job.revision() + 1);
                    prop_assert!(next.progress().processed >= job.progress().processed);
                    prop_assert_eq!(next.due_at().is_none(), next.has_ended());
                    prop_assert_eq!(next.completed_at().is_some(), next.has_ended());
                    job = next;
                }
            }
        }
    }
}
