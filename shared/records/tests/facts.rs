//! The schemas enforce every fact about the record types, and nothing more.
//!
//! `facts.json` is the table of facts: each type's fields with their JSON types, required members, enums,
//! bounds and formats. For every field, however deep, this test builds a minimal record that holds it,
//! breaks one rule at a time, and expects exactly that violation; then it does what no rule forbids.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "test"
)]

use records::{ResourceType, Schema, Violation, ViolationCode};
use serde_json::{Map, Value, json};

/// What the table says of one value.
type Fact = Map<String, Value>;

/// A step towards a value.
#[derive(Clone)]
enum Step {
    Member(String),
    Item,
}

/// Where a value stands: its path from the record, with the facts of all containers on the way.
#[derive(Clone)]
struct Place<'a> {
    steps: Vec<(Step, &'a Fact)>,
    root: &'a Fact,
    required: bool,
}

impl Place<'_> {
    fn pointer(&self) -> String {
        self.steps.iter().fold(String::new(), |path, (step, _)| match step {
            Step::Member(name) => format!("{path}/{name}"),
            Step::Item => format!("{path}/0"),
        })
    }

    /// A minimal record with `value` at this place; without it where that is `None`.
    fn record(&self, value: Option<Value>) -> Value {
        fn fill(fact: &Fact, steps: &[(Step, &Fact)], value: Option<Value>) -> Option<Value> {
            let Some(((step, child), rest)) = steps.split_first() else { return value };
            let inner = fill(child, rest, value);
            Some(match step {
                Step::Member(name) => {
                    let mut object = minimal(branch(fact, "object"));
                    match inner {
                        Some(inner) => object[name] = inner,
                        None => {
                            object.as_object_mut().unwrap().remove(name);
                        }
                    }
                    object
                }
                Step::Item => Value::Array(inner.into_iter().collect()),
            })
        }
        fill(self.root, &self.steps, value).unwrap()
    }
}

/// The branch of a fact that has this JSON type.
fn branch<'a>(fact: &'a Fact, json_type: &str) -> &'a Fact {
    branches(fact).into_iter().find(|branch| branch.get("type").is_none_or(|own| own == json_type)).unwrap()
}

fn branches(fact: &Fact) -> Vec<&Fact> {
    match fact.get("oneOf") {
        Some(branches) => branches.as_array().unwrap().iter().map(|branch| branch.as_object().unwrap()).collect(),
        None => vec![fact],
    }
}

fn required(fact: &Fact) -> Vec<&str> {
    let names = fact.get("required").and_then(Value::as_array);
    names.into_iter().flatten().map(|name| name.as_str().unwrap()).collect()
}

/// The smallest value that a fact allows.
fn minimal(fact: &Fact) -> Value {
    let fact = branches(fact)[0];
    match fact.get("type").and_then(Value::as_str) {
        Some("string") => text(fact),
        Some("integer" | "number") => fact.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") => {
            let least = fact.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            (0..least).map(|_| minimal(fact["items"].as_object().unwrap())).collect()
        }
        _ => required(fact)
            .into_iter()
            .map(|name| (name.to_owned(), minimal(fact["properties"][name].as_object().unwrap())))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn text(fact: &Fact) -> Value {
    match (fact.get("enum"), fact.get("format").and_then(Value::as_str)) {
        (Some(options), _) => options[0].clone(),
        (None, Some("date-time")) => json!("2025-01-31T10:20:30Z"),
        (None, Some("date")) => json!("2025-01-31"),
        (None, Some("time")) => json!("10:20"),
        (None, Some("email")) => json!("a@example.org"),
        (None, Some("uri")) => json!("https://example.org"),
        (None, _) => json!("x"),
    }
}

struct Checker<'a> {
    schema: &'a Schema,
    checked: usize,
}

