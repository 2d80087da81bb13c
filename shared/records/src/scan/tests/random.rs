//! Random records of any type, valid or broken, from a seed.

use serde_json::{Map, Value, json};

use crate::ResourceType;

/// `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Writes records that follow a schema, but for a violation here and there.
pub(super) struct Author {
    pub(super) random: Random,
    pub(super) definitions: Value,
    /// Of a hundred values, how many are wrong.
    pub(super) wrong: usize,
}

impl Author {
    pub(super) fn new(seed: u64, wrong: usize) -> Self {
        let definitions = serde_json::from_str(include_str!("../../../schemas/definitions.json")).unwrap();
        Self { random: Random(seed), definitions, wrong }
    }

    pub(super) fn record(&mut self, resource_type: ResourceType) -> Value {
        let schema: Value = serde_json::from_str(resource_type.source()).unwrap();
        self.object(&schema)
    }

    fn value(&mut self, schema: &Value) -> Value {
        if self.random.chance(self.wrong) {
            return self.anything();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let name = target.rsplit('/').next().unwrap();
            let definition = self.definitions["$defs"][name].clone();
            return self.value(&definition);
        }
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            let branch = self.random.pick(branches).clone();
            return self.value(&branch);
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        match self.random.pick(&types).as_str().unwrap() {
            "string" => self.text(schema),
            "integer" => json!(self.random.below(12_000)),
            "number" => json!(self.random.below(1_000) as f64 / 8.0),
            "boolean" => json!(self.random.chance(50)),
            "array" => {
                let count = self.random.below(if self.random.0.is_multiple_of(8) { 30 } else { 4 });
                (0..count).map(|_| self.value(&schema["items"])).collect()
            }
            "object" => self.object(schema),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().cloned().collect();
        let mut object = Map::new();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.iter().any(|required| required == name);
            let present = if is_required { 100 - self.wrong } else { 40 };
            if self.random.chance(present) {
                object.insert(name.clone(), self.value(member));
            }
        }
        if self.random.chance(20) {
            object.insert(format!("x-{}", self.random.below(3)), self.anything());
        }
        Value::Object(object)
    }

    fn text(&mut self, schema: &Value) -> Value {
        if let Some(options) = schema["enum"].as_array() {
            return self.random.pick(options).clone();
        }
        let formatted: &[&str] = match schema["format"].as_str() {
            Some("fhir-date-time") => &["2025-01-31T10:20:30Z", "2025-01", "2025-02-30T10:20:30Z"],
            Some("fhir-date") => &["2025-01-31", "2025", "2025-02-30"],
            Some("fhir-time") => &["10:20", "10:20:30", "25:00"],
            Some("email") => &["a@example.org", "nobody"],
            Some("uri") => &["urn:x:y", "no uri"],
            _ => &[],
        };
        if !formatted.is_empty() {
            return json!(self.random.pick(formatted));
        }
        // Only characters of one UTF-16 code unit: JSON Schema counts code points.
        let length = match (self.random.below(10), schema["maxLength"].as_u64()) {
            (0, Some(most)) => usize::try_from(most).unwrap() + 1,
            (1, Some(most)) => usize::try_from(most).unwrap(),
            (2, _) => 0,
            _ => self.random.below(12),
        };
        let characters = ['a', 'Z', '9', ' ', '"', '\\', '/', '\n', '\u{e9}', '\u{4e2d}', '\u{7f}'];
        (0..length).map(|_| *self.random.pick(&characters)).collect::<String>().into()
    }

    fn anything(&mut self) -> Value {
        let simple = [json!(null), json!(true), json!(7), json!(1.5), json!(-3), json!(""), json!("none of these")];
        match self.random.below(9) {
            7 => json!([self.random.pick(&simple), {}]),
            8 => json!({"code": self.random.pick(&simple), "value": self.random.pick(&simple), "z": []}),
            index => simple[index].clone(),
        }
    }
}
