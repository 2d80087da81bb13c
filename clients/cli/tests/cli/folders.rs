//! Folders: whose they are, what they hold, and who works in them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::promises::is_poll;
use crate::stub::{KEY, LIVE_KEY, OTHER_KEY, Phase, Reply, error};
use crate::{Bench, bare, patients, patients_with_ids, run};

#[test]
fn a_retry_is_written_down_before_anything_is_sent_and_done_once() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    let lock = std::fs::File::open(bench.path("state/.clinik-bulk.lock")).unwrap();
    lock.lock().unwrap();
    bench.run(&["retry", "state", "--state", "again"]).ends(1).says("another process");
    lock.unlock().unwrap();
    // A folder that cannot be used is no try.
    bench.write("full/x", "");
    bench.run(&["retry", "state", "--state", "full"]).ends(2).says("not empty");
    // The import is accepted, its answer is lost, and the process gives up.
    bench.stub.on_request(|request, phase| {
        (phase == Phase::After && request.path.ends_with("/import")).then(|| Reply::bytes(400, Vec::new()))
    });
    bench.run(&["retry", "state", "--state", "again", "--no-wait"]).ends(1);
    bench.stub.no_hook();
    bench.run(&["retry", "state", "--state", "third"]).ends(2).says("resume again");
    assert!(!bench.path("third").exists());
    // As if the process had died before it could write down that it has begun.
    let retried = bench.read("state/retried.json");
    bench.write("state/retried.json", retried.replace("true", "false"));
    bench.run(&["resume", "again"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 1);
    // An empty folder is no proof that nothing was sent.
    std::fs::remove_dir_all(bench.path("again")).unwrap();
    std::fs::create_dir(bench.path("again")).unwrap();
    bench.run(&["retry", "state", "--state", "third"]).ends(2).says("what was stored cannot be told");
    // It is one where the import had not begun.
    bench.write("state/retried.json", retried.replace("true", "false"));
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    bench.run(&["retry", "state", "--state", "third"]).ends(0);
}

#[test]
fn a_retry_stays_with_the_service_the_tenant_and_the_environment_of_its_import() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    let retry = ["retry", "state", "--state", "again", "--yes"];
    for (key, told) in [(OTHER_KEY, "another tenant"), (LIVE_KEY, "begun with a test key")] {
        let mut other = bench.command(&retry);
        other.env("CLINIKAPI_SECRET_KEY", key);
        run(other).ends(2).says(told);
    }
    let elsewhere = bench.stub.url.replace("127.0.0.1", "localhost");
    bench.run(&[&retry[..], &["--url", &elsewhere]].concat()).ends(2).says("the import goes to");
    assert!(!bench.path("again").exists() && !bench.path("state/retried.json").exists());
    assert_eq!(bench.stub.count("POST", ""), 0);
    bench.run(&retry).ends(0);
}

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
fn a_chain_with_a_gap_is_neither_followed_nor_restored() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    let export = |day: u32, arguments: &[&str]| {
        bench.stub.state().transaction_time = format!("2026-01-{day:02}T09:00:00Z");
        bench.run(&[&["export", "Patient", "--out", "out"], arguments].concat()).ends(0);
        let mut folders: Vec<_> =
            std::fs::read_dir(bench.path("out")).unwrap().map(|one| one.unwrap().path()).collect();
        folders.sort_by_key(|folder| std::fs::metadata(folder.join("manifest.json")).unwrap().modified().unwrap());
        folders.pop().unwrap()
    };
    export(10, &[]);
    let by_hand = export(12, &["--since", "2026-01-11T00:00:00Z"]);
    export(14, &["--since-last"]);
    let since = bench.stub.state().jobs[2].body["since"].clone();
    assert_eq!(since, "2026-01-10T09:00:00Z", "not the one that was made by hand");
    bench.import(&["out"]).ends(2).says("what changed between is missing");
    std::fs::remove_dir_all(by_hand).unwrap();
    let middle = export(16, &["--since-last"]);
    export(18, &["--since-last"]);
    bench.run(&["import", "out", "--state", "whole"]).ends(0);
    std::fs::remove_dir_all(middle).unwrap();
    bench.import(&["out"]).ends(2).says("what changed between is missing");
}

