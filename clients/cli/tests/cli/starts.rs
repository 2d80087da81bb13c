//! Batches are started once, whatever stands in the way: limits, failures, lost answers.

use crate::stub::{Phase, Reply, error};
use crate::{Bench, patients, patients_with_ids, run};

#[test]
fn the_hourly_limit_is_waited_for_or_is_exit_code_7() {
    let bench = Bench::new();
    bench.write("records/Patient.ndjson", patients(10_000));
    bench.write("records/Person.ndjson", patients(5_000));
    bench.stub.state().operations_left = 1;
    let said = bench.import(&["records", "--no-wait"]);
    said.ends(7).says("hourly limit").says("clinik-bulk resume");
    bench.run(&["resume", "state", "--wait-for", "1s"]).ends(6).says("clinik-bulk resume");
    let status = bench.run(&["status", "state", "--output", "json"]).json();
    assert_eq!((status["stored"].as_u64(), status["open"].as_u64()), (Some(10_000), Some(5_000)));
    bench.stub.state().operations_left = 1;
    bench.run(&["resume", "state"]).ends(0).says("15000 read = 15000 stored");
    assert_eq!(bench.stub.state().jobs.len(), 2);
}

#[test]
fn batches_of_a_type_run_one_after_the_other_and_types_side_by_side() {
    let bench = Bench::new();
    bench.write("records/Patient.ndjson", patients(10_001));
    bench.write("records/Person.ndjson", patients(1));
    bench.import(&["records", "--no-wait"]).ends(6);
    let types: Vec<_> =
        bench.stub.state().jobs.iter().map(|job| job.body["resourceType"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["Patient", "Person"], "the second batch of patients waits for the first");
    bench.run(&["resume", "state"]).ends(0).says("10002 read = 10002 stored");
}

#[test]
fn a_batch_waits_for_an_earlier_one_of_its_type_that_has_failed() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients_with_ids(0..10_001, "Jane"));
    bench.stub.state().fail_with = Some("internal_error".to_owned());
    bench.import(&["Patient", "p.ndjson"]).ends(5);
    assert_eq!(
        bench.stub.state().jobs.len(),
        1,
        "begun anew later, the first would replace what the second has stored"
    );
    bench.run(&["resume", "state"]).ends(0).says("10001 read = 10001 stored");
    assert_eq!(bench.stub.state().jobs.len(), 3);
}

#[test]
fn the_next_slot_is_waited_for_without_losing_anything() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let mut refused = 0;
    bench.stub.on_request(move |request, phase| {
        let refuses = phase == Phase::Before && request.path.ends_with("/import") && refused < 2;
        refused += i32::from(refuses);
        refuses.then(|| error(429, "RATE_LIMITED", "Limit reached", &[]).with("retry-after", "1"))
    });
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    assert_eq!(bench.stub.state().uploads.len(), 1);
}

#[test]
fn the_months_limit_is_exit_code_7() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().month_used_up = true;
    let said = bench.import(&["Patient", "p.ndjson", "--output", "json"]);
    assert_eq!(said.ends(7).json()["exitCode"], 7);
    bench.stub.state().month_used_up = false;
    // Accepted, and found to be too much once its lines were counted.
    bench.stub.state().fail_with = Some("monthly_quota_exceeded".to_owned());
    bench.run(&["resume", "state"]).ends(7);
    bench.run(&["resume", "state"]).ends(0).says("1 read = 1 stored");
    assert_eq!(bench.stub.state().records.len(), 1);
}

#[test]
fn a_failed_job_is_exit_code_5_and_done_again_only_where_nothing_doubles() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().fail_with = Some("internal".to_owned());
    bench.import(&["Patient", "p.ndjson"]).ends(5).says("1 of 1 jobs failed");
    bench.run(&["resume", "state"]).ends(5);
    assert_eq!(bench.stub.state().jobs.len(), 1, "records without ids could be stored twice");
    bench.run(&["retry", "state"]).ends(2).says("rejected nothing");

    bench.write("q.ndjson", patients_with_ids(0..2, "x"));
    bench.stub.state().fail_with = Some("internal".to_owned());
    bench.run(&["import", "Patient", "q.ndjson", "--state", "two"]).ends(5);
    bench.run(&["resume", "two"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 2);
}

