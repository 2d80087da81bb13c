//! Imports: plans, state folders, reports, exit codes.

use std::os::unix::fs::PermissionsExt;

use crate::stub::LIVE_KEY;
use crate::{Bench, bare, patients, patients_with_ids, run};

#[test]
fn a_file_is_imported_and_all_reports_are_there() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(3));
    let said = bench.import(&["Patient", "p.ndjson"]);
    said.ends(0).says("3 read = 3 stored + 0 rejected");
    assert!(said.out.is_empty(), "nothing on stdout but data: {}", said.out);
    assert_eq!(bench.stub.state().records.len(), 3);
    assert_eq!(std::fs::metadata(bench.path("state")).unwrap().permissions().mode() & 0o777, 0o700);
    let ids = bench.read("state/ids.ndjson");
    assert_eq!(ids.lines().count(), 3);
    assert!(ids.contains("\"line\":3") && ids.contains("p.ndjson") && ids.contains("\"outcome\":\"created\""));
    let summary = bench.read_json("state/summary.json");
    assert_eq!(
        (summary["read"].as_u64(), summary["stored"].as_u64(), summary["finished"].as_bool()),
        (Some(3), Some(3), Some(true))
    );
    let report = bench.read("state/report.html");
    assert!(report.contains("3 read = 3 stored + 0 rejected") && !report.contains("<script"));
    assert!(!bench.path("state/batches/0001.ndjson.gz").exists(), "patients' data does not stay on the disk");
    bench.run(&["resume", "state"]).ends(0).says("has finished");
    assert!(bench.run(&["status", "state"]).ends(0).out.contains("finished"));
    bench.import(&["Patient", "p.ndjson"]).ends(2).says("not empty");
}

#[test]
fn rejected_records_are_told_with_file_and_line_and_never_with_values() {
    let bench = Bench::new();
    let records = "{\"firstName\":\"Zebulon\",\"lastName\":\"A\"}\n\
                   {\"firstName\":\"Xanthippe\"}\n\
                   {\"firstName\":\"RejectThis\",\"lastName\":\"Quillfeather\"}\n\
                   {\"id\":\"x\",\"firstName\":\"B\",\"lastName\":\"B\"}\n\
                   {\"id\":\"x\",\"firstName\":\"C\",\"lastName\":\"C\"}\n";
    bench.write("p.ndjson", records);
    let said = bench.import(&["Patient", "p.ndjson"]);
    said.ends(3).says("5 read = 2 stored + 3 rejected").says("clinik-bulk retry");
    let errors = bench.read("state/errors.ndjson");
    for (line, code) in [(2, "required"), (3, "enum"), (5, "duplicate_id")] {
        assert!(
            errors.lines().any(|text| text.contains(&format!("\"line\":{line},")) && text.contains(code)),
            "{errors}"
        );
    }
    assert!(errors.contains("Same as in line 4"));
    let rejected = bench.read("state/rejected.ndjson");
    assert_eq!(rejected.lines().count(), 3);
    assert!(rejected.contains("Quillfeather") && rejected.contains("Xanthippe"));
    let summary = bench.read("state/summary.json");
    for text in [&said.err, &errors, &summary, &bench.read("state/report.html")] {
        assert!(!text.contains("Quillfeather") && !text.contains("Xanthippe") && !text.contains("RejectThis"));
    }
    let summary = bench.read_json("state/summary.json");
    let file = &summary["files"][0];
    assert_eq!(
        (file["read"].as_u64(), file["stored"].as_u64(), file["rejected"].as_u64()),
        (Some(5), Some(2), Some(3))
    );
}

#[test]
fn rejections_within_the_bound_are_success() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(9) + "{}\n");
    bench.import(&["Patient", "p.ndjson", "--max-rejected", "10%"]).ends(0);
    bench.run(&["import", "Patient", "p.ndjson", "--max-rejected", "0", "--state", "two"]).ends(3);
    bench.run(&["import", "Patient", "p.ndjson", "--max-rejected", "x"]).ends(2);
}

/// As a shell's `<(zcat …)` is one: what is read of it is gone.
#[test]
fn a_pipe_is_read_once_and_whole() {
    let bench = Bench::new();
    let pipe = bench.path("pipe.ndjson");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn(move || std::fs::write(pipe, patients(9_000)));
    bench.import(&["Patient", "pipe.ndjson"]).ends(0).says("9000 read = 9000 stored");
    writer.join().unwrap().unwrap();
}

