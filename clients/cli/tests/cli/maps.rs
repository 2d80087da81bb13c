//! Migrations by maps alone. What is expected is not read from the files by other code: a truth is written down twice, as a
//! file of an old system has it, and as the record that must be stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::Bench;

/// What a migration must store, by type and id.
type Records = BTreeMap<(String, String), Value>;

pub(crate) fn stored(bench: &Bench) -> Records {
    let state = bench.stub.state();
    let records = state.records.iter().map(|((resource_type, id), (line, _))| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        // What the service writes.
        record.as_object_mut().unwrap().retain(|member, _| member != "resourceType" && member != "meta");
        ((resource_type.clone(), id.clone()), record)
    });
    records.collect()
}

#[track_caller]
fn assert_same(found: &Records, expected: &Records) {
    for (key, record) in expected {
        assert_eq!(found.get(key), Some(record), "{key:?}");
    }
    assert_eq!(found.len(), expected.len());
}

/// Python: `uuid.uuid5(uuid.NAMESPACE_OID, text)`
pub(crate) fn hashed(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
}

/// A record without the members that are null.
fn record(mut value: Value) -> Value {
    fn prune(value: &mut Value) {
        if let Value::Object(members) = value {
            members.values_mut().for_each(prune);
            members.retain(|_, member| !member.is_null() && *member != json!({}));
        }
    }
    prune(&mut value);
    value
}

#[test]
fn dirty_patients_are_migrated_by_a_map_alone() {
    let map = r#"
type = "Patient"
nulls = ["n/a", "NULL", "-", "00/00/0000"]
[columns]
"Pat. No."   = { to = "id", prefix = "mrn-" }
"Name"       = { split = ",", to = ["lastName", "firstName"] }
"DOB"        = { to = "birthDate", formats = ["%m/%d/%Y", "%Y-%m-%d", "%d-%b-%Y"] }
"Sex"        = { to = "gender", values = { M = "male", F = "female", "1" = "male", "2" = "female" }, otherwise = "unknown", ignoreCase = true }
"Phone"      = { to = ["phone", "contact[0].phone"] }
"Home Town"  = "address.city"
"Note"       = { to = "maritalStatus", trim = false }
"Old system" = { drop = true }
[fields]
"contact[0].relationship" = "self"
"address.line[0]" = { join = ["Street", "No"], with = " " }
"address.country" = "US"
"#;
    let mut file = "\u{feff}\n\nPat. No.;Name;DOB;Sex;Phone;Home Town;Street;No;Note;Old system;\n".to_owned();
    let mut expected = Records::new();
    let births =
        [("1/5/1990", "1990-01-05"), ("1985-12-31", "1985-12-31"), ("07-Mar-1977", "1977-03-07"), ("00/00/0000", "")];
    let sexes = [("M", "male"), (" f ", "female"), ("1", "male"), ("2", "female"), ("X", "unknown"), ("NULL", "")];
    let or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    for n in 0..60_usize {
        let (born, birth) = births[n % births.len()];
        let (sex, gender) = sexes[n % sexes.len()];
        let phone = if n.is_multiple_of(3) { "n/a".to_owned() } else { format!("01569 {n:04}") };
        let number = if n.is_multiple_of(5) { String::new() } else { n.to_string() };
        file.push_str(&format!(
            "{n:05}; \"Doe{n}, Jane \"\"J\"\"\" ;{born};{sex};{phone};Bad Köln ;High Street;{number}; x ;legacy {n};\r\n"
        ));
        let phone = if n.is_multiple_of(3) { Value::Null } else { json!(phone) };
        let street = if number.is_empty() { "High Street".to_owned() } else { format!("High Street {number}") };
        let id = format!("mrn-{n:05}");
        let patient = record(json!({"id": id, "lastName": format!("Doe{n}"), "firstName": "Jane \"J\"",
            "birthDate": or_null(birth), "gender": or_null(gender), "phone": phone, "maritalStatus": " x ",
            "address": {"city": "Bad Köln", "country": "US"}, "contact": null}));
        let mut patient = patient;
        patient["address"]["line"] = json!([street]);
        // A constant makes no contact by itself.
        if !phone.is_null() {
            patient["contact"] = json!([{"relationship": "self", "phone": phone}]);
        }
        expected.insert(("Patient".to_owned(), id), patient);
    }
    let bench = Bench::new();
    bench.write("patients.csv", file);
    bench.write("map.toml", map);
    bench.run(&["validate", "Patient", "patients.csv", "--map", "map.toml"]).ends(0).says("60 records: 60 valid");
    bench.import(&["Patient", "patients.csv", "--map", "map.toml"]).ends(0);
    assert_same(&stored(&bench), &expected);
}

