//! Pairs of records and resources that somebody else has computed, both ways.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use fhir::{Members, Node, Unmapped, from_fhir, to_fhir};
use records::ResourceType;

const CASES: &str = include_str!("cases.ndjson");

struct Case {
    resource_type: ResourceType,
    flat: Members,
    fhir: Members,
}

fn object(node: &Node) -> Members {
    match node {
        Node::Object(members) => members.clone(),
        _ => panic!("no object"),
    }
}

fn cases() -> Vec<Case> {
    let case = |line: &str| {
        let case = object(&Node::parse(line).unwrap());
        let (flat, fhir) = (object(case.get("flat").unwrap()), object(case.get("fhir").unwrap()));
        let Some(Node::Text(name)) = flat.get("resourceType") else { panic!("no type") };
        Case { resource_type: name.parse().unwrap(), flat, fhir }
    };
    CASES.lines().map(case).collect()
}

#[test]
fn a_record_becomes_the_resource_that_the_pair_says() {
    let mut wrong = 0;
    for (number, Case { resource_type, flat, fhir }) in cases().into_iter().enumerate() {
        let written = to_fhir(resource_type, &flat).unwrap();
        if written != fhir {
            wrong += 1;
            for (name, value) in &fhir {
                if written.get(name) != Some(value) {
                    eprintln!(
                        "case {number} {resource_type} {name}\n  expected {}\n  written  {}",
                        value.to_json(),
                        written.get(name).map(Node::to_json).unwrap_or_default()
                    );
                }
            }
            for (name, value) in written.iter().filter(|(name, _)| !fhir.contains_key(*name)) {
                eprintln!("case {number} {resource_type} {name}\n  expected none\n  written  {}", value.to_json());
            }
        }
    }
    assert_eq!(wrong, 0);
}

#[test]
fn a_resource_becomes_the_record_that_the_pair_says_and_nothing_is_kept() {
    let mut wrong = 0;
    for (number, Case { resource_type, flat, fhir }) in cases().into_iter().enumerate() {
        let read = from_fhir(resource_type, &fhir, Unmapped::Keep).unwrap().unwrap().flat;
        if read != flat {
            wrong += 1;
            for (name, value) in &read {
                if flat.get(name) != Some(value) {
                    eprintln!(
                        "case {number} {resource_type} {name}\n  read {}\n  expected  {}",
                        value.to_json(),
                        flat.get(name).map(Node::to_json).unwrap_or_default()
                    );
                }
            }
        }
    }
    assert_eq!(wrong, 0);
}
