//! Which exports make a state, and whose they are.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::promises::is_poll;
use crate::stub::{LIVE_KEY, OTHER_KEY, Phase, error};
use crate::{Bench, run};

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