#[test]
fn visits_with_days_and_local_times_of_their_own_columns_are_migrated() {
    let map = r#"
type = "Encounter"
timezone = "America/New_York"
[columns]
"Visit" = { to = "id", hash = true }
"MRN"   = { to = "patientId", prefix = "mrn-" }
"Kind"  = { to = "class", values = { OP = "AMB", IP = "IMP" } }
"Min"   = "lengthMinutes"
[fields]
"status" = "finished"
"period.start" = { join = ["Day", "Time"], with = " ", formats = ["%m/%d/%y %I:%M %p", "%m/%d/%y"], pivot = 30 }
"#;
    let mut file = "Visit,MRN,Kind,Day,Time,Min\n".to_owned();
    let mut expected = Records::new();
    for n in 0..40_u32 {
        // Winter is five hours behind, summer four; both of the last century and of this one.
        let (day, start) = match n % 4 {
            0 => (format!("1/{}/24", n % 28 + 1), format!("2024-01-{:02}T14:05:00-05:00", n % 28 + 1)),
            1 => (format!("7/{}/99", n % 28 + 1), format!("1999-07-{:02}T14:05:00-04:00", n % 28 + 1)),
            2 => (format!("07/{:02}/29", n % 28 + 1), format!("2029-07-{:02}T14:05:00-04:00", n % 28 + 1)),
            _ => (format!("12/{}/30", n % 28 + 1), format!("1930-12-{:02}", n % 28 + 1)),
        };
        let time = if n % 4 == 3 { "" } else { "2:05 PM" };
        file.push_str(&format!("V{n},{:05},{},{day},{time},{}\n", n % 7, if n % 2 == 0 { "OP" } else { "IP" }, n * 5));
        let id = hashed(&format!("V{n}"));
        let encounter = json!({"id": id, "patientId": format!("mrn-{:05}", n % 7), "class": if n % 2 == 0 { "AMB" } else { "IMP" },
            "lengthMinutes": n * 5, "status": "finished", "period": {"start": start}});
        expected.insert(("Encounter".to_owned(), id), encounter);
    }
    let bench = Bench::new();
    bench.write("visits.csv", &file);
    bench.write("map.toml", map);
    bench.import(&["Encounter", "visits.csv", "--map", "map.toml"]).ends(0);
    assert_same(&stored(&bench), &expected);
    // The hour that is skipped in spring is nobody's.
    bench.write("visits.csv", "Visit,MRN,Kind,Day,Time,Min\nV1,1,OP,3/10/24,2:30 AM,5\n");
    let said = bench.run(&["validate", "Encounter", "visits.csv", "--map", "map.toml"]);
    assert!(
        said.ends(3).out.contains("skipped or comes twice") && said.out.contains("column \"Day + Time\""),
        "{}",
        said.out
    );
}

