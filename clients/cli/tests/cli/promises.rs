//! What is told is true: ways that once ended in a wrong result while success was told.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stub::{Phase, Reply, error};
use crate::{Bench, patients};

/// Answers of somebody on the way.
fn page(status: u16) -> Reply {
    Reply::bytes(status, b"<html>not here</html>".to_vec()).with("content-type", "text/html")
}

pub(crate) fn is_poll(request: &crate::stub::Request) -> bool {
    request.method == "GET" && request.path.contains("/jobs/job_") && !request.path.contains("/files/")
}

/// Answers the first so many polls with this.
pub(crate) fn answer_polls(bench: &Bench, times: usize, reply: Reply) {
    let mut left = times;
    bench.stub.on_request(move |request, phase| {
        let answers = phase == Phase::Before && is_poll(request) && left > 0;
        left -= usize::from(answers);
        answers.then(|| reply.clone())
    });
}

#[test]
fn a_job_is_gone_when_the_service_has_said_so_three_times_and_never_before() {
    for reply in [page(404), page(200), page(403)] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(1));
        answer_polls(&bench, 1, reply);
        bench.import(&["Patient", "p.ndjson"]).ends(0).says("not the bulk API's");
    }
    let not_found = || error(404, "NOT_FOUND", "Not found", &[]);
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    answer_polls(&bench, 2, not_found());
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    let bench = Bench::new();
    bench.write("in/Patient.ndjson", patients(1));
    bench.write("in/Organization.ndjson", "{\"name\":\"North\"}\n");
    let mut first = None;
    bench.stub.on_request(move |request, phase| {
        let wanted = first.get_or_insert_with(|| request.path.clone()).clone();
        if !is_poll(request) {
            first = None;
            return None;
        }
        (phase == Phase::Before && request.path == wanted).then(not_found)
    });
    bench.import(&["in"]).ends(5).says("gone");
    bench.stub.no_hook();
    // What is gone is asked for again, and the other one was done meanwhile.
    bench.run(&["resume", "state"]).ends(0);
    let state = bench.stub.state();
    assert_eq!((state.jobs.len(), state.records.len()), (2, 2));
}

#[test]
fn counts_are_kept_when_a_job_ends_and_what_is_gone_is_told() {
    for (first, code, message) in [("Given0", 0, "all its records are stored"), ("RejectThis", 3, "cannot be told")] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(10_001).replacen("Given0", first, 1));
        bench.stub.on_request(|request, phase| {
            (phase == Phase::Before && request.path.contains("/files/"))
                .then(|| error(503, "UNAVAILABLE", "Later", &[]))
        });
        bench.import(&["Patient", "p.ndjson", "--wait-for", "1s"]).ends(6);
        bench.stub.no_hook();
        bench.stub.state().jobs.clear();
        bench.run(&["resume", "state"]).ends(code).says(message).says("10001 read = ");
        let summary = bench.read_json("state/summary.json");
        assert_eq!((summary["open"].as_u64(), summary["finished"].as_bool()), (Some(0), Some(true)));
        assert_eq!(summary["jobs"][0]["state"], "unreported");
        // Nobody else knows which records were rejected.
        assert_eq!(bench.path("state/batches/0001.ndjson.gz").exists(), code == 3);
        assert!(!bench.path("state/batches/0002.ndjson.gz").exists());
        bench.run(&["resume", "state"]).ends(code);
        assert_eq!(bench.stub.state().records.len(), if code == 3 { 10_000 } else { 10_001 });
    }
}

#[test]
fn reports_that_are_not_there_yet_are_no_job_that_is_gone() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1) + "{\"firstName\":\"RejectThis\",\"lastName\":\"x\"}\n");
    bench.stub.on_request(|request, phase| {
        let is_report = phase == Phase::Before && request.path.contains("/files/");
        is_report.then(|| error(404, "NOT_FOUND", "Not found", &[]))
    });
    bench.import(&["Patient", "p.ndjson", "--max-rejected", "5"]).ends(8).says("reports that are not there");
    bench.stub.no_hook();
    bench.run(&["resume", "state"]).ends(0);
    assert_eq!(bench.read("state/rejected.ndjson").lines().count(), 1);
}

