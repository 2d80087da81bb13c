use super::*;
use fhir::Unmapped;
use records::ResourceType;

fn validated(resource_type: ResourceType, unmapped: Unmapped, lines: &[&str]) -> Validation {
    let format = ImportFormat::Fhir { unmapped, mapping_version: fhir::MAPPING_VERSION };
    let schema = resource_type.schema();
    Validation::of(&schema, &"clinic".parse().unwrap(), format, lines.join("\n").as_bytes())
}

/// What is said of one line.
fn told(resource_type: ResourceType, unmapped: Unmapped, line: &str) -> String {
    let validation = validated(resource_type, unmapped, &[line]);
    let told = validation.violations.iter().map(|LineViolation { violation, .. }| {
        let code = serde_json::to_value(violation.code).unwrap();
        format!("{} {} {}", code.as_str().unwrap(), violation.path, violation.message)
    });
    told.collect::<Vec<_>>().join("; ")
}

fn lost(validation: &Validation) -> Vec<(String, u64, bool)> {
    validation.losses.iter().cloned().map(|line| (line.element, line.records, line.modifier)).collect()
}

const JANE: &str = r#"{"resourceType":"Patient","name":[{"family":"Doe","given":["Jane"]}]"#;

#[test]
fn what_is_wrong_with_a_resource_is_told_by_the_rules_of_json_and_of_records() {
    let of_patient = |line: &str| told(ResourceType::Patient, Unmapped::Keep, line);
    for (line, expected) in [
        (format!("{JANE}}}"), ""),
        (String::new() + " ", "blank_line  Blank line"),
        ("{".to_owned(), "invalid_json  Invalid JSON at byte 2"),
        ("[]".to_owned(), "not_an_object  Must be a JSON object"),
        (format!("{JANE},\"gender\":\"male\",\"gender\":\"female\"}}"), "duplicate_member"),
        (
            r#"{"resourceType":"Bundle","entry":[]}"#.to_owned(),
            "resource_type_mismatch /resourceType resourceType: Must be Patient",
        ),
        (r#"{"resourceType":"Group","actual":true}"#.to_owned(), "resource_type_mismatch /resourceType"),
        (
            r#"{"resourceType":"Patient","gender":"female"}"#.to_owned(),
            "required /firstName firstName: Required (name.given)",
        ),
        (format!("{JANE},\"birthDate\":\"Xyzzy\"}}"), "format /birthDate birthDate: Invalid date (birthDate)"),
        (format!("{JANE},\"id\":\"a b\"}}"), "invalid_id /id"),
    ] {
        let said = of_patient(&line);
        assert!(said.starts_with(expected) && (said.is_empty() == expected.is_empty()), "{line}: {said}");
        assert!(!said.contains("Xyzzy"), "{said}");
    }
}

#[test]
fn what_says_that_it_was_entered_in_error_becomes_no_record() {
    let line = r#"{"resourceType":"Condition","verificationStatus":{"coding":[{"code":"entered-in-error"}]},"subject":{"reference":"Patient/1"}}"#;
    for unmapped in [Unmapped::Keep, Unmapped::Drop] {
        let said = told(ResourceType::Condition, unmapped, line);
        assert!(said.starts_with("entered_in_error  verificationStatus.coding.code: Must not be"), "{said}");
    }
}

#[test]
fn what_changes_the_meaning_is_kept_or_refuses_the_line() {
    let dead = format!("{JANE},\"deceasedDateTime\":\"2020-02-03\"}}");
    let kept = validated(ResourceType::Patient, Unmapped::Keep, &[&dead, &dead]);
    assert_eq!((kept.valid, lost(&kept)), (2, vec![("deceasedDateTime".to_owned(), 2, true)]));
    let said = told(ResourceType::Patient, Unmapped::Drop, &dead);
    assert!(said.starts_with("modifier_lost  deceasedDateTime: Changes") && !said.contains("2020"), "{said}");
    // Of those whom it changes nothing of, there are other lines.
    let said = |dead: bool| format!("{JANE},\"deceasedBoolean\":{dead}}}");
    let both = validated(ResourceType::Patient, Unmapped::Keep, &[&said(true), &said(false), &said(false)]);
    let element = "deceasedBoolean".to_owned();
    assert_eq!(lost(&both), [(element.clone(), 2, false), (element, 1, true)]);
    // That somebody is active and alive is no loss of meaning.
    assert_eq!(
        told(ResourceType::Patient, Unmapped::Drop, &format!("{JANE},\"active\":true,\"deceasedBoolean\":false}}")),
        ""
    );
}

#[test]
fn what_nobody_could_foresee_is_counted_and_not_told() {
    let digits = "1".repeat(30);
    let long = format!("{JANE},\"text\":{{\"status\":\"generated\",\"div\":\"<div>{}</div>\"}}}}", "x".repeat(1 << 19));
    let odd = format!(
        r#"{JANE},"John Doe":1,"{}":2,"_birthDate":{{"extension":[{{"url":"x","valueString":"y"}}]}},"contained":[{{"resourceType":"Group","id":"g"}}],"multipleBirthInteger":{digits},"link":[{{"other":{{"reference":"urn:uuid:1"}},"type":"seealso"}}]}}"#,
        "a".repeat(65)
    );
    let found = validated(ResourceType::Patient, Unmapped::Keep, &[&odd]);
    assert_eq!(found.valid, 1, "{:?}", found.violations);
    let names: Vec<_> = lost(&found).into_iter().map(|(element, ..)| element).collect();
    assert_eq!(
        names,
        [
            "(other)",
            "_birthDate.extension.url",
            "_birthDate.extension.valueString",
            "contained.id",
            "contained.resourceType",
            "link.other.reference",
            "link.type",
            "multipleBirthInteger"
        ]
    );
    // Kept it would not fit a record; dropped it does.
    assert!(told(ResourceType::Patient, Unmapped::Keep, &long).starts_with("too_large"));
    assert_eq!(told(ResourceType::Patient, Unmapped::Drop, &long), "");
    // However many names there are, the report stays small.
    let many = (0..2_000).map(|n| format!(",\"a{n}\":1")).collect::<Vec<_>>().concat();
    let many = validated(ResourceType::Patient, Unmapped::Drop, &[&format!("{JANE}{many}}}")]);
    assert!(many.losses.len() <= 1_001);
}
