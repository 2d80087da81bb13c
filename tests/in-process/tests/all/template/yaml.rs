//! The template as `CloudFormation` reads it: YAML whose tags are functions. `!Ref X` is read as `{"Ref": "X"}`, which is
//! the same to `CloudFormation`.

use std::collections::{BTreeMap, BTreeSet};

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};

const TEMPLATE: &str = include_str!("../../../../../template.yaml");

/// What a stack is made of, once its parameters are known.
pub(crate) struct Template {
    pub(crate) parameters: Map<String, Value>,
    /// Of these parameters; conditions are decided, and what they leave out is gone.
    pub(crate) resources: BTreeMap<String, Value>,
    pub(crate) globals: Value,
    pub(crate) outputs: Value,
}

/// The whole template, with nothing decided.
pub(crate) fn document() -> Value {
    let documents = Yaml::load_from_str(TEMPLATE).unwrap();
    let [document] = documents.as_slice() else { panic!("one document") };
    as_json(document)
}

fn as_json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(items) => items.iter().map(as_json).collect(),
        Yaml::Mapping(members) => members
            .iter()
            .map(|(key, value)| match as_json(key) {
                Value::String(key) => (key, as_json(value)),
                key => panic!("{key} is no name"),
            })
            .collect(),
        Yaml::Tagged(tag, inner) => function(&tag.suffix, as_json(inner)),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => panic!("`CloudFormation` does not read {node:?}"),
    }
}

/// A function in its long form.
fn function(name: &str, argument: Value) -> Value {
    match (name, argument) {
        ("Ref" | "Condition", argument) => json!({name: argument}),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').unwrap();
            json!({"Fn::GetAtt": [resource, attribute]})
        }
        ("Sub" | "If" | "Not" | "And" | "Or" | "Equals" | "Join" | "FindInMap", argument) => {
            json!({format!("Fn::{name}"): argument})
        }
        (name, argument) => panic!("!{name} {argument} is not known here"),
    }
}

pub(crate) fn reference(name: &str) -> Value {
    json!({ "Ref": name })
}

pub(crate) fn arn(resource: &str) -> Value {
    match table(resource) {
        Some(name) => json!({"Fn::Sub": format!("{TABLE_ARN}{name}")}),
        None => json!({"Fn::GetAtt": [resource, "Arn"]}),
    }
}

/// What stands before a table's name in its ARN.
pub(crate) const TABLE_ARN: &str = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/";

/// Tables are named by their names, never as resources of the stack.
pub(crate) fn table(resource: &str) -> Option<String> {
    let found = TABLES.iter().find(|(logical, _)| *logical == resource);
    found.map(|(_, name)| format!("${{AWS::StackName}}-{name}${{TablesSuffix}}"))
}

pub(crate) const TABLES: [(&str, &str); 4] =
    [("JobsTable", "jobs"), ("RecordsTable", "records"), ("ApiKeysTable", "api-keys"), ("UsageTable", "usage")];

/// What SAM makes of a function's alias: calls go to the version that it names.
pub(crate) fn alias(function: &str) -> Value {
    reference(&format!("{function}.Alias"))
}

impl Template {
    /// With every parameter's default.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With some parameters set.
    pub(crate) fn with(set: &[(&str, &str)]) -> Self {
        let document = document();
        let parameters = document["Parameters"].as_object().unwrap().clone();
        let mut values: BTreeMap<String, Value> =
            parameters.iter().map(|(name, parameter)| (name.clone(), parameter["Default"].clone())).collect();
        for (name, value) in set {
            assert!(values.insert((*name).to_owned(), json!(value)).is_some(), "no parameter {name}");
        }
        let decide = Decide { values, conditions: &document["Conditions"], mappings: &document["Mappings"] };
        let resources = document["Resources"].as_object().unwrap().iter();
        let resources = resources
            .filter(|(_, resource)| resource["Condition"].as_str().is_none_or(|condition| decide.holds(condition)))
            .map(|(name, resource)| (name.clone(), decide.value(resource).unwrap()))
            .collect();
        let [globals, outputs] = ["Globals", "Outputs"].map(|part| decide.value(&document[part]).unwrap());
        Self { parameters, resources, globals: globals["Function"].clone(), outputs }
    }

    pub(crate) fn resource(&self, name: &str) -> &Value {
        self.resources.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn properties(&self, name: &str) -> &Value {
        &self.resource(name)["Properties"]
    }

    /// The resources of a type, with their properties.
    pub(crate) fn of_type(&self, kind: &str) -> BTreeMap<&str, &Value> {
        let of_type = self.resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        of_type.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
    }

    /// A property of a function, from the function or from what all functions share.
    pub(crate) fn of_function<'a>(&'a self, name: &str, property: &str) -> &'a Value {
        match &self.properties(name)[property] {
            Value::Null => &self.globals[property],
            own => own,
        }
    }
}

struct Decide<'a> {
    values: BTreeMap<String, Value>,
    conditions: &'a Value,
    mappings: &'a Value,
}

impl Decide<'_> {
    fn holds(&self, condition: &str) -> bool {
        match &self.conditions[condition] {
            Value::Null => panic!("no condition {condition}"),
            expression => self.is_true(expression),
        }
    }

    fn is_true(&self, expression: &Value) -> bool {
        let (function, argument) = expression.as_object().unwrap().iter().next().unwrap();
        let arguments = || argument.as_array().unwrap().iter();
        match function.as_str() {
            "Condition" => self.holds(argument.as_str().unwrap()),
            "Fn::Not" => !self.is_true(&argument[0]),
            "Fn::And" => arguments().all(|argument| self.is_true(argument)),
            "Fn::Or" => arguments().any(|argument| self.is_true(argument)),
            // `CloudFormation` compares texts.
            "Fn::Equals" => {
                let sides: BTreeSet<_> = arguments().map(|side| text(&self.value(side).unwrap())).collect();
                sides.len() == 1
            }
            other => panic!("{other} is no condition"),
        }
    }

    /// The value; `None` where it is left out.
    fn value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(members) => {
                if let Some(name) = value["Ref"].as_str() {
                    let parameter = self.values.get(name).cloned();
                    return (name != "AWS::NoValue").then(|| parameter.unwrap_or_else(|| value.clone()));
                }
                if let Some(arguments) = value["Fn::If"].as_array() {
                    let chosen = if self.holds(arguments[0].as_str().unwrap()) { 1 } else { 2 };
                    return self.value(&arguments[chosen]);
                }
                if let Some(keys) = value["Fn::FindInMap"].as_array() {
                    let keys: Vec<_> = keys.iter().map(|key| text(&self.value(key).unwrap())).collect();
                    let found = &self.mappings[&keys[0]][&keys[1]][&keys[2]];
                    assert!(!found.is_null(), "no {keys:?}");
                    return Some(found.clone());
                }
                let kept = members.iter().filter_map(|(name, value)| Some((name.clone(), self.value(value)?)));
                Some(Value::Object(kept.collect()))
            }
            Value::Array(items) => Some(items.iter().filter_map(|item| self.value(item)).collect()),
            plain => Some(plain.clone()),
        }
    }
}

/// A scalar as `CloudFormation` compares it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every text in a value, names included.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| std::iter::once(name.as_str()).chain(texts(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![],
    }
}

/// One or many, as many.
pub(crate) fn listed(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}