#[test]
fn a_wrong_address_is_told_at_once() {
    let bench = Bench::new();
    bench.stub.on_request(|_, phase| (phase == Phase::Before).then(|| page(404)));
    for arguments in [&["--out", "-", "--quiet"], &["--out", "out", "--quiet"]] {
        let mut command = bench.command(&[&["export", "Patient"], &arguments[..]].concat());
        command.timeout(Duration::from_secs(20));
        crate::run(command).ends(1).says("not the bulk API's");
    }
}

#[test]
fn the_lines_of_every_file_are_counted() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.stub.put("Patient", "p-2", "x");
    bench.stub.state().claimed_records = Some(3);
    for arguments in
        [&["--out", "out"] as &[&str], &["--out", "out", "--gzip"], &["--out", "-"], &["--out", "-", "--gzip"]]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clinik-bulk"));
        command.env_clear().env("CLINIKAPI_BASE_URL", &bench.stub.url).env("CLINIKAPI_SECRET_KEY", crate::stub::KEY);
        command.current_dir(bench.folder.path()).env("HOME", bench.folder.path());
        let said = command.args(["export", "Patient"]).args(arguments).output().unwrap();
        let err = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(8), "{err}");
        assert!(err.contains("it has 2 lines, and the job tells of 3"), "{err}");
    }
    bench.run(&["download", "job_000001", "--out", "files"]).ends(8).says("it has 2 lines");
    assert!(!bench.path("files/job_000001.ndjson").exists() && !bench.path("files/manifest.json").exists());
    bench.stub.state().claimed_records = None;
    bench.run(&["download", "job_000001", "--out", "files"]).ends(0);
    // What stands on the disk already is counted, too.
    bench.stub.state().claimed_records = Some(1);
    bench.run(&["download", "job_000001", "--out", "files"]).ends(8).says("it has 2 lines");
    bench.write("p.ndjson", patients(3));
    bench.import(&["Patient", "p.ndjson"]).ends(8).says("results.ndjson of").says("it has 3 lines");
    bench.stub.state().claimed_records = None;
    bench.run(&["resume", "state"]).ends(0);
}

#[test]
fn an_export_is_the_one_that_was_asked_for() {
    for (member, value) in [
        ("since", json!(null)),
        ("since", json!("2026-01-02T00:00:00Z")),
        ("resourceTypes", json!(["Patient", "Person"])),
        ("resourceTypes", json!([])),
        ("completedAt", json!(null)),
        ("transactionTime", json!("yesterday")),
        ("files", json!("compressed")),
        ("files", json!("per type")),
    ] {
        let bench = Bench::new();
        bench.stub.put("Patient", "p-1", "x");
        let case = format!("{member} {value}");
        bench.stub.on_request(move |request, phase| {
            if phase != Phase::Before || !is_poll(request) {
                return None;
            }
            let mut file = json!({"name": "job_000001.ndjson", "records": 1, "bytes": 1, "sha256": "00"});
            let mut job = json!({"id": request.path.rsplit('/').next(), "type": "export", "status": "completed",
                "totalRecords": 1, "processedRecords": 1, "errors": [], "resourceTypes": ["Patient"],
                "since": "2026-01-01T00:00:00.000Z", "transactionTime": "2026-01-15T09:00:00Z",
                "createdAt": "2026-01-15T09:06:00Z", "completedAt": "2026-01-15T09:07:00Z"});
            match value.as_str() {
                Some("compressed") => file["name"] = json!("job_000001.ndjson.gz"),
                Some("per type") => file["resourceType"] = json!("Patient"),
                _ => job[member] = value.clone(),
            }
            job["files"] = json!([file]);
            Some(crate::stub::success(200, &job))
        });
        let said = bench.run(&["export", "Patient", "--out", "out", "--since", "2026-01-01T01:00:00+01:00"]);
        assert!(said.code == 8 && said.err.contains("that was asked for"), "{case}: {} {}", said.code, said.err);
        let said = bench.run(&["export", "Patient", "--out", "-", "--since", "2026-01-01T01:00:00+01:00"]);
        assert_eq!(said.code, 8, "{case}: {}", said.err);
        assert_eq!(bench.stub.count("GET", "/files/"), 0, "{case}");
    }
}

