//! FHIR's own resources are imported, and what is lost is said before anything is sent.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Bench, bare, run};

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"use": "official", "family": "Doe", "given": ["Jane"]}],
        "identifier": [{"system": "urn:mrn", "value": "Xyzzy"}]})
}

#[test]
fn a_folder_from_another_system_goes_in_by_one_command() {
    let bench = Bench::new();
    // As a bulk export has it, as a search answers, and as Synthea writes a patient: with addresses of the Bundle alone.
    bench.write("from/Patient.ndjson", lines(&[patient("p1"), patient("p2")]));
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:0000-1", "resource": {"resourceType": "Patient", "name": [{"family": "Roe", "given": ["Max"]}]}},
        {"fullUrl": "urn:uuid:0000-2", "resource": {"resourceType": "Encounter", "id": "e1", "status": "finished",
            "class": {"code": "AMB"}, "subject": {"reference": "urn:uuid:0000-1"}}},
        {"resource": {"resourceType": "Procedure", "id": "x", "status": "completed"}},
        {"resource": patient("p1")},
    ]});
    bench.write("from/bundle.json", serde_json::to_string_pretty(&bundle).unwrap());
    let wrong = json!({"resourceType": "Condition", "verificationStatus": {"coding": [{"code": "entered-in-error"}]}});
    bench.write("from/mixed.ndjson", lines(&[wrong, bundle.clone()]) + "not json\n");
    bench.write("from/readme.txt", "nothing");
    let said = bench.run(&["validate", "--format", "fhir", "from", "--references"]);
    said.ends(3)
        .prints("from/mixed.ndjson:1: verificationStatus.coding.code: Must not be entered-in-error")
        .prints("from/mixed.ndjson:3: It is no JSON object [invalid_json]")
        .prints("There are no records for Procedure [unsupported_type]")
        .says("no records here for Procedure: 2 resources")
        .says("no member for Patient identifier.value: 2 records, kept in x-fhir")
        .says("12 records: 8 valid, 4 invalid")
        .says("from/mixed.ndjson: 6 records, 3 rejected, 3 left out")
        .says("note: from/readme.txt is not read");
    assert!(!said.err.contains("Xyzzy") && !said.err.contains("Doe"), "{}", said.err);
    let said = bench.import(&["--format", "fhir", "from", "--max-rejected", "4"]);
    said.ends(0)
        .says("no member for Patient identifier.value: 2 records, kept in x-fhir")
        .says("12 read = 4 stored + 4 rejected + 4 left out")
        .says("state/refused.ndjson and unsupported.ndjson");
    assert!(!said.err.contains("Xyzzy") && !said.err.contains("Doe"), "{}", said.err);
    assert_eq!(bench.read("state/unsupported.ndjson").lines().count(), 2);
    assert_eq!(bench.read("state/refused.ndjson").lines().count(), 2);
    let errors = bench.read("state/errors.ndjson");
    assert!(
        errors.contains(r#"mixed.ndjson","line":1,"resourceType":"Condition","code":"entered_in_error""#),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 4);
    let summary: Value = serde_json::from_str(&bench.read("state/summary.json")).unwrap();
    let lost = json!({"resourceType": "Patient", "element": "identifier.value", "records": 2, "kept": true, "modifier": false});
    assert!(summary["fhir"]["losses"].as_array().unwrap().contains(&lost), "{summary}");
    assert!(bench.read("state/report.html").contains("identifier.value"));
    assert!(bench.read("state/report.html").contains("from/readme.txt"), "what was not read");
    for file in ["state/errors.ndjson", "state/summary.json", "state/report.html"] {
        assert!(!bench.read(file).contains("Xyzzy"), "{file}");
    }
    bench.run(&["retry", "state"]).ends(2).says("import that with --format fhir");
    let state = bench.stub.state();
    let stored =
        |of: &str, id: &str| serde_json::from_str::<Value>(&state.records[&(of.to_owned(), id.to_owned())].0).unwrap();
    assert_eq!(stored("Encounter", "e1")["patientId"], "0000-1");
    assert_eq!(stored("Patient", "0000-1")["firstName"], "Max");
    assert_eq!(stored("Patient", "p1")["x-fhir"]["identifier"][0]["value"], "Xyzzy");
}

#[test]
fn what_is_dropped_is_said_and_what_would_change_the_meaning_is_refused() {
    let bench = Bench::new();
    let mut dead = patient("p1");
    dead["deceasedDateTime"] = json!("2020-02-03");
    bench.write("p.ndjson", lines(&[dead, patient("p2")]));
    let command = ["validate", "--format", "fhir", "p.ndjson", "--unmapped", "drop", "--output", "json"];
    let report = run(bare(bench.folder.path(), &command)).ends(3).json();
    assert_eq!((&report["validRecords"], &report["fhir"]["refused"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["errors"][0]["code"], "modifier_lost", "{report}");
    assert!(report["fhir"]["losses"].as_array().unwrap().iter().all(|loss| loss["kept"] == false), "{report}");
    let printed = run(bare(bench.folder.path(), &["convert", "--format", "fhir", "p.ndjson", "--unmapped", "drop"]));
    assert!(printed.ends(3).out.contains(r#""lastName":"Doe""#) && !printed.out.contains("x-fhir"), "{}", printed.out);
    let tries = |what: &[&str]| run(bare(bench.folder.path(), &[&["validate", "--format", "fhir"], what].concat()));
    tries(&["missing"]).ends(2).says("missing");
    tries(&["Patient", "p.ndjson"]).ends(2).says("resources name their types");
    bench.write("empty/x.txt", "");
    tries(&["empty"]).ends(2).says("name files of resources");
    bench.write(
        "flat/manifest.json",
        r#"{"version": 2, "jobId": "j", "transactionTime": "t", "url": "u", "tenantId": "t", "environment": "live",
        "resourceTypes": ["Patient"], "createdAt": "t", "records": 0, "files": []}"#,
    );
    tries(&["flat"]).ends(2).says("as NDJSON: leave --format out");
    bench.write("broken.json", "{\n \"resourceType\": \"Patient\",\n");
    tries(&["broken.json"]).ends(2).says("broken.json: it is cut off behind line 3");
    bench.write("table.json", "id,name\n1,2\n");
    tries(&["table.json"]).ends(2).says("looks like a table");
}

#[test]
fn what_is_told_of_a_resource_leads_to_it() {
    let bench = Bench::new();
    let unknown = json!({"resourceType": "Observation", "status": "unknown", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"resource": patient("p1")}, {"resource": unknown},
        {"request": {"method": "DELETE", "url": "Patient/p9"}}]});
    bench.write("b.json", bundle.to_string());
    bench.write("o.ndjson", "{\"file\":\"x\"}\n");
    bench.import(&["--format", "fhir", "b.json", "o.ndjson"]).ends(3).says("  1 × [deletion]");
    let errors = bench.read("state/errors.ndjson");
    assert!(
        errors.contains("status: Required (status: what stands there is no value for it) (entry 2 of the Bundle)"),
        "{errors}"
    );
    assert!(errors.contains("(entry 3 of the Bundle)") && errors.contains("It names no resource type"), "{errors}");
    assert!(bench.read("state/refused.ndjson").contains("Patient/p9"), "what is deleted");
    // What an import has left is no export, and a folder in a folder would be passed over.
    bench.run(&["import", "--format", "fhir", "state", "--dry-run"]).ends(2).says("is the state folder of an import");
    bench.write("deep/in/p.ndjson", lines(&[patient("p1")]));
    bench.run(&["import", "--format", "fhir", "deep", "--dry-run"]).ends(2).says("deep/in is a folder in a folder");
    bench.write("flat/p.ndjson", lines(&[patient("p1")]));
    bench.write("flat/notes.txt", "x");
    // Resources without ids would be stored twice.
    bench.run(&["import", "--format", "fhir", "flat", "flat/p.ndjson"]).ends(2).says("p.ndjson is named twice");
    let plan = bench.run(&["import", "--format", "fhir", "flat", "--dry-run", "--output", "json"]).ends(0).json();
    assert!(plan["fhir"]["unread"][0].as_str().unwrap().ends_with("flat/notes.txt"), "{plan}");
}

#[test]
fn a_resource_whose_id_another_has_replaces_it_only_when_somebody_says_so() {
    let bench = Bench::new();
    let mut other = patient("p1");
    other["name"][0]["family"] = json!("Roe");
    bench.write("p.ndjson", lines(&[patient("p1"), other]));
    bench.import(&["--format", "fhir", "p.ndjson"]).ends(3).says("2 read = 1 stored + 1 rejected");
    assert!(!bench.path("state/refused.ndjson").exists());
    bench.run(&["retry", "state"]).ends(2).says("nothing has changed in rejected.ndjson");
    let rejected = bench.read("state/rejected.ndjson");
    assert!(rejected.contains(r#""lastName":"Roe""#), "{rejected}");
    bench.write("state/rejected.ndjson", rejected.replace("Roe", "Poe"));
    bench.run(&["retry", "state", "--state", "again"]).ends(0).says("1 of the rejected records have ids");
}

/// A Bundle of the versions of patients, each an id and a family's name.
fn bundle_of(versions: &[(&str, &str)]) -> Value {
    let versions = versions.iter().map(|(id, family)| {
        let mut patient = patient(id);
        patient["name"][0]["family"] = json!(family);
        json!({"resource": patient})
    });
    json!({"resourceType": "Bundle", "type": "collection", "entry": versions.collect::<Vec<_>>()})
}

#[test]
fn of_versions_in_one_bundle_the_last_is_imported_if_that_is_said() {
    let bench = Bench::new();
    // On one line, and over more than one with several on each: what stands behind a Bundle has a higher number than its line.
    bench.write("one.json", bundle_of(&[("p1", "Old"), ("p2", "Only"), ("p1", "New")]).to_string());
    let more = [bundle_of(&[("q1", "A"), ("q1", "B"), ("q2", "A")]), bundle_of(&[("q2", "B"), ("q1", "C")])];
    bench.write("more.ndjson", lines(&more));
    bench
        .import(&["--format", "fhir", "one.json", "more.ndjson", "--duplicates", "last"])
        .ends(0)
        .says("8 read = 4 stored + 0 rejected + 4 left out");
    let state = bench.stub.state();
    for (id, family) in [("p1", "New"), ("p2", "Only"), ("q1", "C"), ("q2", "B")] {
        let (record, writes) = &state.records[&("Patient".to_owned(), id.to_owned())];
        assert!(record.contains(&format!("\"lastName\":\"{family}\"")) && *writes == 1, "{record}");
    }
}

#[test]
fn a_version_that_stands_there_anew_behind_another_is_the_last_one() {
    let bench = Bench::new();
    let mut other = patient("p1");
    other["name"][0]["family"] = json!("Roe");
    let versions = [patient("p1"), patient("p1"), other, patient("p1")];
    bench.write("p.ndjson", lines(&versions));
    let entries = versions.map(|version| json!({"resource": version}));
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": entries});
    bench.write("b.json", bundle.to_string());
    for (file, state) in [("p.ndjson", "one"), ("b.json", "two")] {
        let import = |more: &[&str]| bench.run(&[&["import", "--format", "fhir", file, "--state"], more].concat());
        import(&[state, "--duplicates", "last"]).ends(0).says("4 read = 1 stored + 0 rejected + 3 left out");
        assert!(bench.stub.state().records[&("Patient".to_owned(), "p1".to_owned())].0.contains("Doe"));
        // Where the first one counts, it is what stands there anew.
        import(&[&format!("{state}-first")]).ends(3).says("4 read = 1 stored + 1 rejected + 2 left out");
    }
}

#[test]
fn messages_name_the_element_and_what_was_refused_goes_in_once_it_is_mended() {
    let bench = Bench::new();
    let mut nameless = patient("p1");
    nameless["name"] = json!([{"text": "Jane"}]);
    bench.write("p.ndjson", lines(&[nameless, patient("p2")]));
    bench.import(&["--format", "fhir", "p.ndjson"]).ends(3).says("2 read = 1 stored + 1 rejected");
    let errors = bench.read("state/errors.ndjson");
    assert!(errors.contains("Required (name.given)") && !errors.contains("Jane"), "{errors}");
    let mended = bench.read("state/refused.ndjson").replace(r#""text":"Jane""#, r#""family":"Doe","given":["Jane"]"#);
    bench.write("state/refused.ndjson", mended);
    bench
        .run(&["import", "--format", "fhir", "state/refused.ndjson", "--state", "again"])
        .ends(0)
        .says("1 read = 1 stored");
}

#[test]
fn what_only_looks_the_same_is_kept_and_what_a_bundle_deletes_is_told() {
    let bench = Bench::new();
    // Without ids, and apart in what records do not say.
    let measured = |comment: &str| {
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "Weight"}, "subject": {"reference": "Patient/p1"},
        "extension": [{"url": "urn:x", "valueString": comment}]})
    };
    bench.write("o.ndjson", lines(&[measured("a"), measured("b"), measured("b")]));
    let mut second = patient("p1");
    second["identifier"][0]["value"] = json!("other");
    let twice = "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"gender\":\"male\",\"gender\":\"female\"}\n";
    bench.write("p.ndjson", lines(&[patient("p1"), second]) + twice);
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"fullUrl": "https://x.example/Patient/p9", "request": {"method": "DELETE", "url": "Patient/p9"}},
        {"resource": {"resourceType": "Task", "id": "t", "status": "draft", "intent": "order", "for": {"reference": "urn:uuid:nobody"}}},
        {"resource": {"resourceType": "JaneDoe"}}]});
    bench.write("b.json", serde_json::to_string_pretty(&bundle).unwrap());
    let command = ["validate", "--format", "fhir", "o.ndjson", "p.ndjson", "b.json", "--unmapped", "drop"];
    let said = run(bare(bench.folder.path(), &command));
    said.ends(3)
        .says("o.ndjson: 3 records, 0 rejected (")
        .says("p.ndjson: 3 records, 2 rejected")
        .prints("p.ndjson:2: id: Same as in line 1 [duplicate_id]")
        .prints("p.ndjson:3: Duplicate member name [duplicate_member]")
        .prints("b.json:1: The Bundle deletes this resource")
        .says("no records here for (other): 1 resources")
        .says("Task references: 1 lead nowhere");
    assert!(!said.err.contains("JaneDoe"), "{}", said.err);
}

