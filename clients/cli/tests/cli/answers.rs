//! Answers that lack something, or are of another job.

use crate::promises::{answer_polls, is_poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::stub::{Phase, Reply, error};
use crate::{Bench, patients, patients_with_ids};

#[test]
fn an_answer_that_lacks_something_is_waited_out_and_starts_nothing_twice() {
    for reply in [crate::stub::success(202, &serde_json::json!({})), Reply::bytes(204, Vec::new())] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(1));
        let mut left = 2;
        bench.stub.on_request(move |request, phase| {
            let is_place = request.path.ends_with("/import") || is_poll(request);
            let answers = phase == Phase::After && is_place && left > 0;
            left -= i32::from(answers);
            answers.then(|| reply.clone())
        });
        bench.import(&["Patient", "p.ndjson"]).ends(0).says("trying again");
        let state = bench.stub.state();
        assert_eq!((state.jobs.len(), state.records.len()), (1, 1));
    }
}

/// What somebody on the way has kept of an earlier poll.
fn other_job(id: &str, kind: &str) -> Reply {
    let job = serde_json::json!({"id": id, "type": kind, "status": "completed", "totalRecords": 1,
        "processedRecords": 1, "succeededRecords": 1, "failedRecords": 0, "errors": [], "files": []});
    crate::stub::success(200, &job)
}

#[test]
fn an_answer_of_another_job_is_waited_out() {
    for (id, kind) in [("job_000009", "import"), ("job_000002", "export")] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(1));
        answer_polls(&bench, 1, other_job(id, kind));
        bench.import(&["Patient", "p.ndjson"]).ends(0).says("of another job");
        assert_eq!(bench.stub.state().records.len(), 1);
    }
    for (id, kind) in [("job_000009", "export"), ("job_000001", "import")] {
        let bench = Bench::new();
        bench.stub.put("Patient", "p-1", "x");
        answer_polls(&bench, 1, other_job(id, kind));
        bench.run(&["export", "Patient", "--out", "out"]).ends(0).says("of another job").says("1 records");
    }
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    answer_polls(&bench, usize::MAX, other_job("job_000009", "import"));
    for command in [&["jobs", "show", "job_000002"] as &[&str], &["download", "job_000002", "--out", "files"]] {
        bench.run(command).ends(1).says("of another job");
    }
}

#[test]
fn a_job_that_stays_gone_is_begun_anew_once_and_without_waiting_too() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients_with_ids(0..1, "A"));
    bench.stub.state().polls = 1000;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(6);
    let gone = |bench: &Bench| {
        bench.stub.on_request(|request, phase| {
            (phase == Phase::Before && is_poll(request)).then(|| error(404, "NOT_FOUND", "x", &[]))
        });
    };
    gone(&bench);
    bench.run(&["resume", "state", "--no-wait"]).ends(5).says("gone");
    bench.run(&["resume", "state", "--wait-for", "10s"]).ends(5);
    assert_eq!(bench.stub.state().jobs.len(), 2, "once a process");
    bench.stub.no_hook();
    bench.stub.state().jobs.iter_mut().for_each(|job| job.polls_left = 0);
    bench.run(&["resume", "state"]).ends(0);
}

#[test]
fn loops_never_turn_hot_and_a_cursor_moves() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().polls = 2;
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.ends_with("/jobs?count=20"))
            .then(|| crate::stub::success(200, &serde_json::json!({"data": [], "hasMore": true, "cursor": ""})))
    });
    bench.run(&["jobs", "list"]).ends(1).says("not the bulk API's");
    let polls = Arc::new(AtomicU32::new(0));
    let seen = polls.clone();
    bench.stub.on_request(move |request, phase| {
        let processing = serde_json::json!({"id": "job_000002", "type": "import", "status": "processing",
            "totalRecords": 1, "processedRecords": 0, "succeededRecords": 0, "failedRecords": 0, "errors": []});
        let reply = crate::stub::success(200, &processing).with("retry-after", "0");
        let answers = phase == Phase::Before && is_poll(request);
        seen.fetch_add(u32::from(answers), Ordering::Relaxed);
        answers.then_some(reply)
    });
    bench.import(&["Patient", "p.ndjson", "--wait-for", "4s"]).ends(6);
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= 5, "{polls} polls in four seconds");
}
