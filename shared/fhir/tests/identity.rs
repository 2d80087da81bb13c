//! Whatever a record holds, it becomes a resource and the same record again; and what a foreign resource says is kept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

mod random;

use std::collections::BTreeSet;

use fhir::{Converter, Members, Node, Unmapped, from_fhir, to_fhir};
use proptest::prelude::*;
use random::{number, record, text};
use records::ResourceType;

#[test]
fn every_record_becomes_a_resource_and_itself_again() {
    for resource_type in ResourceType::ALL {
        let schema = resource_type.schema();
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 48,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let checked = runner.run(&record(*resource_type, &schema), |flat| {
            let resource = to_fhir(*resource_type, &flat).unwrap();
            // What says that it was entered in error stays what it is here.
            let Some(Ok(read)) = from_fhir(*resource_type, &resource, Unmapped::Drop) else { return Ok(()) };
            prop_assert_eq!(&read.flat, &flat, "{}", Node::Object(resource.clone()).to_json());
            let kept = from_fhir(*resource_type, &resource, Unmapped::Keep).unwrap().unwrap().flat;
            prop_assert_eq!(&kept, &flat, "nothing of our own is foreign");
            Ok(())
        });
        checked.unwrap_or_else(|error| panic!("{resource_type}: {error}"));
    }
}

fn object(text: &str) -> Members {
    match Node::parse(text).unwrap() {
        Node::Object(members) => members,
        _ => panic!("no object"),
    }
}

/// The node as somebody changes it: each turn says what is done with the next one, and what a new leaf is.
fn changed(node: &Node, turns: &mut impl Iterator<Item = (u8, Node)>) -> Option<Node> {
    let (turn, leaf) = turns.next()?;
    match (turn, node) {
        (0, _) => None,
        (1, _) => Some(leaf),
        (_, Node::List(items)) => Some(Node::List(items.iter().filter_map(|item| changed(item, turns)).collect())),
        (_, Node::Object(members)) => {
            let mut left = Vec::new();
            for (name, member) in members {
                // The service has its own rules for these.
                let is_own = matches!(name.as_str(), "resourceType" | "id" | "meta");
                let member = if is_own { Some(member.clone()) } else { changed(member, turns) };
                left.extend(member.map(|member| (name.clone(), member)));
            }
            let new = (turn == 2).then(|| ("foreign".into(), leaf));
            Some(Node::Object(left.into_iter().chain(new).collect()))
        }
        (_, node) => Some(node.clone()),
    }
}

/// A resource as somebody else may write it: one of ours of which elements are missing, replaced or added, at any depth.
fn foreign(of: Members) -> BoxedStrategy<Members> {
    let leaf = || {
        prop_oneof![
            text().prop_map(Node::text),
            number().prop_map(|number| Node::Number(number.into())),
            any::<bool>().prop_map(Node::Bool),
            text().prop_map(|text| Node::List(vec![Node::text(text)])),
        ]
    };
    proptest::collection::vec((0..24_u8, leaf()), 200)
        .prop_map(move |turns| {
            let mut turns = turns.into_iter().chain(std::iter::repeat((9, Node::Null)));
            match changed(&Node::Object(of.clone()), &mut turns) {
                Some(Node::Object(members)) if members.contains_key("resourceType") => members,
                _ => of.clone(),
            }
        })
        .boxed()
}

#[test]
fn every_resource_becomes_a_record_and_itself_again() {
    for line in include_str!("cases.ndjson").lines() {
        let case = object(line);
        let Some(Node::Object(mut resource)) = case.get("fhir").cloned() else { panic!("no resource") };
        // Here are members as text, which a foreign resource does not have.
        resource.shift_remove("extension");
        let Some(Node::Text(name)) = resource.get("resourceType") else { panic!("no type") };
        let resource_type: ResourceType = name.parse().unwrap();
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 3,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let checked = runner.run(&foreign(resource), |resource| {
            let Some(Ok(read)) = from_fhir(resource_type, &resource, Unmapped::Keep) else { return Ok(()) };
            let written = to_fhir(resource_type, &read.flat).unwrap();
            let differs = resource.keys().chain(written.keys()).find(|name| written.get(*name) != resource.get(*name));
            prop_assert!(
                differs.is_none(),
                "{differs:?}\n  came  {:?}\n  left  {:?}\n  kept  {:?}",
                differs.and_then(|name| resource.get(name)).map(Node::to_json),
                differs.and_then(|name| written.get(name)).map(Node::to_json),
                read.flat.get("x-fhir").map(Node::to_json)
            );
            Ok(())
        });
        checked.unwrap_or_else(|error| match error {
            proptest::test_runner::TestError::Fail(reason, _) => panic!("{resource_type}: {reason}"),
            error @ proptest::test_runner::TestError::Abort(_) => panic!("{resource_type}: {error}"),
        });
    }
}

