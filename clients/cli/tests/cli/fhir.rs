//! FHIR's own resources become records that are imported, and what is lost is said.

use serde_json::{Value, json};

use crate::{Bench, bare, run};

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"use": "official", "family": "Doe", "given": ["Jane"]}],
        "identifier": [{"system": "urn:mrn", "value": "Xyzzy"}]})
}

#[test]
fn a_folder_from_another_system_goes_in_by_two_commands() {
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
    let said = run(bare(bench.folder.path(), &["fhir", "from", "--out", "to"]));
    said.ends(3)
        .says("from/mixed.ndjson:1: verificationStatus.coding.code: Must not be entered-in-error")
        .says("from/mixed.ndjson:3: It is no JSON object [invalid_json]")
        .says("no records here for Procedure: 2 resources, in unsupported.ndjson")
        .says("lost: Patient identifier.value: 2 records, kept in x-fhir")
        .says("Patient: 3 records")
        .says("stood there again")
        .says("note: from/readme.txt is not read")
        .says("clinik-bulk import to/records");
    assert!(!said.err.contains("Xyzzy") && !said.err.contains("Doe"), "{}", said.err);
    assert_eq!(bench.read("to/unsupported.ndjson").lines().count(), 2);
    assert_eq!(bench.read("to/refused.ndjson").lines().count(), 2);
    let losses = bench.read("to/losses.ndjson");
    assert!(losses.contains(
        r#"{"resourceType":"Patient","element":"identifier.value","records":2,"kept":true,"modifier":false}"#
    ));
    assert!(!losses.contains("Xyzzy"), "{losses}");
    bench.run(&["validate", "to/records", "--references"]).ends(0).says("4 records: 4 valid");
    bench.import(&["to/records"]).ends(0).says("4 read = 4 stored");
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
    let command = ["fhir", "p.ndjson", "--out", "to", "--unmapped", "drop", "--output", "json"];
    let said = run(bare(bench.folder.path(), &command));
    let told = said.ends(3).json();
    assert_eq!((&told["records"], &told["refused"]), (&json!({"Patient": 1}), &json!(1)), "{told}");
    assert!(told["losses"].as_array().unwrap().iter().all(|loss| loss["kept"] == false), "{told}");
    assert!(!bench.read("to/records/Patient.ndjson").contains("x-fhir"));
    run(bare(bench.folder.path(), &["fhir", "p.ndjson", "--out", "to"])).ends(2).says("is not empty");
    run(bare(bench.folder.path(), &["fhir", "missing", "--out", "two"])).ends(2).says("missing");
    bench.write("empty/x.txt", "");
    run(bare(bench.folder.path(), &["fhir", "empty", "--out", "two"])).ends(2).says("no files that end in");
    assert!(!bench.path("two").exists());
    bench.write(
        "flat/manifest.json",
        r#"{"version": 2, "jobId": "j", "transactionTime": "t", "url": "u", "tenantId": "t", "environment": "live",
        "resourceTypes": [], "createdAt": "t", "records": 0, "files": []}"#,
    );
    run(bare(bench.folder.path(), &["fhir", "flat", "--out", "two"])).ends(2).says("not of FHIR");
    bench.write("broken.json", "{\n \"resourceType\": \"Patient\",\n");
    run(bare(bench.folder.path(), &["fhir", "broken.json", "--out", "two"])).ends(1).says("no FHIR JSON");
}

#[test]
fn what_only_looks_the_same_is_kept_and_what_a_bundle_deletes_is_told() {
    let bench = Bench::new();
    // Without ids, and apart in what records do not say.
    let measured = |comment: &str| {
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "Weight"},
        "extension": [{"url": "urn:x", "valueString": comment}]})
    };
    bench.write("o.ndjson", lines(&[measured("a"), measured("b"), measured("b")]));
    let mut second = patient("p1");
    second["identifier"][0]["value"] = json!("other");
    let twice = "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"gender\":\"male\",\"gender\":\"female\"}\n";
    bench.write("p.ndjson", lines(&[patient("p1"), second]) + twice);
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"fullUrl": "https://x.example/Patient/p9", "request": {"method": "DELETE", "url": "Patient/p9"}},
        {"resource": {"resourceType": "Task", "id": "t", "status": "draft", "for": {"reference": "urn:uuid:nobody"}}},
        {"resource": {"resourceType": "JaneDoe"}}]});
    bench.write("b.json", serde_json::to_string_pretty(&bundle).unwrap());
    let command = ["fhir", "o.ndjson", "p.ndjson", "b.json", "--out", "to", "--unmapped", "drop"];
    let said = run(bare(bench.folder.path(), &command));
    said.ends(3)
        .says("Observation: 3 records")
        .says("Patient: 2 records")
        .says("p.ndjson:3: Duplicate member name [duplicate_member]")
        .says("b.json:1: The Bundle deletes this resource")
        .says("no records here for (other): 1 resources")
        .says("1 references lead nowhere");
    assert!(!said.err.contains("JaneDoe"), "{}", said.err);
}