#[test]
fn a_backup_goes_back_to_whom_it_is_of() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    for key in [OTHER_KEY, LIVE_KEY] {
        let mut other = bench.command(&["import", "out", "--yes", "--state", "state"]);
        other.env("CLINIKAPI_SECRET_KEY", key);
        run(other).ends(2).says("--other-tenant");
        assert!(!bench.path("state").exists());
    }
    let mut other = bench.command(&["import", "out", "--other-tenant", "--state", "state"]);
    other.env("CLINIKAPI_SECRET_KEY", OTHER_KEY);
    run(other).ends(0);
}

#[test]
fn a_retry_is_for_what_has_ended_and_newer_records_stay() {
    // The batch may begin anew: what is retried now would be replaced by it.
    let bench = Bench::new();
    bench.write(
        "p.ndjson",
        "{\"id\":\"a\",\"firstName\":\"v1\",\"lastName\":\"x\"}\n{\"id\":\"a\",\"firstName\":\"v2\"}\n",
    );
    bench.stub.state().fail_with = Some("cancelled".to_owned());
    bench.import(&["Patient", "p.ndjson"]).ends(5);
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\",\"lastName\":\"x\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(2).says("resume it first");
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\"}\n");
    bench.run(&["resume", "state"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\",\"lastName\":\"x\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(0).says("1 of the rejected records have ids");
    assert!(bench.stub.state().records[&("Patient".to_owned(), "a".to_owned())].0.contains("v2"));
    // A summary that is older than the last step is not the whole truth.
    let journal = bench.read("again/journal.ndjson");
    bench.write("again/journal.ndjson", journal.replace("\"at\":\"2", "\"at\":\"3"));
    bench.run(&["retry", "again", "--state", "third"]).ends(2).says("resume it first");
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
fn a_restore_begins_at_the_last_whole_export() {
    let bench = Bench::new();
    let export = |day: u32, arguments: &[&str]| {
        bench.stub.state().transaction_time = format!("2026-01-{day:02}T09:00:00Z");
        bench.run(&[&["export", "Patient", "--out", "out"], arguments].concat()).ends(0);
    };
    bench.stub.put("Patient", "gone", "x");
    export(10, &[]);
    bench.stub.state().records.clear();
    bench.stub.put("Patient", "stays", "y");
    // A gap, and everything anew behind it.
    export(12, &["--since", "2026-01-11T00:00:00Z"]);
    export(14, &[]);
    bench.stub.state().records.clear();
    bench.run(&["import", "out", "--state", "restored"]).ends(0).says("1 read = 1 stored");
    assert!(bench.stub.state().records.contains_key(&("Patient".to_owned(), "stays".to_owned())));
    export(16, &["--since-last"]);
    bench.run(&["import", "out", "--dry-run"]).ends(0);
    // The last one was begun while the whole one was still being made, or nobody knows: no reason to restore nothing.
    let whole = export_of(&bench, "2026-01-14");
    for ended in [json!("2999-01-01T00:00:00Z"), json!(null)] {
        edit_manifest(&whole, |manifest| manifest["completedAt"] = ended);
        bench.run(&["import", "out", "--dry-run"]).ends(0).says("1 left out").says("1 records in");
    }
}

/// The folder of the export in `out` that ends on this day.
pub(crate) fn export_of(bench: &Bench, day: &str) -> PathBuf {
    let text = format!("\"transactionTime\": \"{day}T");
    let mut folders = std::fs::read_dir(bench.path("out")).unwrap().map(|one| one.unwrap().path());
    folders.find(|folder| std::fs::read_to_string(folder.join("manifest.json")).unwrap().contains(&text)).unwrap()
}

fn edit_manifest(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("manifest.json");
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    std::fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn a_manifest_that_does_not_add_up_or_name_all_is_not_restored() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.stub.put("Person", "x", "y");
    bench.run(&["export", "Patient,Person", "--per-type", "--out", "out"]).ends(0);
    let folder = export_of(&bench, "2026-01-15");
    let whole = std::fs::read(folder.join("manifest.json")).unwrap();
    for from in ["out", folder.to_str().unwrap()] {
        let import = ["import", from, "--dry-run"];
        edit_manifest(&folder, |manifest| manifest["resourceTypes"] = json!([]));
        bench.run(&import).ends(8).says("resourceTypes is empty");
        std::fs::write(folder.join("manifest.json"), &whole).unwrap();
        edit_manifest(&folder, |manifest| _ = manifest["files"].as_array_mut().unwrap().pop());
        bench.run(&import).ends(8).says("records is 2, and those of its files are 1");
        edit_manifest(&folder, |manifest| manifest["records"] = json!(1));
        bench.run(&import).ends(2).says("Person.ndjson lies in an export");
        std::fs::write(folder.join("manifest.json"), &whole).unwrap();
        std::fs::write(folder.join(".hidden"), "x").unwrap();
        bench.run(&import).ends(0);
    }
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
fn an_id_is_of_its_type_also_where_rejected_records_have_one_that_was_stored() {
    let bench = Bench::new();
    bench.write("in/Patient.ndjson", "{\"id\":\"a\",\"firstName\":\"v1\",\"lastName\":\"x\"}\n{\"id\":\"b\"}\n");
    bench.write("in/Person.ndjson", "{\"id\":\"a\",\"active\":7}\n");
    bench.import(&["in"]).ends(3).says("state/rejected/Person.ndjson");
    bench.write("state/rejected/Person.ndjson", "{\"id\":\"a\",\"active\":true}\n");
    let said = bench.run(&["retry", "state", "--state", "again"]);
    assert!(!said.err.contains("have ids under which"), "{}", said.err);
}

#[test]
fn a_retry_goes_on_also_when_the_first_folder_was_emptied() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    bench.stub.state().polls = 3;
    bench.run(&["retry", "state", "--state", "again", "--no-wait"]).ends(6);
    std::fs::remove_dir_all(bench.path("state")).unwrap();
    std::fs::create_dir(bench.path("state")).unwrap();
    bench.run(&["resume", "again"]).ends(0).says("is gone");
    assert_eq!(bench.stub.state().records.len(), 1);
}

/// The store is lost, and nobody can ask it which of two versions is newer: the lines tell.
#[test]
fn of_exports_that_overlap_the_newest_version_of_each_record_is_restored() {
    let bench = Bench::new();
    let moment = |day: u32| bench.stub.state().transaction_time = format!("2026-01-{day:02}T09:00:00Z");
    // The whole export ends late, and holds what was written after the next one had read.
    moment(12);
    bench.stub.put("Patient", "p-1", "New");
    bench.stub.put("Patient", "p-2", "Same");
    moment(10);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let ended = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    edit_manifest(&export_of(&bench, "2026-01-10"), |manifest| manifest["completedAt"] = json!(ended.to_string()));
    moment(9);
    bench.stub.put("Patient", "p-1", "Old");
    moment(11);
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    bench.stub.state().records.clear();
    moment(13);
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    bench.import(&["out"]).ends(0).says("4 read = 2 stored + 0 rejected + 2 left out");
    let state = bench.stub.state();
    assert!(state.records[&("Patient".to_owned(), "p-1".to_owned())].0.contains("New"));
}

/// A line that a whole export replaces is no newer version of anything.
#[test]
fn what_is_replaced_does_not_count_where_exports_overlap() {
    let bench = Bench::new();
    let moment = |day: u32| bench.stub.state().transaction_time = format!("2026-01-{day:02}T09:00:00Z");
    moment(12);
    bench.stub.put("Patient", "p-1", "Replaced");
    bench.stub.put("Person", "x-1", "Same");
    moment(10);
    bench.run(&["export", "Patient,Person", "--out", "out"]).ends(0);
    let ended = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    edit_manifest(&export_of(&bench, "2026-01-10"), |manifest| manifest["completedAt"] = json!(ended.to_string()));
    moment(9);
    bench.stub.put("Patient", "p-1", "Whole");
    moment(11);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    moment(13);
    bench.run(&["export", "Person", "--out", "out", "--since-last"]).ends(0);
    bench.stub.state().records.clear();
    bench.import(&["out"]).ends(0).says("4 read = 2 stored + 0 rejected + 2 left out");
    let state = bench.stub.state();
    assert!(state.records[&("Patient".to_owned(), "p-1".to_owned())].0.contains("Whole"));
}

#[test]
fn nothing_beside_exports_is_passed_over_and_a_file_of_one_keeps_its_owner() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let file = bench.stub.state().jobs[0].id.clone() + ".ndjson";
    let folder = std::fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
    let path = folder.join(file);
    let import = ["import", "Patient", path.to_str().unwrap()];
    let mut other = bench.command(&import);
    other.env("CLINIKAPI_SECRET_KEY", OTHER_KEY);
    run(other).ends(2).says("--other-tenant");
    let content = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, content.replace("\"x\"", "\"y\"")).unwrap();
    bench.run(&import).ends(8).says("hash differs");
    std::fs::write(&path, content).unwrap();
    // A manifest that cannot be read tells nobody whose the file is.
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("manifest.json"), &manifest[..40]).unwrap();
    let mut other = bench.command(&import);
    other.env("CLINIKAPI_SECRET_KEY", OTHER_KEY);
    run(other).ends(1).says("manifest.json is not what");
    std::fs::write(folder.join("manifest.json"), &manifest).unwrap();
    bench.write("out/Person.ndjson", "{}\n");
    bench.run(&["import", "out", "--dry-run"]).ends(2).says("lies beside exports");
    std::fs::remove_file(bench.path("out/Person.ndjson")).unwrap();
    // Hidden ones are the system's.
    bench.write("out/.DS_Store", "x");
    bench.write("out/.Trash/manifest.json", "x");
    bench.run(&["import", "out", "--dry-run"]).ends(0);
    bench
        .stub
        .on_request(|request, phase| (phase == Phase::Before && is_poll(request)).then(|| error(400, "X", "x", &[])));
    bench.run(&["export", "Patient", "--out", "out"]).ends(1);
    bench.run(&["import", "out", "--dry-run"]).ends(2).says("not complete");
}