#[test]
fn synthea_is_migrated_by_the_map_that_comes_with_the_documents() {
    let bench = Bench::new();
    bench.write("synthea.toml", include_str!("../../../../docs/maps/synthea.toml"));
    let mut expected = Records::new();
    let mut expect = |resource_type: &str, id: &str, value: Value| {
        expected.insert((resource_type.to_owned(), id.to_owned()), record(value));
    };
    let id = |kind: u32, n: u32| format!("{kind:08x}-0000-4000-8000-{n:012x}");
    let mut patients = "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,MIDDLE,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,GENDER,BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,FIPS,ZIP,LAT,LON,HEALTHCARE_EXPENSES,HEALTHCARE_COVERAGE,INCOME\n".to_owned();
    let mut encounters = "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,PAYER,ENCOUNTERCLASS,CODE,DESCRIPTION,BASE_ENCOUNTER_COST,TOTAL_CLAIM_COST,PAYER_COVERAGE,REASONCODE,REASONDESCRIPTION\n".to_owned();
    let mut observations = "DATE,PATIENT,ENCOUNTER,CATEGORY,CODE,DESCRIPTION,VALUE,UNITS,TYPE\n".to_owned();
    let mut conditions = "START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION\n".to_owned();
    let mut medications = "START,STOP,PATIENT,PAYER,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,PAYER_COVERAGE,DISPENSES,TOTALCOST,REASONCODE,REASONDESCRIPTION\n".to_owned();
    for n in 0..25_u32 {
        let (patient, encounter, provider) = (id(1, n), id(2, n), id(3, n % 3));
        let born = format!("19{:02}-0{}-1{}", n + 20, n % 9 + 1, n % 10);
        let (sex, gender) = if n % 2 == 0 { ("M", "male") } else { ("F", "female") };
        let marital = if n % 3 == 0 { "" } else { "S" };
        patients.push_str(&format!("{patient},{born},,999-10-{n:04},S9992{n:04},,Mr.,Abe{n},M,\"O'Hara, {n}\",,,{marital},white,nonhispanic,{sex},Boston,{n} High Way,Boston,Massachusetts,Suffolk County,25025,0{n:04},42.3,-71.0,1.5,2.5,3\n"));
        expect(
            "Patient",
            &patient,
            json!({"id": patient, "firstName": format!("Abe{n}"), "lastName": format!("O'Hara, {n}"), "birthDate": born,
            "gender": gender, "maritalStatus": if marital.is_empty() { Value::Null } else { json!("S") },
            "address": {"line": [format!("{n} High Way")], "city": "Boston", "state": "Massachusetts", "postalCode": format!("0{n:04}")}}),
        );
        let (start, stop) = (format!("2020-02-03T04:05:{n:02}Z"), format!("2020-02-03T05:05:{n:02}Z"));
        let reason = if n % 4 == 0 { "Acute bronchitis (disorder)" } else { "" };
        encounters.push_str(&format!("{encounter},{start},{stop},{patient},{org},{provider},{org},ambulatory,185345009,Encounter for symptom,85.55,123.4,0.00,,{reason}\n", org = id(4, 1)));
        expect(
            "Encounter",
            &encounter,
            json!({"id": encounter, "status": "finished", "class": "ambulatory", "patientId": patient, "practitionerId": provider,
            "serviceProvider": id(4, 1), "type": "Encounter for symptom", "period": {"start": start, "end": stop},
            "reasonCode": if reason.is_empty() { Value::Null } else { json!(reason) }}),
        );
        for (code, display, value, unit) in [
            ("8302-2", "Body Height", "170.25", "cm"),
            ("72166-2", "Tobacco smoking status", "Never smoked", "{nominal}"),
        ] {
            observations.push_str(&format!(
                "{start},{patient},{encounter},vital-signs,{code},{display},{value},{unit},{}\n",
                if unit == "cm" { "numeric" } else { "text" }
            ));
            let key = hashed(&format!("{patient}-{encounter}-{start}-{code}"));
            let quantity = if unit == "cm" {
                json!({"value": serde_json::from_str::<Value>(value).unwrap(), "unit": unit})
            } else {
                Value::Null
            };
            let text = if unit == "cm" { Value::Null } else { json!(value) };
            expect(
                "Observation",
                &key,
                json!({"id": key, "status": "final", "category": "vital-signs", "patientId": patient, "encounterId": encounter,
                "effectiveDateTime": start, "code": {"system": "http://loinc.org", "code": code, "display": display},
                "valueQuantity": quantity, "valueString": text}),
            );
        }
        let over = n % 2 == 0;
        conditions.push_str(&format!(
            "2020-02-03,{},{patient},{encounter},SNOMED-CT,10509002,Acute bronchitis (disorder)\n",
            if over { "2020-02-17" } else { "" }
        ));
        let key = hashed(&format!("{patient}-{encounter}-2020-02-03-10509002"));
        expect(
            "Condition",
            &key,
            json!({"id": key, "patientId": patient, "encounterId": encounter, "onsetDateTime": "2020-02-03",
            "abatementDateTime": if over { json!("2020-02-17") } else { Value::Null }, "clinicalStatus": if over { "resolved" } else { "active" },
            "verificationStatus": "confirmed", "code": {"system": "http://snomed.info/sct", "code": "10509002", "display": "Acute bronchitis (disorder)"}}),
        );
        medications.push_str(&format!("{start},{},{patient},{org},{encounter},313782,Acetaminophen 325 MG Oral Tablet,5.5,0.0,1,5.5,10509002,Acute bronchitis (disorder)\n", if over { &stop } else { "" }, org = id(4, 1)));
        let key = hashed(&format!("{patient}-{encounter}-{start}-313782"));
        expect(
            "MedicationRequest",
            &key,
            json!({"id": key, "patientId": patient, "encounterId": encounter, "prescriberId": "unknown", "authoredOn": start,
            "status": if over { "completed" } else { "active" }, "reason": "Acute bronchitis (disorder)",
            "medication": {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "313782", "display": "Acetaminophen 325 MG Oral Tablet"}}),
        );
    }
    for (resource_type, name, content) in [
        ("Patient", "patients.csv", patients),
        ("Encounter", "encounters.csv", encounters),
        ("Observation", "observations.csv", observations),
        ("Condition", "conditions.csv", conditions),
        ("MedicationRequest", "medications.csv", medications),
    ] {
        bench.write(name, content);
        bench.run(&["import", resource_type, name, "--map", "synthea.toml", "--state", resource_type]).ends(0);
    }
    assert_same(&stored(&bench), &expected);
}