#[test]
fn foreign_resources_keep_what_the_record_does_not_say_until_somebody_edits_it() {
    let patient = object(
        r#"{"resourceType":"Patient","id":"p1","meta":{"profile":["x"]},"text":{"status":"generated","div":"<div>x</div>"},
        "identifier":[{"system":"urn:mrn","value":"42"}],"active":true,"name":[{"use":"official","family":"Doe","given":["Jane","Q"]},
        {"use":"nickname","given":["J"]}],"telecom":[{"system":"phone","value":"1","use":"home"},{"system":"phone","value":"2"}],
        "gender":"female","birthDate":"1990-01-15","_birthDate":{"extension":[{"url":"x","valueDateTime":"1990-01-15T10:00:00Z"}]},
        "deceasedBoolean":false,"contact":[{"name":{"family":"Roe"}}]}"#,
    );
    let of = ResourceType::Patient;
    let read = from_fhir(of, &patient, Unmapped::Keep).unwrap().unwrap();
    let flat = &read.flat;
    let text = |name: &str| flat.get(name).map(Node::to_json).unwrap_or_default();
    assert_eq!(
        (text("firstName"), text("phone"), text("birthDate")),
        ("\"Jane Q\"".into(), "\"1\"".into(), "\"1990-01-15\"".into())
    );
    assert_eq!(to_fhir(of, flat).unwrap(), patient, "until somebody edits");
    let lost: BTreeSet<_> = read.losses.iter().map(|(element, _)| element.to_owned()).collect();
    for element in ["identifier.value", "text.div", "name.use", "telecom.value", "_birthDate.extension.valueDateTime"] {
        assert!(lost.contains(element), "{element}: {lost:?}");
    }
    assert_eq!(read.losses.modifier(), None, "that somebody is active and alive is no loss of meaning");
    // An edited member wins over the element that it came from, and no other.
    let edited = object(&Node::Object(flat.clone()).to_json().replace("\"phone\":\"1\"", "\"phone\":\"9\""));
    let written = to_fhir(of, &edited).unwrap();
    assert!(written.get("telecom").unwrap().to_json().contains("\"9\""));
    assert_eq!(written.get("identifier"), patient.get("identifier"));
    let dropped = from_fhir(of, &patient, Unmapped::Drop).unwrap().unwrap();
    assert_eq!(dropped.flat.get("x-fhir"), None);
}

/// A foreign resource, as it is exported after somebody has deleted a member of the record and added others.
fn after(of: ResourceType, foreign: &str, gone: &str, added: &str) -> String {
    let mut flat = from_fhir(of, &object(foreign), Unmapped::Keep).unwrap().unwrap().flat;
    flat.shift_remove(gone);
    flat.extend(object(added));
    Node::Object(to_fhir(of, &flat).unwrap()).to_json()
}

#[test]
fn what_somebody_deletes_or_changes_does_not_come_back() {
    let patient = r#"{"resourceType":"Patient","telecom":[{"system":"phone","value":"0815","use":"home"}],
        "birthDate":"1990-01-15","_birthDate":{"extension":[{"url":"x","valueDateTime":"1990-01-15T10:00:00Z"}]}}"#;
    assert!(!after(ResourceType::Patient, patient, "phone", "{}").contains("0815"));
    let born = after(ResourceType::Patient, patient, "birthDate", r#"{"birthDate":"1991-02-16"}"#);
    assert!(born.contains("1991-02-16") && !born.contains("1990-01-15"), "the time of the old day: {born}");
    assert!(born.contains("0815") && born.contains("home"), "what nobody has changed: {born}");
    let request = r#"{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"reference":"Patient/p"},
        "medicationReference":{"reference":"Medication/1","display":"A"}}"#;
    let prescribed = after(ResourceType::MedicationRequest, request, "medication", r#"{"medication":"B"}"#);
    assert!(prescribed.contains("\"B\"") && !prescribed.contains("Medication/1"), "one drug: {prescribed}");
    let forged = r#"{"resourceType":"Patient","x-fhir":{"id":"evil","resourceType":"Group","animal":{"x":1}}}"#;
    let written = to_fhir(ResourceType::Patient, &object(forged)).unwrap();
    assert_eq!((written.get("id"), written.get("animal").is_some()), (None, true));
    assert_eq!(written.get("resourceType").unwrap().to_json(), "\"Patient\"");
}