#[test]
fn a_pipe_is_not_waited_for_when_an_import_is_resumed() {
    let bench = Bench::new();
    let pipe = bench.path("pipe.ndjson");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let fill = || {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::write(pipe, patients(2)))
    };
    let writer = fill();
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "pipe.ndjson", "--no-wait"]).ends(7);
    writer.join().unwrap().unwrap();
    // As if it had been killed before its first call: what came from a pipe is nowhere but in the folder, and no other
    // import takes its place.
    bench.write("state/journal.ndjson", "");
    let _none = std::fs::remove_file(bench.path("state/summary.json"));
    bench.write("other.ndjson", patients(1));
    bench.import(&["Patient", "other.ndjson", "--no-wait"]).ends(2).says("is not empty; resume it");
    bench.stub.state().operations_left = 5;
    let mut resume = bench.command(&["resume", "state"]);
    resume.timeout(std::time::Duration::from_secs(20));
    run(resume).ends(0).says("pipe.ndjson cannot be read again");
    // Without a plan nothing was sent, and nothing is left to send.
    let writer = fill();
    bench.run(&["import", "Patient", "pipe.ndjson", "--dry-run"]).ends(0);
    writer.join().unwrap().unwrap();
    std::fs::create_dir(bench.path("begun")).unwrap();
    std::fs::copy(bench.path("state/run.json"), bench.path("begun/run.json")).unwrap();
    let mut resume = bench.command(&["resume", "begun"]);
    resume.timeout(std::time::Duration::from_secs(20));
    run(resume).ends(1).says("pipe.ndjson was not read to its end");
}

#[test]
fn a_pipe_that_brings_gzip_byte_by_byte_is_inflated() {
    let bench = Bench::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, patients(2).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut child = bench.process(&["import", "Patient", "-", "--state", "state"]);
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &gzip[..1]).unwrap();
    while !bench.path("state/run.json").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::io::Write::write_all(&mut stdin, &gzip[1..]).unwrap();
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(bench.stub.state().records.len(), 2);
}

#[test]
fn mended_records_are_imported_by_retry() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"A\",\"lastName\":\"A\"}\n{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.run(&["retry", "state"]).ends(2).says("fix the records first");
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(0).says("1 read = 1 stored");
    // Also what has been changed since: what was stored by then would be stored twice.
    for fixed in ["B", "C"] {
        bench.write("state/rejected.ndjson", format!("{{\"firstName\":\"{fixed}\",\"lastName\":\"B\"}}\n"));
        bench.run(&["retry", "state", "--state", "third"]).ends(2).says("retry again");
    }
    std::fs::remove_dir_all(bench.path("again")).unwrap();
    bench.run(&["retry", "state", "--state", "third"]).ends(2).says("cannot be told");
    assert_eq!(bench.stub.state().records.len(), 2);
}

#[test]
fn a_folder_of_types_is_imported_and_mended_type_by_type() {
    let bench = Bench::new();
    bench.write("in/Patient.ndjson", patients(2) + "{\"lastName\":\"x\"}\n");
    bench.write("in/Organization.csv", "id,name\no-1,North\no-2,\n");
    bench.import(&["in"]).ends(3).says("5 read = 3 stored + 2 rejected");
    assert_eq!(bench.read("state/rejected/Patient.ndjson").lines().count(), 1);
    assert_eq!(bench.read("state/rejected/Organization.ndjson"), "{\"id\":\"o-2\"}\n");
    bench.write("state/rejected/Patient.ndjson", "{\"firstName\":\"y\",\"lastName\":\"x\"}\n");
    bench.write("state/rejected/Organization.ndjson", "{\"id\":\"o-2\",\"name\":\"South\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(0).says("2 read = 2 stored");
    assert_eq!(bench.stub.state().records.len(), 5);
    bench.write("in/notes.txt", "x");
    bench.run(&["import", "in"]).ends(2).says("not named after a type");
}

#[test]
fn of_many_files_those_are_listed_of_which_there_is_something_to_say() {
    let bench = Bench::new();
    let names: Vec<_> = (0..25).map(|number| format!("p{number}.ndjson")).collect();
    for (number, name) in names.iter().enumerate() {
        bench.write(name, format!("{{\"firstName\":\"A{number}\",\"lastName\":\"B\"}}\n"));
    }
    bench.write("p7.ndjson", "{}\n");
    let arguments: Vec<_> = ["Patient", "--dry-run"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let said = bench.import(&arguments);
    said.ends(3).says("p7.ndjson: 1 records, 1 rejected").says("24 other files: 24 records, 0 rejected");
    assert!(!said.err.contains("p8.ndjson"), "{}", said.err);
}

#[test]
fn a_dry_run_sends_nothing_and_leaves_nothing() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(25_000));
    let said = bench.run(&["import", "Patient", "p.ndjson", "--dry-run"]);
    said.ends(0).says("25000 records in 3 jobs").says("5 of 5 operations left");
    assert_eq!(bench.stub.count("POST", ""), 0);
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 1);
    let offline = run(bare(bench.folder.path(), &["import", "Patient", "p.ndjson", "--dry-run", "--output", "json"]));
    assert_eq!(offline.ends(0).json()["jobs"], 3);
}