#[test]
fn a_part_of_a_backup_that_is_no_whole_export_is_refused_by_name() {
    let bench = Bench::new();
    bench.stub.put("Patient", "p-1", "x");
    for day in 10..12 {
        bench.stub.state().transaction_time = format!("2026-01-{day:02}T09:00:00Z");
        bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    }
    let jobs: Vec<_> = bench.stub.state().jobs.iter().map(|job| job.id.clone()).collect();
    let folders = std::fs::read_dir(bench.path("out")).unwrap().map(|one| one.unwrap().path());
    let last = folders.into_iter().find(|folder| folder.join(format!("{}.ndjson", jobs[1])).exists()).unwrap();
    let manifest = std::fs::read(last.join("manifest.json")).unwrap();
    // Copied in part.
    std::fs::remove_file(last.join("manifest.json")).unwrap();
    let name = last.file_name().unwrap().to_str().unwrap();
    bench.import(&["out"]).ends(2).says(name).says("no manifest.json");
    std::fs::write(last.join("manifest.json"), manifest).unwrap();
    // Exports below another folder.
    std::fs::create_dir(bench.path("out/2026")).unwrap();
    std::fs::rename(&last, bench.path("out/2026").join(name)).unwrap();
    bench.import(&["out"]).ends(2).says("2026 lies beside exports");
    std::fs::rename(bench.path("out/2026").join(name), &last).unwrap();
    std::fs::remove_dir(bench.path("out/2026")).unwrap();
    symlink("nowhere", bench.path("out/link")).unwrap();
    bench.import(&["out"]).ends(2).says("link lies beside exports");
    std::fs::remove_file(bench.path("out/link")).unwrap();
    // An export in the folder of the exports hides them all.
    bench.run(&["download", &jobs[0], "--out", "out"]).ends(2).says("holds exports");
    bench.run(&["download", &jobs[0], "--out", "other"]).ends(0);
    for file in ["manifest.json", "SHA256SUMS", &format!("{}.ndjson", jobs[0])] {
        std::fs::copy(bench.path("other").join(file), bench.path("out").join(file)).unwrap();
    }
    bench.import(&["out"]).ends(2).says("is an export itself, and holds");
    assert!(!bench.path("state").exists());
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
