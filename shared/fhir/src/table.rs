//! The table: which flat member is which element of FHIR, and by which rule. It is data, compiled in and read at its first use.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use records::ResourceType;
use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::node::{Members, Node};
use crate::path::{Path, Step};

/// The table of this version.
pub(crate) fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| match serde_json::from_str(include_str!("table.json")) {
        Ok(table) => table,
        // A test reads the whole table: what is compiled in is never wrong.
        Err(error) => unreachable!("the table cannot be read: {error}"),
    });
    &TABLE
}

/// All of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Table {
    /// Lists of codes, by the name that fields call them by.
    pub(crate) codes: HashMap<String, Vec<String>>,
    pub(crate) selectors: HashMap<String, Node>,
    /// Data types that objects name.
    pub(crate) shapes: HashMap<String, Object>,
    pub(crate) types: HashMap<ResourceType, TypeTable>,
}

impl Table {
    /// Whether a code is in a list.
    pub(crate) fn knows(&self, list: &str, code: &str) -> bool {
        self.codes.get(list).is_some_and(|codes| codes.iter().any(|known| known == code))
    }
}

/// A resource type.
#[derive(Debug, Deserialize)]
pub(crate) struct TypeTable {
    pub(crate) fields: Vec<Field>,
    #[serde(flatten)]
    pub(crate) extras: Extras,
    /// Elements that change what a resource means.
    #[serde(default)]
    pub(crate) modifiers: Vec<String>,
}

/// What is written besides the fields, and taken out again.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Extras {
    #[serde(default)]
    pub(crate) requires: Vec<Require>,
    #[serde(default)]
    pub(crate) constants: Vec<Constant>,
    #[serde(default)]
    pub(crate) defaults: Vec<Default_>,
    #[serde(default)]
    pub(crate) guards: Vec<Guard>,
}

/// An element that R4 demands.
#[derive(Debug, Deserialize)]
pub(crate) struct Require {
    pub(crate) fhir: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) many: bool,
    #[serde(default)]
    pub(crate) choice: Option<String>,
    /// What the made element itself needs.
    #[serde(default)]
    pub(crate) required: Vec<Require>,
    #[serde(default)]
    pub(crate) unless: Vec<String>,
    #[serde(default, rename = "if")]
    pub(crate) only_if: Vec<String>,
    #[serde(default, rename = "unlessValue")]
    pub(crate) unless_value: HashMap<String, Vec<String>>,
}

/// Members that an element gets once it is there.
#[derive(Debug, Deserialize)]
pub(crate) struct Constant {
    pub(crate) fhir: Path,
    #[serde(deserialize_with = "members")]
    pub(crate) value: Members,
}

/// An object that serde has in memory already.
fn members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    match Node::parse(&value.to_string()) {
        Ok(Node::Object(members)) => Ok(members),
        _ => Err(D::Error::custom("no object")),
    }
}

/// A member that an element gets if it has none of its own.
#[derive(Debug, Deserialize)]
pub(crate) struct Default_ {
    pub(crate) fhir: Path,
    pub(crate) default: String,
    /// The element whose value chooses another one.
    #[serde(default)]
    pub(crate) by: Option<String>,
    #[serde(flatten)]
    pub(crate) others: HashMap<String, String>,
}

/// What would break a constraint of R4.
#[derive(Debug, Deserialize)]
pub(crate) struct Guard {
    pub(crate) drop: Path,
    pub(crate) path: Path,
    pub(crate) is: Condition,
    #[serde(default)]
    pub(crate) values: Vec<String>,
}

/// When a guarded element may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    Exists,
    Absent,
    In,
    Type,
    NotBefore,
    NotAfter,
}

/// One flat member, and the element that it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pub(crate) flat: String,
    #[serde(flatten)]
    pub(crate) place: Place,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) choice: Option<String>,
    /// Other places to read foreign resources from.
    #[serde(default, rename = "else")]
    pub(crate) others: Vec<Other>,
    /// The flat member is a value or a list; a list of one is read as a value.
    #[serde(default, rename = "oneOrMany")]
    pub(crate) one_or_many: bool,
    /// Entries that these selectors claim are not read.
    #[serde(default)]
    pub(crate) except: Vec<String>,
}

/// Where an element is, and what it is made of.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) fhir: Path,
    #[serde(flatten)]
    pub(crate) rule: Rule,
}

/// Another place, or the value of last resort.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Other {
    Value { value: String },
    Place(Box<Place>),
}

/// How a flat value becomes an element, and back.
#[derive(Debug, Deserialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub(crate) enum Rule {
    Copy(Copy),
    Text,
    Code(Code),
    /// A text, or a coding.
    Concept {
        #[serde(rename = "as")]
        form: CodeForm,
    },
    Reference(Reference),
    Words,
    Narrative,
    Base64,
    Object(Object),
}