#[test]
fn running_jobs_are_exit_code_6_without_waiting() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().polls = 2;
    let said = bench.import(&["Patient", "p.ndjson", "--no-wait"]);
    said.ends(6).says("clinik-bulk resume");
    assert!(bench.run(&["status", "state"]).ends(0).out.contains("running"));
    bench.run(&["retry", "state"]).ends(2).says("resume it first");
    bench.run(&["resume", "state"]).ends(0);
}

#[test]
fn a_changed_source_or_another_service_stops_a_resume() {
    let bench = Bench::new();
    let file = bench.write("p.ndjson", patients(1));
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(7);
    bench.stub.state().operations_left = 5;
    let mut elsewhere = bench.command(&["resume", "state"]);
    elsewhere.env("CLINIKAPI_BASE_URL", "https://elsewhere.example");
    run(elsewhere).ends(2).says("the import goes to");
    let mut other = bench.command(&["resume", "state"]);
    other.env("CLINIKAPI_SECRET_KEY", crate::stub::OTHER_KEY);
    run(other).ends(2).says("another tenant");
    std::fs::write(&file, patients(2)).unwrap();
    bench.run(&["resume", "state"]).ends(1).says("has changed");
    std::fs::write(&file, patients(1)).unwrap();
    bench.run(&["resume", "state"]).ends(0);
    bench.run(&["resume", "nowhere"]).ends(2).says("not a state folder");
}

#[test]
fn an_expired_upload_is_made_anew() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(7);
    bench.stub.state().uploads.values_mut().for_each(|upload| upload.is_expired = true);
    bench.stub.state().operations_left = 5;
    bench.run(&["resume", "state"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 1);
}

/// An import that was accepted, and whose answer never arrived.
fn accepted_unheard(records: &str) -> Bench {
    let bench = Bench::new();
    bench.write("p.ndjson", records);
    bench.stub.on_request(|request, phase| {
        (phase == Phase::After && request.path.ends_with("/import")).then(|| Reply::bytes(400, Vec::new()))
    });
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(1);
    bench.stub.no_hook();
    // Its key says nothing any more.
    bench.stub.state().starts.clear();
    bench
}

#[test]
fn a_start_whose_key_is_forgotten_is_found_by_its_upload_and_then_by_its_label() {
    for forgets_uploads in [false, true] {
        let bench = accepted_unheard(&patients(1));
        if forgets_uploads {
            let uploads = std::mem::take(&mut bench.stub.state().uploads);
            bench.stub.state().forgotten_uploads = uploads;
        } else {
            // No label leads to it.
            bench.stub.state().jobs[0].body["label"] = serde_json::Value::Null;
        }
        bench.run(&["resume", "state"]).ends(0);
        let state = bench.stub.state();
        assert_eq!((state.jobs.len(), state.records.len()), (1, 1));
    }
}

#[test]
fn a_start_that_nobody_knows_of_is_begun_anew_only_with_ids() {
    for (records, is_safe) in [(patients(1), false), (patients_with_ids(0..1, "A"), true)] {
        let bench = accepted_unheard(&records);
        bench.stub.state().uploads.clear();
        bench.stub.state().jobs.clear();
        let resumed = bench.run(&["resume", "state"]);
        if is_safe {
            resumed.ends(0);
        } else {
            resumed.ends(1).says("cannot be told");
        }
        assert_eq!(bench.stub.state().jobs.len(), usize::from(is_safe));
    }
}

#[test]
fn counts_that_do_not_add_up_are_exit_code_8() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(3));
    bench.stub.on_request(|request, phase| {
        let is_poll = phase == Phase::Before && request.method == "GET" && request.path.contains("/jobs/job_");
        (is_poll && !request.path.contains("/files/")).then(|| {
            let job = serde_json::json!({"id": "job_000002", "type": "import", "status": "completed", "totalRecords": 3,
                "processedRecords": 3, "succeededRecords": 3, "failedRecords": 0, "errors": [], "files": []});
            crate::stub::success(200, &job)
        })
    });
    bench.import(&["Patient", "p.ndjson"]).ends(8).says("results.ndjson");
    bench.stub.no_hook();
    bench.stub.state().corrupt_downloads = true;
    bench.run(&["resume", "state"]).ends(8).says("hash is wrong");
    bench.stub.state().corrupt_downloads = false;
    bench.run(&["resume", "state"]).ends(0);
}