#[test]
fn a_folder_has_a_map_for_each_type() {
    let bench = Bench::new();
    bench.write("data/Patient.csv", "First,Last\nA,B\n");
    bench.write("data/Encounter.csv", "Who\np\n");
    bench.write("maps/patients.toml", "type = \"Patient\"\n[columns]\nFirst = \"firstName\"\nLast = \"lastName\"\n");
    let visits =
        "type = \"Encounter\"\n[columns]\nWho = \"patientId\"\n[fields]\nstatus = \"finished\"\nclass = \"AMB\"\n";
    bench.write("maps/visits.toml", visits);
    bench.import(&["data", "--map", "maps"]).ends(0).says("2 read = 2 stored");
    bench.write("maps/more.toml", visits);
    bench.run(&["validate", "data", "--map", "maps"]).ends(2).says("are both for Encounter");
    bench.write("one.toml", "type = \"Patient\"\n[columns]\nFirst = \"firstName\"\nLast = \"lastName\"\n");
    bench.run(&["validate", "data", "--map", "one.toml"]).ends(2).says("the map is for Patient, and not for Encounter");
}

#[test]
fn every_mistake_in_a_map_is_an_error_with_its_line() {
    let with = |map: &str| {
        let bench = Bench::new();
        bench.write("map.toml", format!("type = \"Patient\"\n{map}"));
        bench.write("p.csv", "first,lastName,Sex,Day\nA,B,M,1/15/1990\n");
        bench.run(&["validate", "Patient", "p.csv", "--map", "map.toml"])
    };
    let first = "[columns]\nfirst = \"firstName\"\n";
    let both = "[columns]\nfirst = \"firstName\"\nSex = { drop = true }\nDay = { drop = true }\n";
    for (map, expected) in [
        // A field that is none is an error, whatever is done with unknown columns.
        (
            "[columns]\nfirst = \"firstNam\"",
            "map.toml, line 3: firstNam is not a field of the type (did you mean firstName?)",
        ),
        ("[columns]\nfirst = { prefix = \"x\" }", "name the field with to"),
        ("[columns]\nfirst = { to = \"firstName\", otherwise = \"x\" }", "otherwise and ignoreCase are for values"),
        ("[columns]\nfirst = { to = \"firstName\", century = 1900 }", "years of two digits"),
        ("[columns]\nfirst = { to = \"firstName\", format = \"%Y\", formats = [\"%m\"] }", "two names for one thing"),
        ("[columns]\nfirst = { to = \"firstName\", split = \"\" }", "split must name"),
        ("[columns]\nfirst = { to = \"firstName\", join = [\"Sex\"] }", "join, with, all and firstOf are for [fields]"),
        ("[columns]\nfirst = { drop = false }", "drop stands alone"),
        (
            "timezone = \"Mars/Base\"\n[columns]\nfirst = \"firstName\"\nDay = { to = \"birthDate\", format = \"%m/%d/%Y\" }\nSex = \"gender\"",
            "timezone Mars/Base is not known",
        ),
        (
            "timezone = \"UTC\"\n[columns]\nfirst = \"firstName\"\nDay = { to = \"birthDate\", format = \"%m/%d/%Y\" }\nSex = \"gender\"",
            "timezone has no effect",
        ),
        (&format!("{first}Sex = {{ to = \"gender\", values = {{ M = \"man\" }} }}"), "and the map says \"man\""),
        (
            &format!(
                "{first}Sex = {{ to = \"gender\", values = {{ M = \"male\", m = \"female\" }}, ignoreCase = true }}"
            ),
            "are the same with ignoreCase",
        ),
        (&format!("{first}[fields]\ngender = \"man\""), "and the map says \"man\""),
        (&format!("{first}[fields]\ngender = \"\""), "an empty constant"),
        (
            &format!("{first}[fields]\nid = {{ join = [\"Sex\", \"Day\"], hash = true }}"),
            "hash of several columns needs with",
        ),
        ("[columns]\nfirst = { to = [\"firstName\", \"firstName\"] }", "names firstName twice"),
        (&format!("{first}Sex = {{ to = \"gender\", nulls = [\" - \"] }}"), "nulls has blanks"),
        (&format!("nulls = [\" \", \"- \"]\n{both}"), "nulls has blanks"),
        (&format!("{first}Sex = {{ to = \"gender\", decimal = \",\" }}"), "decimal and thousands are for numbers"),
        (&format!("decimal = \",\"\n{both}"), "decimal and thousands have no effect"),
        (
            &format!("{first}Day = {{ drop = true }}\nSex = {{ to = \"gender\", onlyWith = \"gender\" }}"),
            "is the field itself",
        ),
        (&format!("{first}Sex = {{ to = \"phone\", pad = 99999999999 }}"), "pad must be 1 to 64"),
        (&format!("{first}Day = {{ to = \"birthDate\", format = \"%m/%d/%Y\", pad = 5 }}"), "pad is for digits"),
        (
            &format!("{first}Day = {{ to = \"birthDate\", format = \"%m/%d/%Y\", trim = false }}"),
            "trim = false is for texts",
        ),
        (
            &format!("{first}Day = {{ drop = true }}\nSex = {{ to = \"gender\", onlyWith = \"phone\" }}"),
            "nothing fills phone",
        ),
        (&format!("{first}[fields]\ngendr = \"male\""), "did you mean gender?"),
        (&format!("{first}[fields]\ngender = {{ with = \"x\" }}"), "join, or firstOf, must name"),
        (&format!("{first}[fields]\ngender = {{ join = [\"Sexx\"] }}"), "did you mean \"Sex\"?"),
        (&format!("{both}[fields]\nlastName = \"x\""), "has a constant in the map"),
        (&format!("{first}Day = {{ to = \"birthDate\", formats = [\"%m/%d/%Y\", \"%d/%m/%Y\"] }}"), "different days"),
        (&format!("{first}Day = {{ to = \"birthDate\", format = \"%m/%d/%y\" }}"), "century = 1900"),
    ] {
        let said = with(map);
        said.ends(2).says(expected);
        assert!(
            said.err.contains("line ") || said.err.contains("in the map") || said.err.contains("onlyWith"),
            "{map}: {}",
            said.err
        );
    }
    with("[Encounter]\n").ends(2).says("a part for each type");
}