/// A primitive.
#[derive(Debug, Deserialize)]
pub(crate) struct Copy {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, rename = "enum")]
    pub(crate) options: Vec<String>,
    #[serde(default)]
    pub(crate) codes: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    pub(crate) pattern: Option<Regex>,
    #[serde(default)]
    pub(crate) map: HashMap<String, String>,
    /// Foreign codes, and what they are here.
    #[serde(default)]
    pub(crate) from: HashMap<String, String>,
    #[serde(default)]
    pub(crate) min: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
    /// By how many places the decimal point moves to the right.
    #[serde(default)]
    pub(crate) shift: i32,
}

/// A code of a system.
#[derive(Debug, Deserialize)]
pub(crate) struct Code {
    #[serde(rename = "as")]
    pub(crate) form: CodeForm,
    pub(crate) system: String,
    #[serde(default, rename = "enum")]
    pub(crate) options: Vec<String>,
    #[serde(default)]
    pub(crate) codes: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    pub(crate) pattern: Option<Regex>,
    #[serde(default)]
    pub(crate) map: HashMap<String, String>,
}

/// What a whole text has to match.
fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Regex::new(&text).map(Some).map_err(D::Error::custom)
}

#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum CodeForm {
    CodeableConcept,
    Coding,
}

/// A reference to another resource.
#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    /// The type of a bare id.
    #[serde(default)]
    pub(crate) to: Option<String>,
    #[serde(default)]
    pub(crate) types: Vec<String>,
    /// Whether a foreign reference that is only a text is read as that.
    #[serde(default)]
    pub(crate) display: bool,
    #[serde(skip)]
    targets: OnceLock<Vec<ResourceType>>,
}

impl Reference {
    /// The types of the service that a bare id may be of: the one that the member is for, or any where none is named; none
    /// where it may as well be of a type that the service does not have.
    pub(crate) fn targets(&self) -> &[ResourceType] {
        self.targets.get_or_init(|| {
            let known = |name: &String| name.parse().ok();
            let targets: Option<Vec<ResourceType>> = match &self.to {
                Some(to) => known(to).map(|to| vec![to]),
                None if self.types.is_empty() => Some(ResourceType::ALL.to_vec()),
                None => self.types.iter().map(known).collect(),
            };
            targets.unwrap_or_default()
        })
    }
}

/// An element with parts.
#[derive(Debug, Deserialize)]
pub(crate) struct Object {
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
    #[serde(default)]
    pub(crate) shape: Option<String>,
    /// `Type.member`: the fields of that one, for nesting of any depth.
    #[serde(default)]
    pub(crate) same: Option<String>,
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    #[serde(flatten)]
    pub(crate) extras: Extras,
}

impl Object {
    /// The one that its fields and extras stand in: those of a shape or of another member, or its own.
    pub(crate) fn resolved(&self) -> &Self {
        match (&self.shape, &self.same) {
            (Some(shape), _) => table().shapes.get(shape).unwrap_or(self),
            (None, Some(same)) => same_as(same).map_or(self, Self::resolved),
            (None, None) => self,
        }
    }
}

/// The object at `Type.member.member`.
fn same_as(path: &str) -> Option<&'static Object> {
    let mut parts = path.split('.');
    let resource_type: ResourceType = parts.next()?.parse().ok()?;
    let mut fields = &table().types.get(&resource_type)?.fields;
    let mut found = None;
    for part in parts {
        let field = fields.iter().find(|field| field.flat == part)?;
        let Rule::Object(object) = &field.place.rule else { return None };
        fields = &object.fields;
        found = Some(object);
    }
    found
}

/// The element that a flat member is, by the member's JSON pointer: `name.family` for `/lastName`.
pub(crate) fn element_of(resource_type: ResourceType, pointer: &str) -> Option<String> {
    let mut fields = &table().types.get(&resource_type)?.fields[..];
    let mut names = Vec::new();
    for member in pointer.split('/').skip(1).filter(|step| step.parse::<usize>().is_err()) {
        let field = fields.iter().find(|field| field.flat == member)?;
        names.extend(field.place.fhir.0.iter().filter_map(Step::name));
        fields = match &field.place.rule {
            Rule::Object(object) => object.resolved().fields.as_slice(),
            _ => &[],
        };
    }
    (!names.is_empty()).then(|| names.join("."))
}

impl TypeTable {
    /// Whether elements of a group are forms of one choice.
    pub(crate) fn is_choice(&self, group: &str) -> bool {
        self.fields.iter().any(|field| field.choice.as_deref() == Some(group))
    }

    /// Whether a field is read of an element, or of one of its group.
    pub(crate) fn reads(&self, group: &str) -> bool {
        let is_read = |path: &Path| match path.0.first() {
            Some(Step::Element(name) | Step::First(name) | Step::Each(name) | Step::Selected { name, .. }) => {
                name.starts_with(group)
            }
            Some(Step::Extension { .. } | Step::Resolve) | None => false,
        };
        let places = |field: &Field| {
            let others = field.others.iter().any(|other| match other {
                Other::Place(place) => is_read(&place.fhir),
                Other::Value { .. } => false,
            });
            is_read(&field.place.fhir) || others
        };
        // Members may be read of these whatever the fields are.
        matches!(group, "extension" | "contained") || self.fields.iter().any(places)
    }
}

#[cfg(test)]
mod tests;
