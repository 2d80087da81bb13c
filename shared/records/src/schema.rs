//! A type's JSON Schema, flattened into what the scanner asks for.
//!
//! Only the keywords that the schemas use are read; any other is an error, so that a rule can never be
//! written down without being enforced.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::format::Format;
use crate::resource_type::ResourceType;

/// The most members of an object: the scanner keeps those it has seen in the bits of a `u64`.
const MAX_MEMBERS: usize = 64;

const DEFINITIONS: &str = include_str!("../schemas/definitions.json");
const DEFINITIONS_REF: &str = "definitions.json#/$defs/";

/// The rules of one record type, ready for the scanner.
#[derive(Debug)]
pub struct Schema {
    pub(crate) resource_type: ResourceType,
    pub(crate) root: ObjectRule,
}

/// A schema file says something that the scanner cannot enforce: a mistake in the project's own data.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file is not JSON.
    #[error("read schema of {0}")]
    Syntax(ResourceType, #[source] serde_json::Error),
    /// The file uses a keyword or a value that is not supported.
    #[error("schema of {0}: unsupported {1}")]
    Unsupported(ResourceType, String),
}

/// What a value may be: at most one rule per JSON type.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(crate) null: bool,
    pub(crate) boolean: bool,
    pub(crate) number: Option<NumberRule>,
    pub(crate) string: Option<StringRule>,
    pub(crate) array: Option<ArrayRule>,
    pub(crate) object: Option<ObjectRule>,
}

#[derive(Debug, Default)]
pub(crate) struct NumberRule {
    pub(crate) integer: bool,
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct StringRule {
    pub(crate) min_length: bool,
    pub(crate) max_length: Option<usize>,
    pub(crate) options: Option<Vec<String>>,
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Default)]
pub(crate) struct ArrayRule {
    pub(crate) min_items: usize,
    pub(crate) max_items: Option<usize>,
    pub(crate) items: Box<Rule>,
}

#[derive(Debug, Default)]
pub(crate) struct ObjectRule {
    pub(crate) members: Vec<MemberRule>,
    /// Where each stands, by its name.
    positions: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    /// The required members, one bit each.
    pub(crate) required: u64,
}

#[derive(Debug)]
pub(crate) struct MemberRule {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) rule: Rule,
}

impl ResourceType {
    /// The type's rules, prepared for the scanner. Costs some microseconds: prepare once per job.
    pub fn schema(self) -> Result<Schema, SchemaError> {
        Schema::compile(self, self.source())
    }

    /// What holds for every line of the type, whatever shape its records have: the rules of JSON, of `resourceType`, `id`
    /// and `meta`.
    #[must_use]
    pub fn open_schema(self) -> Schema {
        Schema { resource_type: self, root: ObjectRule::default() }
    }
}

impl Schema {
    /// The type whose records it describes.
    #[must_use]
    pub fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    pub(crate) fn compile(resource_type: ResourceType, source: &str) -> Result<Self, SchemaError> {
        let syntax = |error| SchemaError::Syntax(resource_type, error);
        let schema: Value = serde_json::from_str(source).map_err(syntax)?;
        let definitions: Value = serde_json::from_str(DEFINITIONS).map_err(syntax)?;
        let compiler = Compiler { definitions: &definitions };
        let unsupported = |what| SchemaError::Unsupported(resource_type, what);
        let rule = compiler.rule(&schema).map_err(unsupported)?;
        let root = rule.object.ok_or_else(|| unsupported("root: not an object".to_owned()))?;
        Ok(Self { resource_type, root })
    }
}

impl Rule {
    /// The JSON types that the rule takes, for people.
    pub(crate) fn expected(&self) -> String {
        let number = match &self.number {
            Some(NumberRule { integer: true, .. }) => Some("integer"),
            Some(_) => Some("number"),
            None => None,
        };
        let names = [
            self.string.as_ref().map(|_| "string"),
            number,
            self.boolean.then_some("boolean"),
            self.array.as_ref().map(|_| "array"),
            self.object.as_ref().map(|_| "object"),
        ];
        names.into_iter().flatten().collect::<Vec<_>>().join(" or ")
    }
}

impl ObjectRule {
    /// The member of that name.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &MemberRule)> {
        let position = *self.positions.get(name)?;
        self.members.get(position).map(|member| (position, member))
    }

    fn push(&mut self, member: MemberRule) -> Result<(), Unsupported> {
        let position = self.members.len();
        if position >= MAX_MEMBERS || self.positions.insert(member.name.as_str().into(), position).is_some() {
            return Err(format!("properties: {} is too many or twice there", member.name));
        }
        self.members.push(member);
        Ok(())
    }
}

struct Compiler<'a> {
    definitions: &'a Value,
}

type Unsupported = String;

