//! A line is taken when `serde_json` takes it as JSON; what is stored of it is stable, and holds every member.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use records::{ResourceType, Schema, ViolationCode};
use serde_json::Value;

static SCHEMAS: LazyLock<Vec<Schema>> =
    LazyLock::new(|| ResourceType::ALL.iter().map(|known| known.schema()).collect());

/// A number that overflows a float is none of grammar's business.
fn is_json(line: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(line) {
        Ok(_) => true,
        Err(error) => error.to_string().starts_with("number out of range") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok(),
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, line) = input;
    if line.contains(&b'\n') {
        return;
    }
    let schema = &SCHEMAS[usize::from(which) % SCHEMAS.len()];
    match schema.scan(line) {
        Err(violations) => {
            assert!(!violations.is_empty());
            let refused = violations.iter().any(|violation| matches!(violation.code, ViolationCode::InvalidJson | ViolationCode::BlankLine));
            assert_eq!(refused, !is_json(line));
        }
        Ok(record) => {
            assert!(is_json(line));
            let id = || "derived".to_owned().try_into().expect("an id");
            let Ok(stored) = record.into_stored("tenant", id) else { return };
            assert!(stored.as_str().starts_with("{\"resourceType\":\""));
            let (sent, kept): (Value, Value) =
                (serde_json::from_slice(line).unwrap_or_default(), serde_json::from_str(stored.as_str()).unwrap_or_default());
            for (name, value) in sent.as_object().into_iter().flatten() {
                if !["id", "meta", "resourceType"].contains(&name.as_str()) {
                    assert_eq!(kept.get(name), Some(value));
                }
            }
            let again = schema.scan(stored.as_str().as_bytes()).expect("what is stored is valid");
            assert_eq!(again.into_stored("tenant", || unreachable!()).expect("and fits").as_str(), stored.as_str());
        }
    }
});