/// An export as FHIR that holds these files, as the command writes it.
fn export(bench: &Bench, day: u32, since: Option<u32>, files: &[(&str, &[Value])]) {
    let folder = format!("out/{day}");
    let moment = |day: u32| format!("2026-01-{day:02}T00:00:00Z");
    let listed = files.iter().map(|(name, of)| {
        let text = lines(of);
        bench.write(&format!("{folder}/{name}"), &text);
        let (hash, bytes) = (base16ct::lower::encode_string(&Sha256::digest(&text)), text.len());
        let of_type = name.split_once('.').map(|(stem, _)| stem).filter(|stem| *stem != "deleted");
        json!({"name": name, "resourceType": of_type, "records": of.len(), "bytes": bytes, "sha256": hash, "url": null})
    });
    let listed: Vec<_> = listed.collect();
    let records = files.iter().filter(|(name, _)| *name != "deleted.ndjson").map(|(_, of)| of.len()).sum::<usize>();
    let manifest = json!({"version": 2, "jobId": format!("job-{day}"), "url": bench.stub.url, "tenantId": "clinic", "environment": "test",
        "resourceTypes": ["Patient"], "since": since.map(moment), "transactionTime": moment(day), "createdAt": moment(day),
        "completedAt": moment(day), "format": "fhir", "mappingVersion": 1, "records": records, "files": listed});
    bench.write(&format!("{folder}/manifest.json"), manifest.to_string());
}

