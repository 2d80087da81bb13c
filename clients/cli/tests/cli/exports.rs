//! Exports: folders, streams, chains, restores.

use std::path::PathBuf;

use crate::stub::{Phase, Reply, error};
use crate::{Bench, run};

fn with_patients(count: usize) -> Bench {
    let bench = Bench::new();
    for n in 0..count {
        bench.stub.put("Patient", &format!("p-{n:03}"), &format!("Given{n}"));
    }
    bench
}

/// The export folders, oldest name first.
fn folders(bench: &Bench, out: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(bench.path(out)).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The exports of a folder, in the order of their chain: those of one second have names in any.
fn chain(bench: &Bench, out: &str) -> Vec<PathBuf> {
    let mut folders = folders(bench, out);
    folders.sort_by_key(|folder| {
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        manifest["transactionTime"].as_str().unwrap().to_owned()
    });
    folders
}

#[test]
fn an_export_has_a_folder_with_a_manifest_and_sums_that_hold() {
    let bench = with_patients(3);
    let said = bench.run(&["export", "Patient", "--out", "out", "--label", "nightly"]);
    said.ends(0).says("3 records");
    assert!(said.out.is_empty());
    let folder = &folders(&bench, "out")[0];
    let sums = std::process::Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(folder).output();
    assert!(sums.unwrap().status.success());
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((manifest["records"].as_u64(), manifest["environment"].as_str()), (Some(3), Some("test")));
    assert!(!folder.join("export.json").exists());
    bench.run(&["resume", folder.to_str().unwrap()]).ends(0).says("complete");
    assert!(bench.run(&["status", folder.to_str().unwrap()]).ends(0).out.contains("complete"));
    assert_eq!(bench.stub.state().jobs[0].body["label"], "nightly");
}

#[test]
fn types_compression_and_times_are_asked_for() {
    let bench = with_patients(1);
    bench.stub.put("Person", "x", "y");
    let arguments =
        ["export", "Patient,Person,Patient", "--out", "out", "--per-type", "--gzip", "--since", "2025-01-01T00:00:00Z"];
    let document = bench.run(&[&arguments[..], &["--output", "json"]].concat()).json();
    let body = bench.stub.state().jobs[0].body.clone();
    assert_eq!(body["resourceTypes"], serde_json::json!(["Patient", "Person"]));
    assert_eq!((body["files"].as_str(), body["compression"].as_str()), (Some("perType"), Some("gzip")));
    assert_eq!(body["since"], "2025-01-01T00:00:00Z");
    let names: Vec<_> = document["files"].as_array().unwrap().iter().map(|file| file["name"].clone()).collect();
    assert_eq!(names, ["Patient.ndjson.gz", "Person.ndjson.gz"]);
    bench.run(&["export", "--all", "--out", "all"]).ends(0);
    assert_eq!(bench.stub.state().jobs[1].body["resourceTypes"].as_array().unwrap().len(), 62);
    bench.run(&["export", "Patient", "--out", "out", "--since", "yesterday"]).ends(2);
    bench.run(&["export", "Patinet", "--out", "out"]).ends(2).says("did you mean Patient?");
    bench.run(&["export", "--out", "out"]).ends(2);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let bench = with_patients(200);
    bench.stub.state().cut_downloads = Some(5_000);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let state = bench.stub.state();
    let ranges: Vec<_> = state.requests.iter().filter_map(|request| request.header("range")).collect();
    assert!(ranges.len() >= 3 && ranges[0] == "bytes=5000-", "{ranges:?}");
    let matches = state.requests.iter().filter(|request| request.header("range").is_some());
    assert!(
        matches.clone().all(|request| request.header("if-match").is_some() && request.header("if-range").is_none())
    );
}

#[test]
fn what_an_earlier_process_left_is_gone_on_with() {
    let bench = with_patients(100);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    let whole = bench.stub.state().jobs[0].files[&format!("{job}.ndjson")].clone();
    bench.stub.clear_requests();
    let part = bench.write(&format!("files/{job}.ndjson.partial"), &whole[..1000]);
    std::fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    bench.run(&["download", &job, "--out", "files"]).ends(0);
    assert!(bench.stub.state().requests.iter().any(|request| request.header("range") == Some("bytes=1000-")));
    assert_eq!(bench.read(&format!("files/{job}.ndjson")).into_bytes(), whole);
    // A part of something else is noticed by its hash, and thrown away.
    bench.write(&format!("more/{job}.ndjson.partial"), vec![b'x'; 1000]);
    bench.run(&["download", &job, "--out", "more"]).ends(0);
    assert_eq!(bench.read(&format!("more/{job}.ndjson")).into_bytes(), whole);
    // What is there and right is not fetched again.
    bench.stub.clear_requests();
    bench.run(&["download", &job, "--out", "files"]).ends(0);
    assert_eq!(bench.stub.count("GET", "/s3/"), 0);
}

#[test]
fn a_wrong_hash_is_exit_code_8_and_leaves_no_file() {
    let bench = with_patients(3);
    bench.stub.state().corrupt_downloads = true;
    let said = bench.run(&["export", "Patient", "--out", "out", "--output", "json"]);
    let document = said.ends(8).json();
    assert!(document["jobs"][0]["jobId"].is_string());
    let folder = &folders(&bench, "out")[0];
    assert!(!folder.join("manifest.json").exists());
    bench.run(&["import", folder.to_str().unwrap()]).ends(2).says("not complete");
    bench.stub.state().corrupt_downloads = false;
    bench.run(&["resume", folder.to_str().unwrap()]).ends(0);
    assert_eq!(bench.stub.state().jobs.len(), 1);
}

#[test]
fn a_link_that_has_expired_is_asked_for_again() {
    let bench = with_patients(3);
    let mut refused = false;
    bench.stub.on_request(move |request, phase| {
        let refuses = phase == Phase::Before && request.path.starts_with("/s3/file") && !refused;
        refused |= refuses;
        refuses.then(|| Reply::bytes(403, Vec::new()))
    });
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
}

#[test]
fn a_chain_of_backups_begins_each_time_where_the_last_one_ended() {
    let bench = with_patients(2);
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0).says("exporting everything");
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0).says("since 2026-01-15T09:00:00Z");
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0).says("since 2026-01-16T09:00:00Z");
    let state = bench.stub.state();
    assert!(state.jobs[0].body["since"].is_null());
    assert_eq!(state.jobs[2].body["since"], "2026-01-16T09:00:00Z");
    drop(state);
    // No chain of Person has been begun.
    bench.run(&["export", "Patient,Person", "--out", "out", "--since-last"]).ends(0).says("exporting everything");
    bench.run(&["export", "Patient", "--out", "-", "--since-last"]).ends(2);
}

