//! Exports: folders, streams, chains, restores.

use std::path::PathBuf;

use crate::stub::{Phase, Reply, error};
use crate::{Bench, run};

pub(crate) fn with_patients(count: usize) -> Bench {
    let bench = Bench::new();
    for n in 0..count {
        bench.stub.put("Patient", &format!("p-{n:03}"), &format!("Given{n}"));
    }
    bench
}

/// The export folders, oldest name first.
pub(crate) fn folders(bench: &Bench, out: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(bench.path(out)).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
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

#[test]
fn a_link_to_an_export_is_that_export() {
    let bench = with_patients(1);
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    bench.stub.state().transaction_time = "2026-01-16T09:00:00Z".to_owned();
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
    let newest = crate::incremental::chain(&bench, "out").pop().unwrap();
    std::os::unix::fs::symlink(&newest, bench.path("out/latest")).unwrap();
    let first = crate::incremental::chain(&bench, "out").remove(0);
    bench.write("out/lost+found/x", "");
    bench.import(&["out"]).ends(0).says("2 read = 1 stored + 0 rejected + 1 left out");
    // All that a restore needs has to be there before another one goes on.
    let file = std::fs::read_dir(&first).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "ndjson")).unwrap();
    std::fs::remove_file(file).unwrap();
    bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(8).says("mend it first");
}

#[test]
fn a_hash_may_be_told_in_letters_of_either_case() {
    let bench = with_patients(2);
    bench.stub.state().capital_hashes = true;
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let folder = folders(&bench, "out")[0].to_str().unwrap().to_owned();
    bench.run(&["resume", &folder]).ends(0).says("the export is complete: 2 records");
    bench.import(&[&folder]).ends(0).says("2 read = 2 stored");
    let job = bench.stub.state().jobs[0].id.clone();
    for _ in 0..2 {
        bench.run(&["download", &job, "--out", "files"]).ends(0).says("2 records");
    }
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
