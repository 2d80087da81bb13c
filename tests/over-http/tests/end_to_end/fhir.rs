//! Records go out as FHIR and come in as such.

use over_http::Client;
use serde_json::{Value, json};

use super::{pro, sample};

#[test]
fn an_export_as_fhir_is_every_record_and_comes_back_as_it_was() {
    let client = pro("fhir");
    let types = ["Patient", "Practitioner", "Encounter", "Observation", "Condition", "MedicationRequest"];
    for resource_type in types {
        let job = client.imported(resource_type, &sample(&format!("records/{resource_type}")));
        assert_eq!(job["failedRecords"], 0, "{job}");
    }
    let (_, flat) = client.exported(&types, None);
    let body = json!({"resourceTypes": types, "format": "fhir"});
    let job = client.ended(&client.post("/v1/bulk/export", &body).job_id());
    assert_eq!((&job["format"], &job["mappingVersion"]), (&"fhir".into(), &fhir::MAPPING_VERSION.into()), "{job}");
    assert_eq!(job["totalRecords"], flat.lines().count(), "{job}");
    let parsed = |line: &str| match fhir::Node::parse(line) {
        Ok(fhir::Node::Object(members)) => members,
        other => panic!("{other:?}"),
    };
    let mut back = Vec::new();
    for file in job["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let resource_type = name.strip_suffix(".ndjson").unwrap().parse().unwrap();
        let link = client.get(file["url"].as_str().unwrap());
        let got = client.fetch(&link.headers["location"]);
        assert_eq!(got.headers["content-type"], "application/fhir+ndjson", "{name}");
        assert_eq!(got.text.lines().count() as u64, file["records"].as_u64().unwrap(), "{name}");
        for line in got.text.lines() {
            let read = fhir::from_fhir(resource_type, &parsed(line), fhir::Unmapped::Keep).unwrap().unwrap();
            assert!(read.losses.is_empty(), "{:?}: {line}", read.losses);
            back.push(read.flat);
        }
    }
    let of_type = |line: &fhir::Members| (line.get("resourceType").cloned(), line.get("id").cloned());
    for line in flat.lines().map(parsed) {
        let found = back.iter().position(|other| of_type(other) == of_type(&line)).unwrap();
        assert_eq!(back.swap_remove(found), line);
    }
    assert!(back.is_empty());
}

/// Out as FHIR and in again elsewhere: both tenants' records are the same in every member.
#[test]
fn a_clinic_moves_as_fhir() {
    let (from, to) = (pro("fhir-from"), pro("fhir-to"));
    let types = ["Patient", "Practitioner", "Encounter", "Observation", "Condition", "MedicationRequest"];
    for resource_type in types {
        let _imported = from.imported(resource_type, &sample(&format!("records/{resource_type}")));
    }
    let job = from.ended(&from.post("/v1/bulk/export", &json!({"resourceTypes": types, "format": "fhir"})).job_id());
    for file in job["files"].as_array().unwrap() {
        let resources = from.fetch(&from.get(file["url"].as_str().unwrap()).headers["location"]).text;
        let body = json!({"resourceType": file["resourceType"], "data": resources, "format": "fhir"});
        let validated = to.post("/v1/bulk/validate", &body).data();
        assert_eq!((&validated["validRecords"], validated.get("losses")), (&file["records"], None), "{validated}");
        let imported = to.ended(&to.post("/v1/bulk/import", &body).job_id());
        assert_eq!(
            (&imported["succeededRecords"], &imported["lostElements"]),
            (&file["records"], &0.into()),
            "{imported}"
        );
    }
    let records = |client: &Client| {
        let (_, text) = client.exported(&types, None);
        let record = |line: &str| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            // What the service writes itself.
            record.as_object_mut().unwrap().remove("meta");
            record
        };
        let mut records: Vec<_> = text.lines().map(record).collect();
        records.sort_by_key(|record| format!("{}{}", record["resourceType"], record["id"]));
        records
    };
    assert_eq!(records(&from), records(&to));
}
