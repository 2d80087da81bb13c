//! Folders: whose they are, what they hold, and who works in them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::Duration;

use crate::promises::is_poll;
use crate::stub::{KEY, OTHER_KEY, Phase, error};
use crate::{Bench, bare, patients, patients_with_ids, run};

#[test]
fn what_an_earlier_summary_called_rejected_is_not_taken_for_what_is_now() {
    let bench = Bench::new();
    bench.write("in/Patient.ndjson", "{\"lastName\":\"x\"}\n".to_owned() + &patients(1));
    bench.write("in/Person.ndjson", "{\"firstName\":\"RejectThis\",\"lastName\":\"x\"}\n");
    bench.stub.state().operations_left = 0;
    bench.run(&["import", "in", "--state", "state", "--no-wait"]).ends(7);
    assert!(bench.path("state/rejected.ndjson").exists());
    bench.stub.state().operations_left = 5;
    bench.run(&["resume", "state"]).ends(3);
    assert!(!bench.path("state/rejected.ndjson").exists());
    assert!(
        bench.path("state/rejected/Patient.ndjson").exists() && bench.path("state/rejected/Person.ndjson").exists()
    );
}

#[test]
fn reports_that_were_not_written_to_their_end_are_nobodys_edits() {
    let bench = Bench::new();
    bench.write(
        "p.ndjson",
        "{\"lastName\":\"x\"}\n{\"firstName\":\"RejectThis\",\"lastName\":\"x\"}\n".to_owned() + &patients(1),
    );
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(7);
    bench.stub.state().operations_left = 5;
    // The rejected records are written, and the summary is not.
    std::fs::create_dir(bench.path("state/report.html.partial")).unwrap();
    bench.run(&["resume", "state"]).ends(1).says("report.html");
    assert_eq!(bench.read("state/rejected.ndjson").lines().count(), 2);
    std::fs::remove_dir(bench.path("state/report.html.partial")).unwrap();
    let rejected = bench.read("state/rejected.ndjson");
    bench.write("state/rejected.ndjson", rejected.clone() + "{}\n");
    bench.run(&["resume", "state"]).ends(2).says("has been edited");
    bench.write("state/rejected.ndjson", rejected);
    bench.run(&["resume", "state"]).ends(3);
    assert!(!bench.path("state/rejected.json").exists());
    bench.run(&["retry", "state", "--state", "again"]).ends(2).says("nothing has changed in");
}

#[test]
fn a_new_plan_begins_in_empty_folders() {
    let bench = Bench::new();
    let file = bench.write("p.ndjson", patients(10_001) + "{\"lastName\":\"x\"}\n");
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.method == "POST").then(|| error(400, "X", "x", &[]))
    });
    bench.import(&["Patient", "p.ndjson"]).ends(1);
    bench.stub.no_hook();
    // As if the process had died before its plan was written.
    std::fs::remove_file(bench.path("state/plan.json")).unwrap();
    std::fs::write(&file, patients(1)).unwrap();
    bench.run(&["resume", "state"]).ends(0).says("1 read = 1 stored + 0 rejected");
    assert!(!bench.path("state/rejected.ndjson").exists());
    let left: Vec<_> = ["batches", "held"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(bench.path("state").join(folder)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["0001.lines.json"]);
}

#[test]
fn a_journal_or_a_plan_that_is_lost_is_no_proof_that_nothing_was_sent() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(10_001));
    bench.stub.state().operations_left = 1;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(6);
    bench.run(&["resume", "state", "--no-wait"]).ends(7);
    bench.stub.state().operations_left = 5;
    let run = bench.read_json("state/run.json")["run"].as_str().unwrap().to_owned();
    for file in ["journal.ndjson", "plan.json"] {
        let kept = bench.read(&format!("state/{file}"));
        std::fs::remove_file(bench.path("state").join(file)).unwrap();
        for command in ["resume", "status", "retry"] {
            bench.run(&[command, "state"]).ends(2).says(file).says("nobody knows what was sent").says(&run);
        }
        bench.write(&format!("state/{file}"), kept);
    }
    // An older journal is put back: the job is found by its label.
    bench.write("state/journal.ndjson", "");
    bench.run(&["resume", "state"]).ends(0).says("10001 read = 10001 stored");
    let state = bench.stub.state();
    assert_eq!((state.jobs.len(), state.records.len()), (2, 10_001));
}