#[test]
fn batches_are_cut_at_ten_thousand_and_lines_lead_back_to_their_files() {
    let bench = Bench::new();
    bench.write("a.ndjson", patients(9_000));
    bench.write("b.ndjson", patients(4_000).replacen("\"Given2500\"", "\"RejectThis\"", 1));
    let said = bench.import(&["Patient", "a.ndjson", "b.ndjson", "--output", "json"]);
    let summary = said.ends(3).json();
    assert_eq!(summary["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(summary["jobs"][0]["records"], 10_000);
    let error: serde_json::Value = serde_json::from_str(bench.read("state/errors.ndjson").trim()).unwrap();
    assert!(error["file"].as_str().unwrap().ends_with("b.ndjson"));
    assert_eq!(error["line"], 2501);
    assert_eq!(bench.stub.state().records.len(), 12_999);
}

#[test]
fn of_records_with_one_id_in_different_batches_the_first_is_imported_and_the_others_are_rejected() {
    let bench = Bench::new();
    bench.write("a.ndjson", patients_with_ids(0..10_000, "old"));
    bench.write("b.ndjson", patients_with_ids(9_990..10_010, "new"));
    let first = "line 9991 of ";
    let said = bench.run(&["validate", "Patient", "a.ndjson", "b.ndjson"]);
    assert_eq!(said.ends(3).out.matches("[duplicate_id]").count(), 10, "{}", said.out);
    assert!(said.out.starts_with("b.ndjson:1: id: Same as in") && said.out.contains(first), "{}", said.out);
    let said = bench.import(&["Patient", "a.ndjson", "b.ndjson"]);
    said.ends(3).says("10020 read = 10010 stored + 10 rejected");
    assert!(bench.read("state/errors.ndjson").contains(first));
    let state = bench.stub.state();
    let record = |n: usize| &state.records[&("Patient".to_owned(), format!("p-{n}"))].0;
    assert!(record(9_990).contains("\"old\"") && record(10_000).contains("\"new\""));
    assert_eq!(state.records.len(), 10_010, "stored counts records");
}

#[test]
fn the_last_of_the_valid_records_with_one_id_is_imported_if_that_is_said() {
    let bench = Bench::new();
    bench.write("a.ndjson", patients_with_ids(0..20, "old") + &patients_with_ids(5..6, "newer"));
    bench.write("b.ndjson", patients_with_ids(0..10, "new") + "{\"id\":\"p-3\",\"firstName\":1}\n");
    let said = bench.import(&["Patient", "a.ndjson", "b.ndjson", "--duplicates", "last"]);
    said.ends(3).says("32 read = 20 stored + 1 rejected + 11 left out");
    let state = bench.stub.state();
    let record = |n: usize| &state.records[&("Patient".to_owned(), format!("p-{n}"))].0;
    assert!(record(3).contains("\"new\"") && record(5).contains("\"new\"") && record(11).contains("\"old\""));
    drop(state);
    let mut stdin = bench.command(&["import", "Patient", "-", "--duplicates", "last", "--state", "two"]);
    stdin.write_stdin("{}\n");
    run(stdin).ends(2).says("read once");
    assert!(!bench.path("two").exists(), "nothing is made for nothing");
}

#[test]
fn stdin_is_imported_and_every_format_is_taken() {
    let bench = Bench::new();
    let mut stdin = bench.command(&["import", "Patient", "-", "--state", "one"]);
    stdin.write_stdin(patients(2));
    run(stdin).ends(0);
    let mut csv = bench.command(&["import", "Patient", "-", "--format", "csv", "--state", "two"]);
    csv.write_stdin("firstName,lastName\na,b\n");
    run(csv).ends(0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, patients(4).as_bytes()).unwrap();
    bench.write("p.ndjson.gz", gzip.finish().unwrap());
    bench.run(&["import", "Patient", "p.ndjson.gz", "--state", "three"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 7);
    bench.run(&["import", "Patient", "-", "-"]).ends(2);
    bench.run(&["import", "Patient", "-", "--key-file", "-"]).ends(2).says("stdin");
    bench.run(&["import", "Patient", "p.ndjson.gz", "--unknown", "drop"]).ends(2).says("CSV");
    bench.run(&["import", "Patient", "none.ndjson"]).ends(2).says("none.ndjson");
    bench.run(&["import", "Patient"]).ends(2);
    bench.run(&["import", "Patinet", "p.ndjson.gz"]).ends(2).says("did you mean Patient");
}

#[test]
fn an_empty_file_is_an_import_of_nothing() {
    let bench = Bench::new();
    bench.write("p.ndjson", "");
    bench.import(&["Patient", "p.ndjson"]).ends(0).says("0 read = 0 stored");
    assert_eq!(bench.stub.count("POST", ""), 0);
}

#[test]
fn a_live_key_is_not_used_without_being_asked_for() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let live = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("CLINIKAPI_SECRET_KEY", LIVE_KEY);
        run(command)
    };
    live(&["import", "Patient", "p.ndjson"]).ends(2).says("--yes");
    assert_eq!(bench.stub.count("POST", ""), 0);
    live(&["import", "Patient", "p.ndjson", "--yes"]).ends(0);
}

#[test]
fn events_tell_everything_with_job_ids() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(2));
    let events = bench.import(&["Patient", "p.ndjson", "--output", "ndjson"]).events();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["plan", "uploaded", "started", "ended", "collected", "summary"]);
    assert!(events[2]["jobId"].is_string() && events[5]["jobs"][0]["jobId"].is_string());
    assert_eq!(events[5]["exitCode"], 0);
}
