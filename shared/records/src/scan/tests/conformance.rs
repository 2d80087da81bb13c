//! What is accepted, what is refused, and with which code: a row for each rule of reading a line.

use crate::{ResourceType, Violation, ViolationCode};

fn violations(line: &[u8]) -> Vec<Violation> {
    let schema = ResourceType::Patient.schema();
    schema.scan(line).map_or_else(|violations| violations, |_| Vec::new())
}

/// A valid patient with these further members.
fn with(members: &str) -> String {
    format!(r#"{{"firstName":"Jane","lastName":"Doe",{members}}}"#)
}

fn rows(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| {
            let violations = violations(line.as_bytes());
            let shown: Vec<_> = violations
                .iter()
                .map(|violation| format!("{:?} {:?} {:?}", violation.code, violation.path, violation.message))
                .collect();
            format!("{line}\n    {}\n", if shown.is_empty() { "valid".to_owned() } else { shown.join("\n    ") })
        })
        .collect()
}

#[test]
fn lines() {
    insta::assert_snapshot!(rows(&[
        "",
        "   \t",
        "{}",
        "[]",
        "7",
        "null",
        "\"text\"",
        "nonsense",
        r#"{"firstName":"Jane","lastName":"Doe"}"#,
        " {\"firstName\" : \"Jane\" ,\t\"lastName\":\"Doe\"} ",
        r#"{"firstName":"Jane","lastName":"Doe"} {}"#,
        r#"{"firstName":"Jane","lastName":"Doe"},"#,
        r#"{"firstName":"Jane","lastName":"Doe",}"#,
        r#"{"firstName":"Jane","lastName":"Doe""#,
        r#"{"firstName":"Jane" "lastName":"Doe"}"#,
        r"{'firstName':'Jane'}",
        r#"{"firstName":"\ud800","lastName":"Doe"}"#,
        r#"{"firstName":"\udc00\ud800","lastName":"Doe"}"#,
        r#"{"firstName":"\ud83d\ude00","lastName":"Doe"}"#,
        r#"{"first\u004eame":"Jane","lastName":"Doe"}"#,
    ]));
}

#[test]
fn heads() {
    insta::assert_snapshot!(rows(
        &[
            r#""resourceType":"Patient""#,
            r#""resourceType":"Encounter""#,
            r#""resourceType":null"#,
            r#""resource\u0054ype":"Encounter""#,
            r#""id":"a-b.C_9""#,
            r#""id":"""#,
            r#""id":"a b""#,
            r#""id":7"#,
            r#""id":null"#,
            r#""id":"a","id":"b""#,
            r#""meta":{}"#,
            r#""meta":null"#,
            r#""meta":[]"#,
            r#""meta":{"tag":[]}"#,
            r#""meta":{"tag":null}"#,
            r#""meta":{"tag":{}}"#,
            r#""meta":{"tag":[{"system":"x","code":"y"}]}"#,
            r#""meta":{"tag":[{"system":"x"},"y",null]}"#,
            r#""meta":{"tag":[],"tag":[]}"#,
            r#""meta":{"profile":[],"profile":[]}"#,
            r#""meta":{},"m\u0065ta":{}"#,
        ]
        .map(with)
        .each_ref()
        .map(String::as_str)
    ));
}

#[test]
fn members() {
    insta::assert_snapshot!(rows(
        &[
            r#""firstName":"Again""#,
            r#""unknown":1,"unknown":2,"unknown":3"#,
            r#""unknown":{"a":1,"a":2}"#,
            r#""address":{"city":"a","city":"b"}"#,
            r#""address":{"x":1,"x":2}"#,
            r#""gender":"none""#,
            r#""gender":null"#,
            r#""email":"nowhere""#,
            r#""birthDate":"2023-02-30""#,
            r#""languages":[{"preferred":true}]"#,
            r#""languages":[null]"#,
            r#""contact":[{"email":"x"},{"email":7}]"#,
        ]
        .map(with)
        .each_ref()
        .map(String::as_str)
    ));
    insta::assert_snapshot!(rows(&[r#"{"firstName":null,"lastName":"","phone":7,"gender":"?"}"#]));
}

#[test]
fn nesting_up_to_128_is_read() {
    let nested = |depth: usize| with(&format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    // The record itself is one level.
    assert_eq!(violations(nested(127).as_bytes()), []);
    assert_eq!(violations(nested(128).as_bytes())[0].code, ViolationCode::InvalidJson);
    let hostile = format!("{{\"x\":{}", "[".repeat(1 << 20));
    assert_eq!(violations(hostile.as_bytes())[0].code, ViolationCode::InvalidJson);
}

#[test]
fn invalid_utf_8_is_no_json() {
    assert_eq!(violations(b"{\"firstName\":\"\xff\",\"lastName\":\"Doe\"}")[0].code, ViolationCode::InvalidJson);
}

#[test]
fn at_most_100_violations_then_one_that_says_so() {
    let items = vec!["7"; 150].join(",");
    let found = violations(with(&format!("\"contact\":[{items}]")).as_bytes());
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].code, ViolationCode::MoreViolations);
    assert!(found[..100].iter().all(|violation| violation.code == ViolationCode::Type));
}

#[test]
fn many_members_do_not_take_long() {
    let distinct: Vec<_> = (0..60_000).map(|n| format!("\"m{n}\":{n}")).collect();
    assert_eq!(violations(with(&distinct.join(",")).as_bytes()), []);
    let same = with(&vec!["\"m\":1"; 60_000].join(","));
    assert_eq!(violations(same.as_bytes()).len(), 101);
}

#[test]
fn a_violation_never_repeats_a_value() {
    let line = r#"{"firstName":7,"lastName":"Sesame","gender":"Sesame","email":"Sesame","birthDate":"Sesame",
        "id":"Sesame!","resourceType":"Sesame","meta":"Sesame","Sesame":1,"Sesame":2}"#;
    let found = violations(line.as_bytes());
    assert!(found.len() >= 8, "{found:?}");
    assert!(!format!("{found:?}").contains("Sesame"), "{found:?}");
}