impl Compiler<'_> {
    fn rule(&self, schema: &Value) -> Result<Rule, Unsupported> {
        let schema = schema.as_object().ok_or("schema: not an object")?;
        if let Some(target) = schema.get("$ref") {
            let name = target
                .as_str()
                .and_then(|target| target.strip_prefix(DEFINITIONS_REF))
                .ok_or("$ref: not into definitions.json")?;
            let definition = self.definitions.get("$defs").and_then(|all| all.get(name));
            return self.rule(definition.ok_or_else(|| format!("$ref: no definition {name}"))?);
        }
        if let Some(branches) = schema.get("anyOf") {
            let branches = branches.as_array().ok_or("anyOf: not an array")?;
            return branches
                .iter()
                .map(|branch| self.rule(branch))
                .try_fold(Rule::default(), |merged, branch| merge(merged, branch?));
        }
        self.typed_rule(schema)
    }

    fn typed_rule(&self, schema: &Map<String, Value>) -> Result<Rule, Unsupported> {
        let mut rule = Rule::default();
        let types = match schema.get("type") {
            Some(Value::Array(types)) => types.iter().collect(),
            Some(one) => vec![one],
            None => return Err("schema: no type".to_owned()),
        };
        for name in types {
            match name.as_str() {
                Some("null") => rule.null = true,
                Some("boolean") => rule.boolean = true,
                Some("number") => rule.number = Some(NumberRule::default()),
                Some("integer") => {
                    rule.number = Some(NumberRule { integer: true, ..NumberRule::default() });
                }
                Some("string") => rule.string = Some(StringRule::default()),
                Some("array") => rule.array = Some(ArrayRule::default()),
                Some("object") => rule.object = Some(ObjectRule::default()),
                _ => return Err("type: unknown".to_owned()),
            }
        }
        for (keyword, value) in schema {
            self.keyword(&mut rule, keyword, value)?;
        }
        if let (Some(object), Some(required)) = (&mut rule.object, schema.get("required")) {
            require(object, required)?;
        }
        Ok(rule)
    }

    fn keyword(&self, rule: &mut Rule, keyword: &str, value: &Value) -> Result<(), Unsupported> {
        let bad = || format!("{keyword}: bad value or wrong type");
        match keyword {
            // Said elsewhere, or said to people only.
            "$schema" | "$id" | "title" | "description" | "type" | "required" | "contentEncoding" => {}
            "minimum" => rule.number.as_mut().ok_or_else(bad)?.minimum = Some(value.as_i64().ok_or_else(bad)?),
            "maximum" => rule.number.as_mut().ok_or_else(bad)?.maximum = Some(value.as_i64().ok_or_else(bad)?),
            "minLength" => {
                rule.string.as_mut().ok_or_else(bad)?.min_length = true;
                value.as_u64().filter(|least| *least == 1).ok_or_else(bad)?;
            }
            "maxLength" => rule.string.as_mut().ok_or_else(bad)?.max_length = Some(size(value).ok_or_else(bad)?),
            "enum" => {
                let options = value.as_array().ok_or_else(bad)?;
                let options = options.iter().filter(|option| !option.is_null());
                let options = options.map(|option| option.as_str().map(str::to_owned));
                rule.string.as_mut().ok_or_else(bad)?.options = Some(options.collect::<Option<_>>().ok_or_else(bad)?);
            }
            "format" => {
                let format = value.as_str().and_then(Format::parse).ok_or_else(bad)?;
                rule.string.as_mut().ok_or_else(bad)?.format = Some(format);
            }
            "minItems" => rule.array.as_mut().ok_or_else(bad)?.min_items = size(value).ok_or_else(bad)?,
            "maxItems" => rule.array.as_mut().ok_or_else(bad)?.max_items = Some(size(value).ok_or_else(bad)?),
            "items" => *rule.array.as_mut().ok_or_else(bad)?.items = self.rule(value)?,
            "properties" => {
                let object = rule.object.as_mut().ok_or_else(bad)?;
                for (name, schema) in value.as_object().ok_or_else(bad)? {
                    let rule = self.rule(schema)?;
                    object.push(MemberRule { name: name.clone(), required: false, rule })?;
                }
            }
            _ => return Err(format!("keyword {keyword}")),
        }
        Ok(())
    }
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

fn require(object: &mut ObjectRule, required: &Value) -> Result<(), Unsupported> {
    for name in required.as_array().ok_or("required: not an array")? {
        let mut members = object.members.iter_mut().enumerate();
        let member = members.find(|(_, member)| Some(member.name.as_str()) == name.as_str());
        let (index, member) = member.ok_or("required: names no property")?;
        member.required = true;
        object.required |= 1u64 << index;
    }
    Ok(())
}

/// Puts the branches of an `anyOf` together; branches of the same JSON type would need backtracking.
fn merge(into: Rule, branch: Rule) -> Result<Rule, Unsupported> {
    fn either<T>(a: Option<T>, b: Option<T>) -> Result<Option<T>, Unsupported> {
        match (a, b) {
            (Some(_), Some(_)) => Err("anyOf: two branches of one type".to_owned()),
            (a, b) => Ok(a.or(b)),
        }
    }
    Ok(Rule {
        null: into.null || branch.null,
        boolean: into.boolean || branch.boolean,
        number: either(into.number, branch.number)?,
        string: either(into.string, branch.string)?,
        array: either(into.array, branch.array)?,
        object: either(into.object, branch.object)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_that_is_not_enforced_is_an_error() {
        let compile = |source| Schema::compile(ResourceType::Patient, source).map(|_| ());
        assert!(compile(r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#).is_ok());
        for bad in [
            r#"{"type": "object", "patternProperties": {}}"#,
            r#"{"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}"#,
            r#"{"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}"#,
            r#"{"type": "object", "properties": {"a": {"type": "string", "maximum": 2}}}"#,
            r#"{"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}"#,
            r#"{"type": "object", "properties": {}, "required": ["a"]}"#,
            r#"{"type": "string"}"#,
            r#"{"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "string"}]}}}"#,
        ] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
