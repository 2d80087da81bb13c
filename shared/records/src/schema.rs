//! A type's JSON Schema, flattened into what the scanner asks for. Programs that prepare records read in it which members
//! there are, and what each may be.
//!
//! Only the keywords that the schemas use are read; any other is an error, so that a rule can never be
//! written down without being enforced.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::format::Format;
use crate::resource_type::ResourceType;

/// The most members of an object: the scanner keeps those it has seen in the bits of a `u64`.
const MAX_MEMBERS: usize = 64;

static DEFINITIONS: LazyLock<Value> =
    LazyLock::new(|| match serde_json::from_str(include_str!("../schemas/definitions.json")) {
        Ok(definitions) => definitions,
        // A test compiles every schema, and so reads these: what is compiled in is never wrong.
        Err(error) => unreachable!("the definitions cannot be read: {error}"),
    });
const DEFINITIONS_REF: &str = "definitions.json#/$defs/";

/// The rules of one record type, ready for the scanner.
#[derive(Debug)]
pub struct Schema {
    pub(crate) resource_type: ResourceType,
    pub(crate) root: ObjectRule,
}

/// What a value may be: at most one rule per JSON type.
#[derive(Debug, Default)]
pub struct ValueRule {
    pub null: bool,
    pub boolean: bool,
    pub number: Option<NumberRule>,
    pub string: Option<StringRule>,
    pub array: Option<ArrayRule>,
    pub object: Option<ObjectRule>,
}

/// Which numbers are taken.
#[derive(Debug, Default)]
pub struct NumberRule {
    /// Whole numbers only.
    pub integer: bool,
    pub minimum: Option<i64>,
    pub maximum: Option<i64>,
}

/// Which strings are taken.
#[derive(Debug, Default)]
pub struct StringRule {
    /// Whether it must have a character.
    pub min_length: bool,
    /// In UTF-16 code units.
    pub max_length: Option<usize>,
    pub options: Option<Vec<String>>,
    pub(crate) format: Option<&'static Format>,
}

/// Which arrays are taken.
#[derive(Debug, Default)]
pub struct ArrayRule {
    pub min_items: usize,
    pub max_items: Option<usize>,
    pub items: Box<ValueRule>,
}

/// Which objects are taken.
#[derive(Debug, Default)]
pub struct ObjectRule {
    /// In the order of their names.
    pub members: Vec<Member>,
    /// Where each stands, by its name.
    positions: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    /// The required members, one bit each.
    pub(crate) required: u64,
}

/// A member that a type defines.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    /// Whether every object of its kind must have it.
    pub required: bool,
    pub rule: ValueRule,
}

impl ResourceType {
    /// The type's rules, prepared for the scanner. Costs some microseconds: prepare once per job.
    #[must_use]
    pub fn schema(self) -> Schema {
        match Schema::compile(self, self.source()) {
            Ok(schema) => schema,
            // A test compiles every schema: what is compiled in is never wrong.
            Err(unsupported) => unreachable!("schema of {self}: unsupported {unsupported}"),
        }
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

    /// The members that the type defines, in the order of their names; `resourceType`, `id` and `meta` are not among them.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.root.members
    }

    fn compile(resource_type: ResourceType, source: &str) -> Result<Self, Unsupported> {
        let schema: Value = serde_json::from_str(source).map_err(|error| error.to_string())?;
        let root = rule_of(&schema)?.object.ok_or("root: not an object")?;
        Ok(Self { resource_type, root })
    }
}

impl ValueRule {
    /// The JSON types that are taken, for people: `string or object`.
    #[must_use]
    pub fn expected(&self) -> String {
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

    /// The strings that are allowed; `None` when any is.
    #[must_use]
    pub fn options(&self) -> Option<&[String]> {
        self.string.as_ref()?.options.as_deref()
    }

    /// The format of the string: `date-time`, `date`, `time`, `email` or `uri`.
    #[must_use]
    pub fn format(&self) -> Option<&'static str> {
        self.string.as_ref()?.format.map(Format::label)
    }

    /// What an array's items may be; `None` when no array is taken.
    #[must_use]
    pub fn items(&self) -> Option<&Self> {
        self.array.as_ref().map(|array| &*array.items)
    }

    /// The members of an object; none when no object is taken.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.object.as_ref().map_or(&[], |object| &object.members)
    }
}

impl ObjectRule {
    /// The member of that name.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Member)> {
        let position = *self.positions.get(name)?;
        self.members.get(position).map(|member| (position, member))
    }

    fn push(&mut self, member: Member) -> Result<(), Unsupported> {
        let position = self.members.len();
        if position >= MAX_MEMBERS || self.positions.insert(member.name.as_str().into(), position).is_some() {
            return Err(format!("properties: {} is too many or twice there", member.name));
        }
        self.members.push(member);
        Ok(())
    }
}