#[test]
fn a_chain_is_restored_oldest_first_and_an_export_exactly() {
    let bench = with_patients(3);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.stub.put("Patient", "p-001", "Changed");
    bench.run(&["export", "Patient", "--out", "out", "--since-last", "--gzip"]).ends(0);
    let before: Vec<_> = bench.stub.state().records.keys().cloned().collect();
    bench.stub.state().records.clear();
    bench.stub.state().polls = 1;
    bench.import(&["out"]).ends(0).says("6 read = 3 stored + 0 rejected + 3 left out");
    let state = bench.stub.state();
    assert_eq!(state.records.keys().cloned().collect::<Vec<_>>(), before);
    assert!(state.records[&("Patient".to_owned(), "p-001".to_owned())].0.contains("Changed"));
    assert!(state.records.values().all(|(_, writes)| *writes == 1), "each record is sent once");
}

#[test]
fn what_was_deleted_since_is_not_restored() {
    let key = |id: &str| ("Patient".to_owned(), id.to_owned());
    let bench = with_patients(4);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let export = |day: u32, per_type: bool| {
        bench.stub.state().transaction_time = format!("2026-01-{day}T09:00:00Z");
        let mut arguments = vec!["export", "Patient", "--out", "out", "--since-last"];
        arguments.extend(per_type.then_some("--per-type"));
        bench.run(&arguments).ends(0).says("since 2026");
    };
    bench.stub.delete("Patient", "p-000");
    bench.stub.delete("Patient", "p-001");
    export(16, true);
    // Stored again, and another one deleted.
    bench.stub.put("Patient", "p-000", "Again");
    bench.stub.delete("Patient", "p-003");
    export(17, false);
    let before: Vec<_> = bench.stub.state().records.keys().cloned().collect();
    assert_eq!(before, [key("p-000"), key("p-002")]);
    bench.stub.state().records.clear();
    let said = bench.import(&["out"]);
    said.ends(0).says("8 read = 2 stored + 0 rejected + 6 left out").says("name 3 records as deleted");
    let state = bench.stub.state();
    assert_eq!(state.records.keys().cloned().collect::<Vec<_>>(), before);
    assert!(state.records[&key("p-000")].0.contains("Again"));
    drop(state);
    assert_eq!(bench.read_json("state/summary.json")["leftOut"], 6);
    let status = bench.run(&["status", "state"]);
    assert!(status.ends(0).out.contains("6 left out"));
    // A file of deletions is what its manifest says, or nothing is sent.
    let last = crate::folders::export_of(&bench, "2026-01-17");
    let file = last.join("deleted.ndjson");
    let content = std::fs::read_to_string(&file).unwrap();
    assert_eq!(content.lines().count(), 2);
    for wrong in [content.replacen("p-001", "p-002", 1), "{\"id\":\"p-001\"}\n".to_owned()] {
        std::fs::write(&file, wrong).unwrap();
        bench.stub.clear_requests();
        let told = bench.run(&["import", "out", "--state", "other"]);
        assert!(told.code != 0 && !told.err.contains("p-00"), "{}", told.err);
        assert_eq!(bench.stub.count("POST", ""), 0);
        std::fs::remove_dir_all(bench.path("other")).unwrap();
    }
}