#[test]
fn hostile_resources_take_neither_a_stack_nor_hours() {
    let deep = format!("\"\\\"x\\\":{}{}\"", "[".repeat(1 << 18), "]".repeat(1 << 18));
    let url = "https://clinikapi.com/fhir/StructureDefinition/member";
    let deep = format!(r#"{{"resourceType":"Patient","extension":[{{"url":"{url}","valueString":{deep}}}]}}"#);
    assert!(from_fhir(ResourceType::Patient, &object(&deep), Unmapped::Keep).unwrap().is_ok());
    let wide: Vec<_> = (0..30_000).map(|number| format!(r#""a{number}":0"#)).collect();
    let wide = object(&format!(r#"{{"resourceType":"Patient","gender":"male",{}}}"#, wide.join(",")));
    let flat = from_fhir(ResourceType::Patient, &wide, Unmapped::Keep).unwrap().unwrap().flat;
    let edited = object(&Node::Object(flat).to_json().replace("\"male\"", "\"female\""));
    assert_eq!(to_fhir(ResourceType::Patient, &edited).unwrap().len(), wide.len());
    let items = vec![r#"{"linkId":"1"}"#; 30_000].join(",");
    let items = object(&format!(r#"{{"resourceType":"QuestionnaireResponse","status":"completed","item":[{items}]}}"#));
    assert!(from_fhir(ResourceType::QuestionnaireResponse, &items, Unmapped::Keep).unwrap().is_ok());
    // Half a megabyte of a name would be told once for each member below it.
    let below: Vec<_> = (0..40_000).map(|number| format!(r#""b{number}":0"#)).collect();
    let name = "a".repeat(500_000);
    let long = object(&format!(r#"{{"resourceType":"Patient","{name}":{{{}}}}}"#, below.join(",")));
    let losses = from_fhir(ResourceType::Patient, &long, Unmapped::Keep).unwrap().unwrap().losses;
    assert!(losses.iter().map(|(path, _)| path.len()).sum::<usize>() < 100, "{losses:?}");
}

#[test]
fn what_changes_the_meaning_is_told_or_refused() {
    let read = |text: &str| from_fhir(ResourceType::Observation, &object(text), Unmapped::Drop).unwrap();
    let refused =
        read(r#"{"resourceType":"Observation","status":"entered-in-error","code":{"text":"x"}}"#).unwrap_err();
    assert_eq!(refused.element, "status");
    let known = object(r#"{"resourceType":"DeviceUseStatement","status":"entered-in-error"}"#);
    let known = from_fhir(ResourceType::DeviceUseStatement, &known, Unmapped::Drop).unwrap().unwrap();
    assert_eq!(known.flat.get("status").unwrap().to_json(), "\"entered-in-error\"", "the record says it itself");
    let unknown = read(r#"{"resourceType":"Observation","status":"unknown","code":{"text":"x"}}"#).unwrap();
    assert_eq!(unknown.losses.modifier(), Some("status"));
    let stopped = from_fhir(
        ResourceType::MedicationRequest,
        &object(r#"{"resourceType":"MedicationRequest","status":"stopped","intent":"order"}"#),
        Unmapped::Drop,
    );
    let stopped = stopped.unwrap().unwrap();
    assert_eq!(stopped.flat.get("status").unwrap().to_json(), "\"cancelled\"");
    assert_eq!(stopped.losses.modifier(), Some("status"), "a code that becomes another one");
    let modifiers = |of, text: &str| -> Vec<String> {
        let losses = from_fhir(of, &object(text), Unmapped::Drop).unwrap().unwrap().losses;
        losses.iter().filter(|(_, modifier)| *modifier).map(|(element, _)| element.to_owned()).collect()
    };
    let plan = r#"{"resourceType":"CarePlan","activity":[{"detail":{"description":"x","doNotPerform":true}}]}"#;
    assert_eq!(modifiers(ResourceType::CarePlan, plan), ["activity.detail.doNotPerform"]);
    let wrong = r#"{"resourceType":"CarePlan","activity":[{"detail":{"status":"entered-in-error"}}]}"#;
    let wrong = from_fhir(ResourceType::CarePlan, &object(wrong), Unmapped::Drop).unwrap().unwrap_err();
    assert_eq!(wrong.element, "activity.detail.status");
    let less = r#"{"resourceType":"Observation","status":"final","valueQuantity":{"value":5,"comparator":"<"}}"#;
    assert_eq!(modifiers(ResourceType::Observation, less), ["valueQuantity.comparator"]);
    let unknown = r#"{"resourceType":"Condition","clinicalStatus":{"coding":[{
        "system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"unknown"}]}}"#;
    assert_eq!(modifiers(ResourceType::Condition, unknown), ["clinicalStatus.coding.code"]);
    let dead = from_fhir(
        ResourceType::Patient,
        &object(r#"{"resourceType":"Patient","active":false,"deceasedDateTime":"2020"}"#),
        Unmapped::Drop,
    );
    let lost = dead.unwrap().unwrap().losses;
    assert!(
        lost.iter().filter(|(_, modifier)| *modifier).map(|(element, _)| element).eq(["active", "deceasedDateTime"])
    );
}

#[test]
fn that_a_name_is_the_old_one_changes_what_it_says() {
    let loses_meaning = |used: &str| {
        let name =
            format!(r#"{{"resourceType":"Patient","name":[{{"use":"{used}","family":"Doe","given":["Jane"]}}]}}"#);
        let read = from_fhir(ResourceType::Patient, &object(&name), Unmapped::Drop).unwrap().unwrap();
        read.losses.modifier().is_some()
    };
    assert_eq!(["official", "old", "temp"].map(loses_meaning), [false, true, true]);
}

#[test]
fn what_holds_now_is_read_before_what_held_once() {
    let patient = object(
        r#"{"resourceType":"Patient","name":[{"use":"old","family":"Miller","given":["J"]},{"use":"official","family":"Doe","given":["Jane"]}],
        "telecom":[{"system":"phone","value":"0815","use":"old"},{"system":"phone","value":"4711"}]}"#,
    );
    let read = from_fhir(ResourceType::Patient, &patient, Unmapped::Keep).unwrap().unwrap();
    let text = |name: &str| read.flat.get(name).map(Node::to_json).unwrap_or_default();
    assert_eq!([text("lastName"), text("firstName"), text("phone")], ["\"Doe\"", "\"Jane\"", "\"4711\""]);
    assert_eq!(read.losses.modifier(), None, "an old name beside the one that is read changes nothing");
    assert!(read.losses.iter().any(|(element, _)| element == "name.family"));
    assert_eq!(to_fhir(ResourceType::Patient, &read.flat).unwrap(), patient, "nothing is lost on the way back");
}

#[test]
fn the_version_of_a_reference_is_told_as_lost() {
    let visit = |of: &str| {
        let text =
            format!(r#"{{"resourceType":"Encounter","status":"finished","subject":{{"reference":"Patient/p1{of}"}}}}"#);
        let read = from_fhir(ResourceType::Encounter, &object(&text), Unmapped::Drop).unwrap().unwrap();
        assert_eq!(read.flat.get("patientId").unwrap().to_json(), "\"p1\"");
        read.losses.iter().any(|(element, _)| element == "subject.reference")
    };
    assert_eq!([visit(""), visit("/_history/3")], [false, true]);
}

#[test]
fn what_a_member_as_text_replaces_is_told_as_lost() {
    let url = "https://clinikapi.com/fhir/StructureDefinition/member";
    let forged = object(&format!(
        r#"{{"resourceType":"Patient","gender":"male","birthDate":"1990-01-15","extension":[{{"url":"{url}","valueString":"\"gender\":\"female\""}}]}}"#
    ));
    let read = from_fhir(ResourceType::Patient, &forged, Unmapped::Drop).unwrap().unwrap();
    assert_eq!(read.flat.get("gender").unwrap().to_json(), "\"female\"");
    assert_eq!(read.losses.iter().map(|(element, _)| element).collect::<Vec<_>>(), ["gender"]);
}

#[test]
fn another_version_of_fhir_is_told_by_its_elements() {
    let mut converter = Converter::new(ResourceType::Encounter, Unmapped::Keep);
    let visit = br#"{"resourceType":"Encounter","status":"completed","class":[{"text":"x"}],"actualPeriod":{"start":"2020-01-01"}}"#;
    converter.convert(visit).unwrap();
    let losses = &converter.lost;
    assert!(losses.iter().any(|(element, _)| element == "actualPeriod (R5).start"), "{losses:?}");
    let violations = ResourceType::Encounter.schema().scan(&converter.flat).err().unwrap();
    let told = converter.with_elements(violations);
    assert!(told[0].message.ends_with("; R4 is read, and it does not have actualPeriod (R5).start"), "{told:?}");
}