#[test]
fn an_export_whose_job_is_gone_begins_a_new_one() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench
        .stub
        .on_request(|request, phase| (phase == Phase::Before && is_poll(request)).then(|| error(400, "X", "x", &[])));
    bench.run(&["export", "Patient", "--out", "out"]).ends(1);
    bench.stub.no_hook();
    bench.stub.state().jobs.clear();
    bench.stub.state().starts.clear();
    let folder = std::fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
    bench.run(&["resume", folder.to_str().unwrap()]).ends(0).says("a new one begins");
    assert_eq!(bench.stub.state().jobs.len(), 1);
}

#[test]
fn an_outage_of_nine_seconds_is_waited_out_wherever_it_begins() {
    std::thread::scope(|scope| {
        for place in ["/export", "/jobs/job_", "/files/", "/s3/file"] {
            for arguments in [&["export", "Patient", "--out", "out"], &["export", "Patient", "--out", "-"]] {
                scope.spawn(move || {
                    let bench = Bench::new();
                    bench.stub.put("Patient", "p-1", "x");
                    let mut end = None;
                    bench.stub.on_request(move |request, phase| {
                        let is_place = phase == Phase::Before && request.path.contains(place);
                        let end = *end.get_or_insert_with(|| Instant::now() + Duration::from_secs(9));
                        (is_place && Instant::now() < end).then(|| error(503, "UNAVAILABLE", "Later", &[]))
                    });
                    bench.run(arguments).ends(0);
                    assert_eq!(bench.stub.state().jobs.len(), 1, "{place}");
                });
            }
        }
    });
}

#[test]
fn a_retry_after_is_bounded_and_times_are_too() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.on_request(|request, phase| {
        let processing = serde_json::json!({"id": "job_000002", "type": "import", "status": "processing",
            "totalRecords": 1, "processedRecords": 0, "succeededRecords": 0, "failedRecords": 0, "errors": []});
        let reply = crate::stub::success(200, &processing).with("retry-after", &u64::MAX.to_string());
        (phase == Phase::Before && is_poll(request)).then_some(reply)
    });
    bench.import(&["Patient", "p.ndjson", "--wait-for", "2s"]).ends(6);
    bench.stub.on_request(|request, phase| {
        let limited = error(429, "RATE_LIMITED", "Limit", &[]).with("retry-after", &u64::MAX.to_string());
        (phase == Phase::Before && request.path.ends_with("/import")).then_some(limited)
    });
    let other = ["import", "Patient", "p.ndjson", "--state", "other", "--wait-for", "2s"];
    bench.run(&other).ends(6).says("(in 60 min)");
    bench.run(&["resume", "state", "--wait-for", "200000000000000d"]).ends(2).says("at most 365d");
}

#[test]
fn a_refused_upload_is_made_three_times_and_the_stores_code_is_told() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let denied = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>secret</Message></Error>";
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.contains("/s3/upload")).then(|| Reply::bytes(403, denied.into()))
    });
    let said = bench.import(&["Patient", "p.ndjson"]);
    said.ends(1).says("HTTP 403 AccessDenied");
    assert!(!said.err.contains("secret"));
    assert_eq!(bench.stub.count("POST", "/uploads"), 3);
    bench.stub.no_hook();
    bench.run(&["resume", "state"]).ends(0);
}

#[test]
fn an_upload_that_breaks_is_put_to_the_same_place_again() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let mut left = 6;
    bench.stub.on_request(move |request, phase| {
        let drops = phase == Phase::Before && request.path.contains("/s3/upload") && left > 0;
        left -= i32::from(drops);
        drops.then(Reply::dropped)
    });
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    assert_eq!(bench.stub.count("POST", "/uploads"), 1);
}