#[test]
fn a_complete_export_is_what_its_manifest_says_or_is_made_so() {
    let bench = with_patients(3);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let folder = folders(&bench, "out").pop().unwrap();
    let file = folder.join(format!("{}.ndjson", bench.stub.state().jobs[0].id));
    let resume = ["resume", folder.to_str().unwrap()];
    bench.stub.clear_requests();
    bench.run(&resume).ends(0).says("complete: 3 records");
    assert_eq!(bench.stub.count("", ""), 0, "nobody is asked");
    let whole = std::fs::read(&file).unwrap();
    let changed = [&whole[..whole.len() - 2], b" \n"].concat();
    let damages: [&dyn Fn(); 3] =
        [&|| std::fs::remove_file(&file).unwrap(), &|| std::fs::write(&file, &whole[..10]).unwrap(), &|| {
            std::fs::write(&file, &changed).unwrap();
        }];
    for damage in damages {
        damage();
        let size = std::fs::metadata(&file).map_or(0, |found| found.len());
        if size != whole.len() as u64 {
            let said = bench.run(&["export", "Patient", "--out", "out", "--since-last"]);
            said.ends(8).says("not as long as its manifest says").says("clinik-bulk resume");
            bench.run(&["status", folder.to_str().unwrap()]).ends(8);
        }
        let mut other = bench.command(&resume);
        other.env("CLINIKAPI_SECRET_KEY", crate::stub::OTHER_KEY);
        run(other).ends(2).says("another tenant's");
        bench.run(&resume).ends(0).says("is not the file of its manifest").says("complete: 3 records");
        assert_eq!(std::fs::read(&file).unwrap(), whole);
    }
    std::fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    bench.run(&resume).ends(0);
    assert!(folder.join("SHA256SUMS").exists());
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    std::fs::remove_file(&file).unwrap();
    bench.stub.state().jobs.clear();
    bench.run(&resume).ends(8).says("export anew");
}