#[test]
fn two_tenants_in_one_folder_are_kept_apart() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    let as_other = |arguments: &[&str]| {
        let mut other = bench.command(arguments);
        other.env("CLINIKAPI_SECRET_KEY", OTHER_KEY);
        run(other)
    };
    as_other(&["export", "Patient", "--out", "out", "--since-last"]).ends(0).says("exporting everything");
    assert!(bench.stub.state().jobs.iter().all(|job| job.body["since"].is_null()));
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0).says("since 2026");
    bench.run(&["import", "out"]).ends(2).says("more than one tenant");
    bench
        .stub
        .on_request(|request, phase| (phase == Phase::Before && is_poll(request)).then(|| error(400, "X", "x", &[])));
    bench.run(&["export", "Patient", "--out", "new"]).ends(1);
    bench.stub.no_hook();
    let folder = std::fs::read_dir(bench.path("new")).unwrap().next().unwrap().unwrap().path();
    as_other(&["resume", folder.to_str().unwrap()]).ends(2).says("another tenant's");
    let lock = std::fs::File::open(folder.join(".clinik-bulk.lock")).unwrap();
    lock.lock().unwrap();
    bench.run(&["resume", folder.to_str().unwrap()]).ends(1).says("another process");
}

#[test]
fn a_download_is_compared_as_it_stands_on_the_disk() {
    let bench = Bench::new();
    for n in 0..2_000 {
        bench.stub.put("Patient", &format!("p-{n}"), "x");
    }
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    bench.stub.state().cut_downloads = Some(100_000);
    let partial = bench.path(&format!("files/{job}.ndjson.partial"));
    // Somebody else writes into the file between two pieces of it.
    let mut pieces = 0;
    bench.stub.on_request(move |request, phase| {
        pieces += i32::from(phase == Phase::Before && request.path.starts_with("/s3/file"));
        if pieces == 2 {
            std::fs::OpenOptions::new().append(true).open(&partial).unwrap().set_len(99_000).unwrap();
        }
        None
    });
    bench.run(&["download", &job, "--out", "files"]).ends(8).says("was changed");
    assert!(!bench.path(&format!("files/{job}.ndjson")).exists());
}

#[test]
fn a_part_is_no_link_and_no_file_that_others_read_and_no_other_job_s() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.write("victim", "precious");
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    std::fs::create_dir(bench.path("files")).unwrap();
    let partial = bench.path(&format!("files/{job}.ndjson.partial"));
    symlink(bench.path("victim"), &partial).unwrap();
    bench.run(&["download", &job, "--out", "files"]).ends(0);
    assert_eq!(bench.read("victim"), "precious");
    let mode = std::fs::metadata(bench.path(&format!("files/{job}.ndjson"))).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    symlink(bench.path("victim"), bench.path("files/SHA256SUMS.partial")).unwrap();
    bench.run(&["download", &job, "--out", "files"]).ends(0);
    assert_eq!(bench.read("victim"), "precious");
    for n in 0..2 {
        bench.write("p.ndjson", patients_with_ids(n..n + 1, "A"));
        bench.run(&["import", "Patient", "p.ndjson", "--state", &format!("s{n}")]).ends(0);
    }
    let [first, second] = [1, 2].map(|n| bench.stub.state().jobs[n].id.clone());
    bench.run(&["download", &first, "--out", "reports"]).ends(0);
    let before = bench.read("reports/results.ndjson");
    bench.run(&["download", &second, "--out", "reports"]).ends(2).says("another job");
    assert_eq!(bench.read("reports/results.ndjson"), before);
    std::fs::remove_file(bench.path("reports/SHA256SUMS")).unwrap();
    bench.run(&["download", &second, "--out", "reports"]).ends(2).says("another file");
    bench.run(&["download", &first, "--out", "reports"]).ends(0);
}

#[test]
fn logins_at_once_keep_each_other_s_profiles() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let bench = &bench;
            scope.spawn(move || {
                let mut login = bare(bench.folder.path(), &["login", "--profile", &format!("p{n}")]);
                login.env("CLINIKAPI_BASE_URL", &bench.stub.url).write_stdin(KEY);
                run(login).ends(0);
            });
        }
    });
    let profiles = bench.read(".config/clinik-bulk/profiles.toml");
    assert_eq!(profiles.matches("[p").count(), 8, "{profiles}");
}

#[test]
fn records_leave_the_disk_also_when_nobody_hears_of_it() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let (gone, waits) = std::sync::mpsc::channel::<()>();
    bench.stub.on_request(move |request, phase| {
        if phase == Phase::Before && request.path.contains("/files/") {
            let _ = waits.recv_timeout(Duration::from_secs(10));
        }
        None
    });
    let arguments = ["import", "Patient", "p.ndjson", "--state", "state", "--output", "ndjson"];
    let mut child = bench.process(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"ended\"")));
    drop(lines);
    drop(gone);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(bench.read("state/journal.ndjson").contains("\"collected\""));
    assert!(!bench.path("state/batches/0001.ndjson.gz").exists());
}

