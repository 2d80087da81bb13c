//! Every sequence of events keeps the promises of the states.

use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;
use crate::job::{ImportSource, JobSpec, NewJob, Reservation};
use crate::object_key::ObjectKey;
use crate::plan::{Month, Pool};
use crate::ports::MultipartId;
use crate::{JobId, Partition};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn new_job() -> Job {
    let key = ObjectKey::import(&"clinic#test".parse().unwrap(), &JobId::new(at(0), 1));
    let source = ImportSource::Inline { key };
    job_of(JobSpec::Import { resource_type: records::ResourceType::Patient, source })
}

fn new_export() -> Job {
    job_of(JobSpec::Export { resource_types: vec![records::ResourceType::Patient], since: None })
}

fn job_of(spec: JobSpec) -> Job {
    let partition: Partition = "clinic#test".parse().unwrap();
    let id = JobId::new(at(0), 1);
    Job::new(NewJob {
        spec,
        partition,
        id,
        total: 3,
        counted: true,
        reservation: Reservation { pool: Pool::Test, month: Month::of(at(0)), requests: 3 },
        created_at: at(0),
        expires_at: at(7 * 86_400),
        due_at: at(300),
    })
}

fn taken(token: u128, now: i64) -> Event {
    Event::Taken(claim(token, now))
}

fn claim(token: u128, now: i64) -> Claim {
    Claim { token: Token::new(token), expires_at: at(now + 60), due_at: at(now + 70) }
}

fn progress(processed: u64) -> Progress {
    Progress { total: 3, processed, succeeded: processed, failed: 0 }
}

fn renewed(token: u128, now: i64, processed: u64) -> Event {
    Event::Renewed(claim(token, now), progress(processed))
}

fn completed(token: u128) -> Event {
    let results = ObjectKey::import(&"clinic#test".parse().unwrap(), &JobId::new(at(0), 1));
    let result = JobResult::Import { faults: Vec::new(), fault_count: 0, errors: None, rejected: None, results };
    Event::Completed { token: Token::new(token), result, progress: progress(3) }
}

#[test]
fn a_live_lease_keeps_others_out_and_an_expired_one_does_not() {
    let job = new_job().apply(taken(1, 0), at(0)).unwrap();
    assert_eq!(job.apply(taken(2, 59), at(59)), Err(IllegalTransition::Leased));
    let job = job.apply(taken(2, 60), at(60)).unwrap();
    assert_eq!(job.lease().unwrap().attempt, 1);
    assert_eq!(job.apply(completed(1), at(61)), Err(IllegalTransition::LeaseLost));
    assert_eq!(job.apply(completed(2), at(61)).unwrap().status(), &JobStatus::Completed);
}

#[test]
fn the_fifth_take_over_without_progress_fails_the_job() {
    let mut job = new_job().apply(taken(0, 0), at(0)).unwrap();
    for attempt in 1..5 {
        job = job.apply(taken(0, attempt * 60), at(attempt * 60)).unwrap();
        assert_eq!(i64::from(job.lease().unwrap().attempt), attempt);
    }
    let failed = job.apply(taken(0, 300), at(300)).unwrap();
    assert_eq!(failed.status(), &JobStatus::Failed(FailureReason::AttemptsExhausted));
    assert_eq!(failed.due_at(), None);
}

#[test]
fn progress_resets_the_attempts() {
    let job = new_job().apply(taken(0, 0), at(0)).unwrap();
    let job = job.apply(taken(1, 60), at(60)).unwrap();
    assert_eq!(job.apply(renewed(1, 61, 0), at(61)).unwrap().lease().unwrap().attempt, 1);
    assert_eq!(job.apply(renewed(1, 61, 2), at(61)).unwrap().lease().unwrap().attempt, 0);
}

#[test]
fn a_job_that_is_too_old_fails_unless_a_worker_is_at_it() {
    let job = new_job();
    assert_eq!(job.apply(Event::Expired, at(0)).unwrap().status(), &JobStatus::Failed(FailureReason::TooOld));
    let leased = job.apply(taken(1, 0), at(0)).unwrap();
    assert_eq!(leased.apply(Event::Expired, at(59)), Err(IllegalTransition::Leased));
    assert!(leased.apply(Event::Expired, at(60)).unwrap().has_ended());
}