/// Named by itself or in its chain, a line counts as its own time says.
#[test]
fn a_record_that_was_stored_again_is_restored_also_from_files_by_themselves() {
    let bench = with_patients(2);
    bench.run(&["export", "Patient", "--out", "out", "--per-type"]).ends(0);
    bench.stub.delete("Patient", "p-000");
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--per-type", "--since-last"]).ends(0);
    bench.stub.put("Patient", "p-000", "Again");
    bench.stub.state().transaction_time = "2026-01-17T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--per-type", "--since-last"]).ends(0);
    let files: Vec<_> = chain(&bench, "out").iter().map(|folder| folder.join("Patient.ndjson")).collect();
    let [first, second, third] = &files[..] else { panic!("{files:?}") };
    bench.stub.state().records.clear();
    let mine = bench.write("mine.ndjson", "{\"id\":\"p-000\",\"firstName\":\"Mine\",\"lastName\":\"D\"}\n");
    // What was deleted stays deleted, what came later stays, and a file of one's own has the rule of all files.
    let import = |state: &str, files: &[&std::path::Path], duplicates: &str| {
        let mut arguments = vec!["import", "Patient"];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        bench.run(&[&arguments[..], &["--state", state, "--duplicates", duplicates]].concat())
    };
    let is_stored = |name: &str| {
        let state = bench.stub.state();
        state.records[&("Patient".to_owned(), "p-000".to_owned())].0.contains(name)
    };
    import("one", &[first, second], "first").ends(0).says("3 read = 1 stored + 0 rejected + 2 left out");
    let said = import("two", &[second, third, &mine], "first");
    said.ends(3).says("4 read = 2 stored + 1 rejected + 1 left out").says("[duplicate_id]");
    assert!(is_stored("Again"));
    let said = import("three", &[second, third, &mine], "last");
    said.ends(0).says("4 read = 2 stored + 0 rejected + 2 left out");
    assert!(is_stored("Mine"));
}

#[test]
fn what_a_later_whole_export_replaces_is_left_out_also_of_a_file_of_several_types() {
    let bench = with_patients(2);
    bench.stub.put("Person", "x-1", "Old");
    bench.run(&["export", "Patient,Person", "--out", "out"]).ends(0);
    bench.stub.state().records.remove(&("Patient".to_owned(), "p-001".to_owned()));
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.stub.state().records.clear();
    bench.import(&["out"]).ends(0).says("4 read = 2 stored + 0 rejected + 2 left out");
    let ids: Vec<_> = bench.stub.state().records.keys().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids, ["p-000", "x-1"]);
}

#[test]
fn a_link_to_an_export_is_that_export() {
    let bench = with_patients(1);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    let newest = chain(&bench, "out").pop().unwrap();
    std::os::unix::fs::symlink(&newest, bench.path("out/latest")).unwrap();
    let first = chain(&bench, "out").remove(0);
    bench.write("out/lost+found/x", "");
    bench.import(&["out"]).ends(0).says("2 read = 1 stored + 0 rejected + 1 left out");
    // All that a restore needs has to be there before another one goes on.
    let file = std::fs::read_dir(&first).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "ndjson")).unwrap();
    std::fs::remove_file(file).unwrap();
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(8).says("mend it first");
}

/// A login page on the way is no place where a file lies.
#[test]
fn a_redirect_of_somebody_on_the_way_is_waited_out() {
    let bench = with_patients(1);
    let mut left = 2;
    bench.stub.on_request(move |request, phase| {
        let redirects = phase == Phase::Before && request.path.contains("/files/") && left > 0;
        left -= i32::from(redirects);
        redirects.then(|| Reply::bytes(307, Vec::new()).with("location", "http://127.0.0.1:9/login"))
    });
    bench.run(&["export", "Patient", "--out", "out"]).ends(0).says("not the bulk API's");
}