#[test]
fn a_failure_proves_that_nothing_was_stored_only_where_it_comes_before_the_first_record() {
    for (code, is_proof) in [("cancelled", false), ("upload_changed", false), ("too_many_records", true)] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(1));
        bench.stub.state().fail_with = Some(code.to_owned());
        bench.import(&["Patient", "p.ndjson"]).ends(5).says(code);
        bench.run(&["resume", "state"]).ends(if is_proof { 0 } else { 5 });
        assert_eq!(bench.stub.state().jobs.len(), if is_proof { 2 } else { 1 }, "{code}");
    }
}

#[test]
fn counts_are_compared_whether_there_are_reports_or_not() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(10));
    bench.stub.on_request(|request, phase| {
        let half = serde_json::json!({"id": "job_000002", "type": "import", "status": "completed", "totalRecords": 5,
            "processedRecords": 5, "succeededRecords": 5, "failedRecords": 0, "errors": [], "files": []});
        (phase == Phase::Before && is_poll(request)).then(|| crate::stub::success(200, &half))
    });
    bench.import(&["Patient", "p.ndjson"]).ends(8).says("10 records were sent, and the job tells of 5");
    assert!(bench.path("state/batches/0001.ndjson.gz").exists());
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.on_request(|request, phase| {
        let many = serde_json::json!({"id": "job_000002", "type": "import", "status": "completed", "totalRecords": 1,
            "processedRecords": u64::MAX, "succeededRecords": u64::MAX, "failedRecords": 2, "errors": [], "files": []});
        (phase == Phase::Before && is_poll(request)).then(|| crate::stub::success(200, &many))
    });
    bench.import(&["Patient", "p.ndjson"]).ends(8).says("1 records were sent");
    for (total, code) in [(1, 8), (0, 0)] {
        let bench = Bench::new();
        bench.stub.on_request(move |request, phase| {
            let empty = serde_json::json!({"id": request.path.rsplit('/').next(), "type": "export", "status": "completed",
                "totalRecords": total, "processedRecords": total, "errors": [], "files": [],
                "resourceTypes": ["Patient"], "transactionTime": "2026-01-15T09:00:00Z",
                "createdAt": "2026-01-15T09:06:00Z", "completedAt": "2026-01-15T09:07:00Z"});
            (phase == Phase::Before && is_poll(request)).then(|| crate::stub::success(200, &empty))
        });
        bench.run(&["export", "Patient", "--out", "out", "--per-type"]).ends(code);
        bench.run(&["export", "Patient", "--out", "out"]).ends(8).says("names no file");
    }
}

#[test]
fn deletions_are_told_as_done_only_where_they_may_have_been() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    // Another tenant's: the first answer proves that nothing was done, the second that nothing is there.
    let mut answers =
        vec![error(404, "NOT_FOUND", "x", &[]), error(429, "RATE_LIMITED", "x", &[]).with("retry-after", "1")];
    bench.stub.on_request(
        move |request, phase| {
            if phase == Phase::Before && request.method == "DELETE" { answers.pop() } else { None }
        },
    );
    bench.run(&["jobs", "delete", "job_000001"]).ends(1);
    assert_eq!(bench.stub.state().jobs.len(), 1);
    bench.stub.no_hook();
    bench.run(&["jobs", "delete", "job_999999"]).ends(1);
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.ends_with("/cancel")).then(|| Reply::bytes(204, Vec::new()))
    });
    bench.run(&["jobs", "cancel", "job_000001"]).ends(1);
    // A 204 without the service's own header is somebody else's.
    for foreign in [Reply::bytes(204, Vec::new()), crate::stub::success(200, &serde_json::json!({})), page(200)] {
        bench.stub.on_request(move |request, phase| {
            (phase == Phase::Before && request.method == "DELETE").then(|| foreign.clone())
        });
        bench.run(&["jobs", "delete", "job_000001"]).ends(1).says("not the bulk API's");
        assert_eq!(bench.stub.state().jobs.len(), 1);
    }
    bench.stub.no_hook();
    bench.run(&["jobs", "delete", "job_000001"]).ends(0);
    assert_eq!(bench.stub.state().jobs.len(), 0);
}