/// What of a schema file the scanner cannot enforce: a mistake in the project's own data.
type Unsupported = String;

fn rule_of(schema: &Value) -> Result<ValueRule, Unsupported> {
    let schema = schema.as_object().ok_or("schema: not an object")?;
    if let Some(target) = schema.get("$ref") {
        let name = target
            .as_str()
            .and_then(|target| target.strip_prefix(DEFINITIONS_REF))
            .ok_or("$ref: not into definitions.json")?;
        let definition = DEFINITIONS.get("$defs").and_then(|all| all.get(name));
        return rule_of(definition.ok_or_else(|| format!("$ref: no definition {name}"))?);
    }
    if let Some(branches) = schema.get("anyOf") {
        let branches = branches.as_array().ok_or("anyOf: not an array")?;
        return branches.iter().map(rule_of).try_fold(ValueRule::default(), |merged, branch| merge(merged, branch?));
    }
    typed_rule(schema)
}

fn typed_rule(schema: &Map<String, Value>) -> Result<ValueRule, Unsupported> {
    let mut rule = ValueRule::default();
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => return Err("schema: no type".to_owned()),
    };
    for name in types {
        match name.as_str() {
            Some("null") => rule.null = true,
            Some("boolean") => rule.boolean = true,
            Some(number @ ("number" | "integer")) => {
                rule.number = Some(NumberRule { integer: number == "integer", ..NumberRule::default() });
            }
            Some("string") => rule.string = Some(StringRule::default()),
            Some("array") => rule.array = Some(ArrayRule::default()),
            Some("object") => rule.object = Some(ObjectRule::default()),
            _ => return Err("type: unknown".to_owned()),
        }
    }
    for (keyword, value) in schema {
        add_keyword(&mut rule, keyword, value)?;
    }
    if let (Some(object), Some(required)) = (&mut rule.object, schema.get("required")) {
        require(object, required)?;
    }
    Ok(rule)
}

fn add_keyword(rule: &mut ValueRule, keyword: &str, value: &Value) -> Result<(), Unsupported> {
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
            let format = value.as_str().and_then(Format::find).ok_or_else(bad)?;
            rule.string.as_mut().ok_or_else(bad)?.format = Some(format);
        }
        "minItems" => rule.array.as_mut().ok_or_else(bad)?.min_items = size(value).ok_or_else(bad)?,
        "maxItems" => rule.array.as_mut().ok_or_else(bad)?.max_items = Some(size(value).ok_or_else(bad)?),
        "items" => *rule.array.as_mut().ok_or_else(bad)?.items = rule_of(value)?,
        "properties" => {
            let object = rule.object.as_mut().ok_or_else(bad)?;
            for (name, schema) in value.as_object().ok_or_else(bad)? {
                let rule = rule_of(schema)?;
                object.push(Member { name: name.clone(), required: false, rule })?;
            }
        }
        _ => return Err(format!("keyword {keyword}")),
    }
    Ok(())
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
fn merge(into: ValueRule, branch: ValueRule) -> Result<ValueRule, Unsupported> {
    fn either<T>(a: Option<T>, b: Option<T>) -> Result<Option<T>, Unsupported> {
        match (a, b) {
            (Some(_), Some(_)) => Err("anyOf: two branches of one type".to_owned()),
            (a, b) => Ok(a.or(b)),
        }
    }
    Ok(ValueRule {
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

    #[test]
    fn a_patient_is_described() {
        let schema = ResourceType::Patient.schema();
        let find = |name: &str| schema.members().iter().find(|member| member.name == name).unwrap();
        assert!(find("firstName").required && !find("gender").required);
        assert_eq!(find("firstName").rule.string.as_ref().unwrap().max_length, Some(100));
        assert_eq!(find("gender").rule.options().unwrap(), ["male", "female", "other", "unknown"]);
        assert_eq!(find("birthDate").rule.format(), Some("date"));
        let contact = &find("contact").rule;
        assert!(contact.string.is_none() && contact.array.as_ref().unwrap().max_items == Some(10));
        let languages = find("languages").rule.items().unwrap();
        let preferred = languages.members().iter().find(|member| member.name == "preferred").unwrap();
        assert!(preferred.rule.boolean && preferred.rule.number.is_none());
    }

    #[test]
    fn numbers_tell_their_kind_and_range() {
        let is_integer = |member: &Member| member.rule.number.as_ref().is_some_and(|number| number.integer);
        assert!(ResourceType::Appointment.schema().members().iter().any(is_integer));
        let is_bounded = |member: &Member| {
            member.rule.number.as_ref().is_some_and(|number| number.minimum.is_some() && number.maximum.is_some())
        };
        assert!(ResourceType::ALL.iter().any(|known| known.schema().members().iter().any(is_bounded)));
    }
}