#[test]
fn a_run_s_folder_does_not_lie_in_what_is_imported() {
    let bench = with_patients(1);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let mut import = bench.command(&["import", "."]);
    import.current_dir(bench.path("out"));
    run(import).ends(2).says("--state");
    let mut import = bench.command(&["import", ".", "--state", "../elsewhere"]);
    import.current_dir(bench.path("out"));
    run(import).ends(0).says("1 read = 1 stored");
    assert_eq!(folders(&bench, "out").len(), 1);
}

/// The contract takes any number of digits.
#[test]
fn a_since_of_ten_digits_is_the_one_that_was_asked_for() {
    let bench = with_patients(1);
    bench.run(&["export", "Patient", "--out", "out", "--since", "2026-01-01T00:00:00.1234567890Z"]).ends(0);
}

#[test]
fn a_manifest_of_somebody_else_is_nothing_of_ours() {
    let bench = Bench::new();
    bench.write("app/manifest.json", "{\"name\":\"an app\",\"icons\":[]}");
    let file = bench.write("app/p.ndjson", crate::patients(1));
    bench.import(&["Patient", file.to_str().unwrap()]).ends(0).says("1 read = 1 stored");
}

#[test]
fn a_file_that_is_not_its_manifests_is_exit_code_8_and_nothing_is_sent() {
    let bench = with_patients(3);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let folder = folders(&bench, "out")[0].clone();
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "ndjson"))
        .unwrap();
    let mut content = std::fs::read_to_string(&file).unwrap();
    content.push_str("{\"resourceType\":\"Patient\",\"firstName\":\"A\",\"lastName\":\"B\"}\n");
    std::fs::write(&file, content).unwrap();
    bench.stub.clear_requests();
    bench.import(&[folder.to_str().unwrap()]).ends(8).says("hash differs");
    assert_eq!(bench.stub.count("POST", ""), 0);
}

#[test]
fn stdout_takes_the_records_and_nothing_else() {
    let bench = with_patients(2);
    let said = bench.run(&["export", "Patient", "--out", "-"]);
    assert_eq!(said.ends(0).out.lines().count(), 2);
    assert!(said.out.lines().all(|line| line.starts_with("{\"resourceType\":\"Patient\"")));
    bench.run(&["export", "Patient", "--out", "-", "--per-type"]).ends(2);
    bench.run(&["export", "Patient", "--out", "-", "--output", "json"]).ends(2);
    // The one command's records are the other's.
    bench.stub.state().records.clear();
    let mut import = bench.command(&["import", "Patient", "-", "--state", "state"]);
    import.write_stdin(said.out);
    run(import).ends(0).says("2 read = 2 stored");
    bench.stub.state().corrupt_downloads = true;
    bench.run(&["export", "Patient", "--out", "-"]).ends(8);
}

#[test]
fn an_import_jobs_reports_are_downloaded_too() {
    let bench = Bench::new();
    bench.write("p.ndjson", crate::patients(2));
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    bench.run(&["download", &job, "--out", "files"]).ends(0);
    assert_eq!(bench.read("files/results.ndjson").lines().count(), 2);
    assert!(!bench.path("files/manifest.json").exists());
    bench.stub.state().polls = 5;
    bench.run(&["import", "Patient", "p.ndjson", "--no-wait", "--state", "two"]).ends(6);
    let running = bench.stub.state().jobs[1].id.clone();
    bench.run(&["download", &running, "--out", "files"]).ends(6);
}

#[test]
fn an_export_waits_for_a_slot_and_knows_the_months_end() {
    let bench = with_patients(1);
    let mut refused = false;
    bench.stub.on_request(move |request, phase| {
        let refuses = phase == Phase::Before && request.path.ends_with("/export") && !refused;
        refused |= refuses;
        refuses.then(|| error(429, "RATE_LIMITED", "Limit reached", &[]).with("retry-after", "1"))
    });
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.stub.state().month_used_up = true;
    bench.run(&["export", "Patient", "--out", "out"]).ends(7).says("MONTHLY_QUOTA_EXCEEDED");
}