fn planned(token: u128, segments: u8) -> Event {
    let partition: Partition = "clinic#test".parse().unwrap();
    let token = Token::new(token);
    let plan = ExportPlan {
        started_reading_at: at(0),
        file: ObjectKey::export(&partition, &JobId::new(at(0), 1), &token),
        upload: MultipartId("upload".to_owned()),
        part_size: 8 << 20,
        segments,
        done: BTreeSet::new(),
        counted: 5,
    };
    Event::Planned { token, plan, due_at: at(86_400) }
}

fn segment_done(number: u8, token: u128, now: i64) -> Event {
    Event::SegmentDone { number, claim: claim(token, now) }
}

#[test]
fn an_export_is_planned_once_and_finished_when_every_segment_is_done() {
    let job = new_export().apply(taken(1, 0), at(0)).unwrap();
    assert_eq!(job.apply(planned(2, 2), at(1)), Err(IllegalTransition::LeaseLost));
    let job = job.apply(planned(1, 2), at(1)).unwrap();
    assert_eq!((job.lease(), job.progress().total), (None, 5));
    assert_eq!(job.apply(planned(1, 2), at(1)), Err(IllegalTransition::OtherPhase));
    assert_eq!(job.apply(taken(2, 2), at(2)), Err(IllegalTransition::Waiting));
    let job = job.apply(segment_done(1, 2, 3), at(3)).unwrap();
    assert_eq!(job.apply(segment_done(1, 2, 3), at(3)), Err(IllegalTransition::Ended));
    assert_eq!(job.apply(taken(2, 4), at(4)), Err(IllegalTransition::Waiting));
    assert_eq!((job.lease(), job.due_at()), (None, Some(at(86_400))));
    // The last one's worker has the lease.
    let job = job.apply(segment_done(0, 3, 5), at(5)).unwrap();
    assert!(matches!(job.status(), JobStatus::Processing(Phase::Finishing(Some(_)))));
    assert_eq!(job.due_at(), Some(at(5 + 70)));
    assert_eq!(job.apply(segment_done(0, 3, 6), at(6)), Err(IllegalTransition::OtherPhase));
    assert_eq!(job.apply(taken(4, 6), at(6)), Err(IllegalTransition::Leased));
    assert!(job.apply(completed(3), at(8)).unwrap().has_ended());
    // If it dies, another goes on.
    let job = job.apply(taken(4, 65), at(65)).unwrap();
    assert_eq!(job.apply(completed(3), at(66)), Err(IllegalTransition::LeaseLost));
    assert!(job.apply(completed(4), at(66)).unwrap().has_ended());
}

#[test]
fn segments_at_work_keep_no_job_from_failing() {
    let job = new_export().apply(taken(1, 0), at(0)).unwrap().apply(planned(1, 2), at(1)).unwrap();
    let failed = job.apply(Event::SegmentFailed { reason: FailureReason::ExportTooLarge }, at(2)).unwrap();
    assert_eq!(failed.status(), &JobStatus::Failed(FailureReason::ExportTooLarge));
    assert!(job.apply(Event::Expired, at(86_400)).unwrap().has_ended());
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
        let mut job = if is_import { new_job() } else { new_export() };
        let mut now = 0;
        for (kind, token, processed, wait) in events {
            now += wait;
            let own = Token::new(token);
            let event = match kind {
                0 | 1 => taken(token, now),
                2 => renewed(token, now, processed),
                3 => Event::Released { token: own, due_at: at(now + 30), because_unavailable: processed > 1 },
                4 => completed(token),
                5 => Event::Failed { token: own, reason: FailureReason::SourceMissing },
                6 => Event::SendFailed,
                7 => Event::Counted { token: own, records: 3 },
                8 => planned(token, 2),
                9 | 10 => segment_done(u8::try_from(processed % 2).unwrap(), token, now),
                _ => Event::Expired,
            };
            match job.apply(event, at(now)) {
                Err(_) => {}
                Ok(next) => {
                    prop_assert!(!job.has_ended(), "an ended job changed");
                    prop_assert_eq!(next.revision(), job.revision() + 1);
                    prop_assert!(next.progress().processed >= job.progress().processed);
                    prop_assert_eq!(next.due_at().is_none(), next.has_ended());
                    prop_assert_eq!(next.completed_at().is_some(), next.has_ended());
                    prop_assert_eq!(next.result().is_some(), next.status() == &JobStatus::Completed);
                    job = next;
                }
            }
        }
    }
}