impl Checker<'_> {
    fn violations(&mut self, record: &Value) -> Vec<Violation> {
        self.checked += 1;
        self.schema.scan(record.to_string().as_bytes()).map_or_else(|violations| violations, |_| Vec::new())
    }

    fn accepts(&mut self, place: &Place<'_>, value: Value) {
        let record = place.record(Some(value));
        let violations = self.violations(&record);
        assert!(violations.is_empty(), "{record} has no violation: {violations:?}");
    }

    fn refuses(&mut self, place: &Place<'_>, value: Option<Value>, code: ViolationCode) {
        let record = place.record(value);
        let violations = self.violations(&record);
        let found = violations.iter().any(|violation| violation.code == code && violation.path == place.pointer());
        assert!(found, "{record} has {code:?} at {}: {violations:?}", place.pointer());
    }

    fn check(&mut self, place: &Place<'_>, fact: &Fact) {
        let types: Vec<_> = branches(fact).iter().filter_map(|branch| branch["type"].as_str()).collect();
        self.check_presence(place, fact);
        for (json_type, sample) in [
            ("string", json!("x")),
            ("number", json!(1.5)),
            ("boolean", json!(true)),
            ("array", json!([])),
            ("object", json!({})),
        ] {
            if !types.contains(&json_type) {
                self.refuses(place, Some(sample), ViolationCode::Type);
            }
        }
        for branch in branches(fact) {
            match branch["type"].as_str() {
                Some("string") => self.check_string(place, branch),
                Some(number @ ("integer" | "number")) => self.check_number(place, branch, number),
                Some("boolean") => self.accepts(place, json!(false)),
                Some("array") => self.check_array(place, branch),
                Some("object") => self.check_object(place, branch),
                other => panic!("unknown type {other:?}"),
            }
        }
    }

    fn check_presence(&mut self, place: &Place<'_>, fact: &Fact) {
        self.accepts(place, minimal(fact));
        match place.steps.last() {
            Some((Step::Member(_), _)) if place.required => {
                self.refuses(place, None, ViolationCode::Required);
                self.refuses(place, Some(Value::Null), ViolationCode::Required);
            }
            Some((Step::Member(_), _)) => {
                self.accepts(place, Value::Null);
                let absent = place.record(None);
                assert!(self.violations(&absent).is_empty());
            }
            _ => self.refuses(place, Some(Value::Null), ViolationCode::Type),
        }
    }

    fn check_string(&mut self, place: &Place<'_>, fact: &Fact) {
        let is_free = !fact.contains_key("enum") && fact.get("format").is_none_or(|format| format == "base64");
        if place.required {
            self.refuses(place, Some(json!("")), ViolationCode::MinLength);
        } else if is_free {
            self.accepts(place, json!(""));
        }
        if let Some(options) = fact.get("enum") {
            for option in options.as_array().unwrap() {
                self.accepts(place, option.clone());
            }
            self.refuses(place, Some(json!("none-of-these")), ViolationCode::Enum);
        }
        if fact.contains_key("format") && !is_free {
            self.refuses(place, Some(json!("none of these")), ViolationCode::Format);
        }
        match fact.get("maxLength").and_then(Value::as_u64) {
            Some(most) => {
                let most = usize::try_from(most).unwrap();
                self.refuses(place, Some(json!("x".repeat(most + 1))), ViolationCode::MaxLength);
                if is_free {
                    self.accepts(place, json!("x".repeat(most)));
                    // Two UTF-16 code units a character.
                    self.accepts(place, json!("\u{1F600}".repeat(most / 2)));
                    self.refuses(place, Some(json!("\u{1F600}".repeat(most / 2 + 1))), ViolationCode::MaxLength);
                }
            }
            None if is_free => self.accepts(place, json!("x".repeat(20_000))),
            None => {}
        }
    }

    fn check_number(&mut self, place: &Place<'_>, fact: &Fact, json_type: &str) {
        let (least, most) = (fact.get("minimum"), fact.get("maximum"));
        let within = least.or(most).cloned().unwrap_or(json!(7));
        self.accepts(place, within);
        if json_type == "integer" {
            self.refuses(place, Some(json!(1.5)), ViolationCode::Type);
            self.accepts(place, json!(1.0));
        }
        match least.and_then(Value::as_i64) {
            Some(least) => self.refuses(place, Some(json!(least - 1)), ViolationCode::Minimum),
            None => self.accepts(place, json!(-1_000_000_000_000_i64)),
        }
        match most.and_then(Value::as_i64) {
            Some(most) => self.refuses(place, Some(json!(most + 1)), ViolationCode::Maximum),
            None => self.accepts(place, json!(1_000_000_000_000_i64)),
        }
    }

    fn check_array(&mut self, place: &Place<'_>, fact: &Fact) {
        let item = fact["items"].as_object().unwrap();
        let many = |count: u64| (0..count).map(|_| minimal(item)).collect::<Value>();
        match fact.get("minItems").and_then(Value::as_u64) {
            Some(least) => self.refuses(place, Some(many(least - 1)), ViolationCode::MinItems),
            None => self.accepts(place, many(0)),
        }
        match fact.get("maxItems").and_then(Value::as_u64) {
            Some(most) => {
                self.accepts(place, many(most));
                self.refuses(place, Some(many(most + 1)), ViolationCode::MaxItems);
            }
            None => self.accepts(place, many(300)),
        }
        let mut steps = place.steps.clone();
        steps.push((Step::Item, item));
        self.check(&Place { steps, root: place.root, required: false }, item);
    }

    fn check_object(&mut self, place: &Place<'_>, fact: &Fact) {
        let mut extended = minimal(fact);
        extended["unknownMember"] = json!({"anything": [1, null, {}]});
        if place.steps.is_empty() {
            assert!(self.violations(&extended).is_empty());
        } else {
            self.accepts(place, extended);
        }
        let required = required(fact);
        let Some(members) = fact.get("properties") else { return };
        for (name, member) in members.as_object().unwrap() {
            let member = member.as_object().unwrap();
            let mut steps = place.steps.clone();
            steps.push((Step::Member(name.clone()), member));
            let required = required.contains(&name.as_str());
            self.check(&Place { steps, root: place.root, required }, member);
        }
    }
}

#[test]
fn every_fact_is_enforced_and_nothing_more() {
    let facts: Map<String, Value> = serde_json::from_str(include_str!("facts.json")).unwrap();
    assert_eq!(facts.len(), ResourceType::ALL.len());
    let mut checked = 0;
    for (name, fact) in &facts {
        let resource_type: ResourceType = name.parse().unwrap();
        let schema = resource_type.schema();
        let mut checker = Checker { schema: &schema, checked: 0 };
        let root = fact.as_object().unwrap();
        checker.check_object(&Place { steps: Vec::new(), root, required: false }, root);
        checked += checker.checked;
    }
    assert!(checked > 10_000, "only {checked} records were validated");
}