#[test]
fn a_chain_of_exports_as_fhir_is_restored() {
    let bench = Bench::new();
    let at = |id: &str, day: u32, family: &str| {
        let mut patient = patient(id);
        patient["meta"] = json!({"lastUpdated": format!("2026-01-{day:02}T00:00:00Z")});
        patient["name"][0]["family"] = json!(family);
        patient
    };
    export(
        &bench,
        10,
        None,
        &[("Patient.ndjson", &[at("pat.-1", 9, "Old"), at("p2", 9, "Gone"), at("p3", 9, "Stays")])],
    );
    let deleted = json!({"resourceType": "Patient", "id": "p2", "deletedAt": "2026-01-11T00:00:00Z"});
    export(&bench, 12, Some(10), &[("Patient.ndjson", &[at("pat.-1", 11, "New")]), ("deleted.ndjson", &[deleted])]);
    bench.import(&["out"]).ends(2).says("as FHIR: add --format fhir");
    bench
        .import(&["--format", "fhir", "out"])
        .ends(0)
        .says("no member for Patient identifier.value: 2 records")
        .says("4 read = 2 stored + 0 rejected + 2 left out");
    let state = bench.stub.state();
    let ids: Vec<_> = state.records.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["p3", "pat_1"]);
    assert!(state.records[&("Patient".to_owned(), "pat_1".to_owned())].0.contains("New"));
}

#[test]
fn a_deletion_is_of_the_id_that_the_record_has_here() {
    let bench = Bench::new();
    let mut gone = patient("pat.-1");
    gone["meta"] = json!({"lastUpdated": "2026-01-09T00:00:00Z"});
    export(&bench, 10, None, &[("Patient.ndjson", &[gone, patient("p2")])]);
    let deleted = json!({"resourceType": "Patient", "id": "pat.-1", "deletedAt": "2026-01-11T00:00:00Z"});
    export(&bench, 12, Some(10), &[("deleted.ndjson", &[deleted])]);
    bench.import(&["--format", "fhir", "out"]).ends(0).says("2 read = 1 stored + 0 rejected + 1 left out");
}