#[test]
fn what_a_rule_is_not_for_is_told_and_two_values_for_one_field_are_a_violation() {
    let bench = Bench::new();
    bench.write("map.toml", "type = \"Patient\"\n[columns]\nHome = \"phone\"\nMobile = \"phone\"\nName = { split = \" \", to = [\"firstName\", \"lastName\"] }\n");
    bench.write("p.csv", "Name,Home,Mobile\nA B,1,\nC D,,2\nE F,3,4\nG H I,5,\n");
    let said = bench.run(&["validate", "Patient", "p.csv", "--map", "map.toml"]);
    let lines: Vec<_> = said.ends(3).out.lines().collect();
    assert!(
        lines[0].starts_with("p.csv:4:") && lines[0].contains("\"Home\" and \"Mobile\" both have a value [conflict]"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("p.csv:5:") && lines[1].contains("at most 2 pieces") && lines[1].ends_with("[split]"),
        "{lines:?}"
    );
    assert!(!said.out.contains("G H"), "no value is shown");
    let number = "type = \"Observation\"\n[columns]\nV = { to = \"valueQuantity.value\", when = \"number\" }\n[fields]\nstatus = \"final\"\ncode = \"x\"\npatientId = \"p\"\n";
    bench.write("number.toml", number);
    bench.write("o.csv", "V\n1.5\nhigh\n");
    let said = bench.run(&["validate", "Observation", "o.csv", "--map", "number.toml"]);
    assert!(said.ends(3).out.starts_with("o.csv:3:") && said.out.contains("[unmapped]"), "{}", said.out);
}

#[test]
fn a_map_to_begin_with_is_a_map() {
    let bench = Bench::new();
    let file = "MRN;Last Name;First Name;Date of Birth;Sex;City;Zip\n00042;Doe;Jane;1/15/1990;F;Boston;02101\n00043;Roe;Max;12/31/1985;M;Bonn;53111\n";
    bench.write("patients.csv", file);
    bench.run(&["map", "Patient", "patients.csv", "--out", "map.toml"]).ends(0).says("check every line");
    assert!(!bench.read("map.toml").contains("Doe") && !bench.read("map.toml").contains("Boston"));
    bench.import(&["Patient", "patients.csv", "--map", "map.toml"]).ends(0);
    let found = stored(&bench);
    let jane = json!({"id": "00042", "lastName": "Doe", "firstName": "Jane", "birthDate": "1990-01-15", "gender": "female",
        "address": {"city": "Boston", "postalCode": "02101"}});
    assert_eq!(found[&("Patient".to_owned(), "00042".to_owned())], jane);
    bench.run(&["map", "Patient", "patients.csv", "--out", "map.toml"]).ends(2).says("cannot be created");
}
