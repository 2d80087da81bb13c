//! Incremental exports: chains of them made and restored, and what is deleted or replaced in them.

use crate::exports::{folders, with_patients};
use std::path::PathBuf;

use crate::{Bench, run};

/// The exports of a folder, in the order of their chain: those of one second have names in any.
pub(crate) fn chain(bench: &Bench, out: &str) -> Vec<PathBuf> {
    let mut folders = folders(bench, out);
    folders.sort_by_key(|folder| {
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        manifest["transactionTime"].as_str().unwrap().to_owned()
    });
    folders
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
    let last = crate::restores::export_of(&bench, "2026-01-17");
    let file = last.join("deleted.ndjson");
    let content = std::fs::read_to_string(&file).unwrap();
    assert_eq!(content.lines().count(), 2);
    for wrong in [content.replacen("p-001", "p-002", 1), "{\"id\":\"p-001\"}\n".to_owned()] {
        std::fs::write(&file, wrong).unwrap();
        bench.stub.clear_requests();
        let import = bench.run(&["import", "out", "--state", "other"]);
        assert!(import.code != 0 && !import.err.contains("p-00"), "{}", import.err);
        assert_eq!(bench.stub.count("POST", ""), 0);
        std::fs::remove_dir_all(bench.path("other")).unwrap();
    }
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
