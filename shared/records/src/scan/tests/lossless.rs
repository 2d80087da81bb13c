//! The stored line keeps every member as it was sent, and writes only its head anew.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::random::Author;
use crate::{MAX_STORED_LINE, RecordId, ResourceType, StoredLine, ViolationCode};

fn stored(line: &str) -> StoredLine {
    let schema = ResourceType::Patient.schema();
    let record = schema.scan(line.as_bytes()).unwrap();
    let mut stored = record.into_stored("clinic", || RecordId::try_from("derived".to_owned()).unwrap()).unwrap();
    stored.stamp("2026-01-15T09:15:00Z".parse::<Timestamp>().unwrap());
    stored
}

const HEAD: &str = r#"{"resourceType":"Patient","id":"derived","meta":{"lastUpdated":"2026-01-15T09:15:00.000Z","tag":[{"system":"https://clinikapi.com/tenant","code":"clinic"}"#;

#[test]
fn members_are_kept_byte_for_byte() {
    let members = r#""firstName" : "J\u0061ne","lastName":"Doe","n":1.10,"big":123456789012345678901234567890,"e":1e400 , "o":{ "a" : [ ] }"#;
    assert_eq!(stored(&format!("{{{members}}}")).as_str(), format!("{HEAD}]}},{members}}}"));
}

#[test]
fn the_head_is_written_anew_wherever_it_stood() {
    let line = r#"{"firstName":"Jane","id":"own","lastName":"Doe","meta":{},"a":1, "b":2 ,"resourceType":"Patient"}"#;
    let expected = HEAD.replace("derived", "own") + r#"]},"firstName":"Jane","lastName":"Doe","a":1, "b":2}"#;
    assert_eq!(stored(line).as_str(), expected);
}

#[test]
fn the_tenant_s_tag_is_forced_and_foreign_ones_are_kept() {
    let line = r#"{"firstName":"J","lastName":"D","meta":{"lastUpdated":"1999","tag":[
        {"system":"https://clinikapi.com/tenant","code":"other"}, {"system":"x", "code":"y"},
        {"code":"z","s\u0079stem":"https:\/\/clinikapi.com\/tenant"},{}],"profile":["p"],"versionId":"1"}}"#;
    let expected = HEAD.to_owned()
        + r#",{"system":"x", "code":"y"},{}],"profile":["p"],"versionId":"1"},"firstName":"J","lastName":"D"}"#;
    assert_eq!(stored(&line.replace("\n        ", " ")).as_str(), expected);
}

#[test]
fn no_carriage_return_is_left_for_readers_with_universal_line_ends() {
    let line = "{\r\"firstName\" :\r\"J\\r\",\"lastName\":\"D\"\r,\"meta\":{\"v\":\r[1,\r2],\"tag\":[{\r\"system\":\"x\"}\r]}\r}";
    let stored = stored(line);
    assert!(!stored.as_str().contains('\r'), "{stored:?}");
    assert!(stored.as_str().contains(r#""firstName" : "J\r""#), "an escape stays as it is: {stored:?}");
    assert!(stored.as_str().contains(r#"{ "system":"x"}"#) && stored.as_str().contains("[1, 2]"), "{stored:?}");
}

#[test]
fn storing_a_stored_line_changes_nothing() {
    let first = stored(r#"{"firstName":"Jane","meta":{"tag":[{"system":"x"}],"v":1.0},"id":"a","lastName":"Doe"}"#);
    assert_eq!(stored(first.as_str()).as_str(), first.as_str());
}

#[test]
fn a_line_that_would_not_fit_an_item_is_too_large() {
    let schema = ResourceType::Patient.schema();
    let fits = |note: usize| {
        let line = format!(r#"{{"firstName":"J","lastName":"D","note":"{}"}}"#, "x".repeat(note));
        let record = schema.scan(line.as_bytes()).unwrap();
        record.into_stored("clinic", || RecordId::try_from("r".to_owned()).unwrap())
    };
    let spare = MAX_STORED_LINE - fits(0).unwrap().as_str().len();
    assert_eq!(fits(spare).unwrap().as_str().len(), MAX_STORED_LINE);
    assert_eq!(fits(spare + 1).unwrap_err().code, ViolationCode::TooLarge);
}

fn members(line: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(line).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_member_of_every_type_survives(seed: u64) {
        for resource_type in ResourceType::ALL {
            let record = Author::new(seed, 0).record(*resource_type);
            let line = record.to_string();
            let schema = resource_type.schema();
            let Ok(scanned) = schema.scan(line.as_bytes()) else { continue };
            let stored = match scanned.into_stored("t", || RecordId::try_from("r".to_owned()).unwrap()) {
                Ok(stored) => stored,
                // Nothing but its size keeps a valid record out: the head that is put before it is short.
                Err(violation) => {
                    prop_assert_eq!(violation.code, ViolationCode::TooLarge);
                    prop_assert!(line.len() + 256 > MAX_STORED_LINE);
                    continue;
                }
            };
            let after = members(stored.as_str());
            let before = members(&line);
            prop_assert_eq!(after.len(), before.len() + 3);
            for (name, value) in before {
                prop_assert_eq!(value.get(), after[&name].get());
            }
            prop_assert_eq!(&serde_json::from_str::<Value>(after["resourceType"].get()).unwrap(), resource_type.as_str());
            prop_assert!(schema.scan(stored.as_str().as_bytes()).is_ok());
        }
    }
}