/// A chain is of one format, and what is no flat record is not imported as one.
#[test]
fn an_export_as_fhir_has_files_by_type_and_a_chain_of_its_own() {
    let bench = with_patients(2);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.run(&["export", "Patient", "--out", "fhir", "--format", "fhir", "--gzip"]).ends(0);
    let body = bench.stub.state().jobs[1].body.clone();
    assert_eq!((&body["format"], &body["files"]), (&"fhir".into(), &"perType".into()));
    let folder = folders(&bench, "fhir").pop().unwrap();
    assert!(folder.join("Patient.ndjson.gz").exists());
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["format"], "fhir");
    bench.import(&["fhir"]).ends(2).says("is an export of records as FHIR: add --format fhir");
    // The newest of the folder is of another format.
    bench
        .run(&["export", "Patient", "--out", "out", "--format", "fhir", "--since-last"])
        .ends(0)
        .says("exporting everything");
    bench
        .run(&["export", "Patient", "--out", "out", "--format", "fhir", "--since-last"])
        .ends(0)
        .says("since 2026-01-15");
    bench.run(&["export", "Patient", "--out", "-", "--format", "fhir"]).ends(2).says("several files");
}

/// Lines of a chain that the state has no more, or newer, are past: nobody has to mend them, and mended they would come back.
#[test]
fn invalid_lines_of_a_chain_are_rejected_only_where_they_are_the_newest() {
    let bench = Bench::new();
    let export = |day: u32| {
        bench.stub.state().transaction_time = format!("2026-01-{day}T09:00:00Z");
        bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    };
    for id in ["mended", "deleted", "broken"] {
        bench.stub.put("Patient", id, if id == "broken" { "Fine" } else { "" });
    }
    export(10);
    bench.stub.state().transaction_time = "2026-01-11T09:00:00Z".to_owned();
    bench.stub.put("Patient", "mended", "Mended");
    bench.stub.put("Patient", "broken", "");
    bench.stub.delete("Patient", "deleted");
    export(12);
    bench.stub.state().records.clear();
    // The stub's second export holds what is there: two records, and a deletion.
    bench.import(&["out"]).ends(3).says("5 read = 1 stored + 1 rejected + 3 left out");
    let rejected = bench.read("state/rejected.ndjson");
    assert!(rejected.contains("\"broken\"") && rejected.lines().count() == 1, "{rejected}");
    let ids: Vec<_> = bench.stub.state().records.keys().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids, ["mended"], "no older version takes the place of the newest");
}

#[test]
fn files_of_exports_may_be_named_by_a_pattern_and_with_a_pipe() {
    let bench = with_patients(2);
    bench.run(&["export", "Patient", "--out", "out", "--per-type"]).ends(0);
    bench.stub.delete("Patient", "p-000");
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--per-type", "--since-last"]).ends(0);
    let chain = chain(&bench, "out");
    let file = |at: usize, name: &str| chain[at].join(name).to_str().unwrap().to_owned();
    let files = [file(0, "Patient.ndjson"), file(1, "Patient.ndjson"), file(1, "deleted.ndjson")];
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let import = [&["import", "Patient"][..], &files, &["-", "--state", "state"]].concat();
    let mut import = bench.command(&import);
    import.write_stdin("{\"id\":\"own\",\"firstName\":\"A\",\"lastName\":\"B\"}\n");
    bench.stub.state().records.clear();
    run(import).ends(0).says("4 read = 2 stored + 0 rejected + 2 left out");
    bench.run(&["validate", "Patient", files[2]]).ends(2).says("deleted.ndjson holds no records");
    // What is mine is the last one, whatever its time says.
    let fixed = std::fs::read_to_string(files[0]).unwrap().lines().nth(1).unwrap().replace("Doe", "Fixed");
    bench.write("fixed.ndjson", fixed + "\n");
    let last = ["import", "Patient", files[0], files[1], "fixed.ndjson", "--duplicates", "last", "--state", "two"];
    bench.run(&last).ends(0);
    let state = bench.stub.state();
    assert!(state.records[&("Patient".to_owned(), "p-001".to_owned())].0.contains("Fixed"));
}
