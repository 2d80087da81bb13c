//! The `jsonschema` crate as oracle: over all types, the same verdicts, and the same violations at the same paths.

use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Retrieve, Uri, ValidationError, Validator};
use proptest::prelude::*;
use serde_json::Value;

use super::random::Author;
use crate::format::Format;
use crate::{ResourceType, ViolationCode};

struct Definitions;

impl Retrieve for Definitions {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        assert!(uri.as_str().ends_with("/definitions.json"), "{uri}");
        Ok(serde_json::from_str(include_str!("../../../schemas/definitions.json"))?)
    }
}

fn oracle(resource_type: ResourceType) -> Validator {
    let schema: Value = serde_json::from_str(resource_type.source()).unwrap();
    let names = ["fhir-date-time", "fhir-date", "fhir-time", "email", "uri"];
    let options = names
        .into_iter()
        .fold(jsonschema::options(), |options, name| options.with_format(name, Format::find(name).unwrap().matches));
    options.should_validate_formats(true).with_retriever(Definitions).build(&schema).unwrap()
}

type Violations = BTreeSet<(ViolationCode, String)>;

/// The oracle's errors in the scanner's words.
fn translate(record: &Value, errors: &[ValidationError<'_>], violations: &mut Violations) {
    let wrong_types: Vec<_> = errors
        .iter()
        .filter(|error| matches!(error.kind(), ValidationErrorKind::Type { .. }))
        .map(|error| error.instance_path().to_string())
        .collect();
    for error in errors {
        let path = error.instance_path().to_string();
        let code = match error.kind() {
            ValidationErrorKind::Required { property } => {
                violations.insert((ViolationCode::Required, format!("{path}/{}", property.as_str().unwrap())));
                continue;
            }
            ValidationErrorKind::AnyOf { context } => {
                // The branch of the value's own JSON type says what is wrong; without one, the type is.
                let is_of_type = |branch: &&Vec<ValidationError<'_>>| {
                    !branch.iter().any(|error| {
                        matches!(error.kind(), ValidationErrorKind::Type { .. })
                            && error.instance_path().to_string() == path
                    })
                };
                match context.iter().find(is_of_type) {
                    Some(branch) => {
                        translate(record, branch, violations);
                        continue;
                    }
                    None => type_violation(record, &path),
                }
            }
            ValidationErrorKind::Type { .. } => type_violation(record, &path),
            // A value of the wrong type is not validated further.
            ValidationErrorKind::Enum { .. } if wrong_types.contains(&path) => continue,
            ValidationErrorKind::Enum { .. } => ViolationCode::Enum,
            ValidationErrorKind::Format { .. } => ViolationCode::Format,
            ValidationErrorKind::MaxItems { .. } => ViolationCode::MaxItems,
            ValidationErrorKind::MinItems { .. } => ViolationCode::MinItems,
            ValidationErrorKind::MaxLength { .. } => ViolationCode::MaxLength,
            ValidationErrorKind::MinLength { .. } => ViolationCode::MinLength,
            ValidationErrorKind::Maximum { .. } => ViolationCode::Maximum,
            ValidationErrorKind::Minimum { .. } => ViolationCode::Minimum,
            other => panic!("{other:?} is no rule of the schemas"),
        };
        violations.insert((code, path));
    }
}

/// A member may only be null when it is optional: one that may not is required.
fn type_violation(record: &Value, path: &str) -> ViolationCode {
    let is_member = path.rsplit('/').next().is_some_and(|last| last.parse::<usize>().is_err());
    if is_member && record.pointer(path).is_some_and(Value::is_null) {
        ViolationCode::Required
    } else {
        ViolationCode::Type
    }
}

fn agree(resource_type: ResourceType, validator: &Validator, record: &Value) {
    let schema = resource_type.schema();
    let line = record.to_string();
    let scanned = schema.scan(line.as_bytes()).map_or_else(|violations| violations, |_| Vec::new());
    let own: Violations = scanned.into_iter().map(|violation| (violation.code, violation.path)).collect();
    if own.iter().any(|(code, _)| *code == ViolationCode::MoreViolations) {
        return;
    }
    let errors: Vec<_> = validator.iter_errors(record).collect();
    let mut expected = Violations::new();
    translate(record, &errors, &mut expected);
    assert_eq!(own, expected, "{resource_type}: {line}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn all_types_agree_with_jsonschema(seed: u64) {
        for resource_type in ResourceType::ALL {
            let validator = oracle(*resource_type);
            for (offset, wrong) in [(0, 0), (1, 3), (2, 10), (3, 30)] {
                let mut author = Author::new(seed.wrapping_add(offset), wrong);
                agree(*resource_type, &validator, &author.record(*resource_type));
            }
        }
    }
}