#[test]
fn an_exports_folder_holds_nothing_of_an_earlier_job() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.stub.put("Person", "x", "y");
    let arguments = ["export", "Patient,Person", "--per-type", "--out", "out"];
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.contains("/files/Person")).then(|| error(400, "X", "x", &[]))
    });
    bench.run(&arguments).ends(1);
    let folder = std::fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
    assert!(folder.join("Patient.ndjson").exists());
    std::fs::write(folder.join("Person.ndjson.partial"), "half").unwrap();
    // One "not found" of a file is no end of the job.
    let mut missed = false;
    bench.stub.on_request(move |request, phase| {
        let misses = phase == Phase::Before && request.path.contains("/files/Person") && !missed;
        missed |= misses;
        misses.then(|| error(404, "NOT_FOUND", "Not found", &[]))
    });
    let resume = ["resume", folder.to_str().unwrap()];
    bench.run(&resume).ends(0);
    assert_eq!(bench.stub.state().jobs.len(), 1);
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.contains("/files/Person")).then(|| error(400, "X", "x", &[]))
    });
    bench.run(&arguments).ends(1);
    bench.stub.no_hook();
    bench.stub.state().jobs.clear();
    bench.stub.state().records.remove(&("Patient".to_owned(), "p-1".to_owned()));
    let folders = std::fs::read_dir(bench.path("out")).unwrap().map(|one| one.unwrap().path());
    let folder = folders.into_iter().find(|folder| folder.join("export.json").exists()).unwrap();
    bench.run(&["resume", folder.to_str().unwrap()]).ends(0).says("a new one begins");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".clinik-bulk.lock", "Person.ndjson", "SHA256SUMS", "manifest.json"]);
}

#[test]
fn the_same_file_is_not_taken_twice_by_any_name() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.write("copy.ndjson", patients(1));
    symlink(bench.path("p.ndjson"), bench.path("q.ndjson")).unwrap();
    for other in ["./p.ndjson", "q.ndjson"] {
        bench.import(&["Patient", "p.ndjson", other]).ends(2).says("named twice");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, patients(1).as_bytes()).unwrap();
    bench.write("packed", gzip.finish().unwrap());
    for other in ["copy.ndjson", "packed"] {
        bench
            .run(&["import", "Patient", "p.ndjson", other, "--state", &format!("state-{other}")])
            .ends(2)
            .says("the same as");
    }
    bench.write("in/Patient.ndjson", patients(1));
    bench.write("in/Patient.ndjson.gz", "x");
    bench.run(&["import", "in", "--state", "in-state"]).ends(2).says("plain and gzip");
    assert_eq!(bench.stub.state().records.len(), 0);
}

#[test]
fn two_processes_do_not_work_in_one_folder() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(7);
    let lock = std::fs::File::open(bench.path("state/.clinik-bulk.lock")).unwrap();
    lock.lock().unwrap();
    bench.run(&["resume", "state"]).ends(1).says("another process");
}

#[test]
fn a_download_completes_no_other_jobs_folder() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "old");
    bench.run(&["export", "Patient", "--out", "first"]).ends(0);
    bench.stub.put("Patient", "p-2", "new");
    bench.stub.on_request(|request, phase| {
        (phase == Phase::Before && request.path.contains("/files/")).then(|| error(400, "X", "x", &[]))
    });
    bench.run(&["export", "Patient", "--out", "out"]).ends(1);
    bench.stub.no_hook();
    let folder = std::fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
    let out = folder.to_str().unwrap();
    bench.run(&["import", "out", "--dry-run"]).ends(2).says("is an export that is not complete");
    let [first, second] = [0, 1].map(|n| bench.stub.state().jobs[n].id.clone());
    bench.run(&["download", &first, "--out", out]).ends(2).says("another job");
    assert!(!folder.join("manifest.json").exists() && folder.join("export.json").exists());
    bench.run(&["download", &second, "--out", out]).ends(0).says("2 records");
    assert!(folder.join("manifest.json").exists() && !folder.join("export.json").exists());
    // Nor does it lie down beside a complete one, or in the state folder of an import.
    std::fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    bench.run(&["download", &first, "--out", out]).ends(2).says("another job");
    bench.write("p.ndjson", patients(1));
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    bench.run(&["download", &first, "--out", "state"]).ends(2).says("another job");
}

#[test]
fn a_source_that_has_moved_stops_nothing_that_is_planned() {
    let bench = Bench::new();
    let file = bench.write("p.ndjson", patients(1));
    bench.stub.state().operations_left = 0;
    bench.import(&["Patient", "p.ndjson", "--no-wait"]).ends(7);
    std::fs::remove_file(file).unwrap();
    bench.stub.state().operations_left = 5;
    bench.run(&["resume", "state"]).ends(0).says("is not there any more");
}
