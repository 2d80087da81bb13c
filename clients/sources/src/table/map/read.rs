//! A map file as it stands: its forms, and on which line each rule is.

use std::collections::BTreeMap;
use std::fmt;

use records::ResourceType;
use serde::de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{FieldRule, Lined, Map, Rule, Scalar, Settings, Targets};
use crate::names::nearest;

/// The maps of a file.
pub(super) fn parse(text: &str, name: &str) -> Result<Vec<Map>, String> {
    let file: MapFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let map = |resource_type, section: Section, of_all: &RawSettings| Map {
        resource_type,
        name: name.to_owned(),
        settings: section.settings().or(of_all, line),
        columns: lined(section.columns, line, |Rules(rules)| rules),
        fields: lined(section.fields, line, |Field(rule)| rule),
    };
    let MapFile { resource_type, own, types } = file;
    if types.is_empty() {
        return Ok(vec![map(resource_type, own, &RawSettings::default())]);
    }
    if resource_type.is_some() || !own.columns.is_empty() || !own.fields.is_empty() || own.files.is_some() {
        return Err(
            "type, files, [columns] and [fields] are for a map of one type, and this one has a part for each type"
                .to_owned(),
        );
    }
    let of_all = own.settings();
    Ok(types.into_iter().map(|(resource_type, section)| map(Some(resource_type), section, &of_all)).collect())
}

fn lined<T, U>(
    rules: BTreeMap<String, Spanned<T>>,
    line: impl Fn(usize) -> usize,
    of: impl Fn(T) -> U,
) -> BTreeMap<String, Lined<U>> {
    let rules = rules.into_iter().map(|(name, rule)| {
        let line = line(rule.span().start);
        (name, Lined { line, of: of(rule.into_inner()) })
    });
    rules.collect()
}

/// What may stand before all types.
const SETTINGS: [&str; 11] =
    ["type", "files", "encoding", "skip", "timezone", "trim", "nulls", "decimal", "thousands", "columns", "fields"];

/// What a file holds: one map, or one for each type.
#[derive(Default)]
struct MapFile {
    resource_type: Option<ResourceType>,
    own: Section,
    types: BTreeMap<ResourceType, Section>,
}

/// What is said of a type.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map, with [columns] and [fields]")]
struct Section {
    files: Option<Vec<String>>,
    encoding: Option<Spanned<String>>,
    skip: Option<u64>,
    timezone: Option<Spanned<String>>,
    trim: Option<bool>,
    nulls: Option<Spanned<Vec<String>>>,
    decimal: Option<Spanned<char>>,
    thousands: Option<Spanned<char>>,
    #[serde(default)]
    columns: BTreeMap<String, Spanned<Rules>>,
    #[serde(default)]
    fields: BTreeMap<String, Spanned<Field>>,
}

/// The settings of a part, as they stand.
#[derive(Default)]
struct RawSettings {
    files: Option<Vec<String>>,
    encoding: Option<Spanned<String>>,
    skip: Option<u64>,
    timezone: Option<Spanned<String>>,
    trim: Option<bool>,
    nulls: Option<Spanned<Vec<String>>>,
    decimal: Option<Spanned<char>>,
    thousands: Option<Spanned<char>>,
}

impl Section {
    fn settings(&self) -> RawSettings {
        RawSettings {
            files: self.files.clone(),
            encoding: self.encoding.clone(),
            skip: self.skip,
            timezone: self.timezone.clone(),
            trim: self.trim,
            nulls: self.nulls.clone(),
            decimal: self.decimal.clone(),
            thousands: self.thousands.clone(),
        }
    }
}

impl RawSettings {
    /// These, and for those that are not said the others.
    fn or(self, others: &Self, line: impl Fn(usize) -> usize) -> Settings {
        /// What is said, with its line.
        fn lined<T: Clone>(
            line: &impl Fn(usize) -> usize,
            own: Option<Spanned<T>>,
            other: Option<&Spanned<T>>,
        ) -> Option<Lined<T>> {
            let said = own.or_else(|| other.cloned())?;
            Some(Lined { line: line(said.span().start), of: said.into_inner() })
        }
        let value = |own: &Option<Spanned<char>>, other: &Option<Spanned<char>>| {
            own.as_ref().or(other.as_ref()).map(|said| *said.get_ref())
        };
        let own_numbers = self.decimal.as_ref().or(self.thousands.as_ref()).map(|said| line(said.span().start));
        Settings {
            files: self.files,
            encoding: lined(&line, self.encoding, others.encoding.as_ref()),
            skip: self.skip.or(others.skip),
            is_own_timezone: self.timezone.is_some(),
            timezone: lined(&line, self.timezone, others.timezone.as_ref()),
            trim: self.trim.or(others.trim),
            nulls: lined(&line, self.nulls, others.nulls.as_ref()),
            own_numbers,
            decimal: value(&self.decimal, &others.decimal),
            thousands: value(&self.thousands, &others.thousands),
        }
    }
}

struct Rules(Vec<Rule>);

struct Field(FieldRule);

impl<'de> Deserialize<'de> for MapFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = MapFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map file as `clinik-bulk validate --help` shows it")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<MapFile, A::Error> {
                let mut file = MapFile::default();
                while let Some(name) = members.next_key::<String>()? {
                    match name.as_str() {
                        "type" => file.resource_type = Some(members.next_value()?),
                        "files" => file.own.files = Some(members.next_value()?),
                        "encoding" => file.own.encoding = Some(members.next_value()?),
                        "skip" => file.own.skip = Some(members.next_value()?),
                        "timezone" => file.own.timezone = Some(members.next_value()?),
                        "trim" => file.own.trim = Some(members.next_value()?),
                        "nulls" => file.own.nulls = Some(members.next_value()?),
                        "decimal" => file.own.decimal = Some(members.next_value()?),
                        "thousands" => file.own.thousands = Some(members.next_value()?),
                        "columns" => file.own.columns = members.next_value()?,
                        "fields" => file.own.fields = members.next_value()?,
                        _ => match name.parse() {
                            Ok(resource_type) => {
                                file.types.insert(resource_type, members.next_value()?);
                            }
                            Err(_) => {
                                let settings = SETTINGS;
                                let known =
                                    settings.into_iter().chain(ResourceType::ALL.iter().map(|known| known.as_str()));
                                let hint = nearest(&name, known).map(|near| format!("; did you mean {near}?"));
                                return Err(A::Error::custom(format!(
                                    "{name} is neither a setting of a map nor a resource type{}",
                                    hint.unwrap_or_default()
                                )));
                            }
                        },
                    }
                }
                Ok(file)
            }
        }
        deserializer.deserialize_map(Whole)
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Rules;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field, as \"address.city\", or what becomes of the column, as { to = \"birthDate\", format = \"%m/%d/%Y\" }")
            }

            fn visit_str<E: Error>(self, field: &str) -> Result<Rules, E> {
                let to = Some(Targets(vec![field.to_owned()]));
                Ok(Rules(vec![Rule { to, ..Rule::default() }]))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Rules, A::Error> {
                Ok(Rules(vec![Rule::deserialize(MapAccessDeserializer::new(members))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Rules, A::Error> {
                let mut rules = Vec::new();
                while let Some(rule) = items.next_element()? {
                    rules.push(rule);
                }
                if rules.is_empty() { Err(A::Error::custom("an empty list says nothing")) } else { Ok(Rules(rules)) }
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Targets;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field, as \"birthDate\", or several, as [\"lastName\", \"firstName\"]")
            }

            fn visit_str<E: Error>(self, field: &str) -> Result<Targets, E> {
                Ok(Targets(vec![field.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Targets, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = items.next_element()? {
                    fields.push(field);
                }
                if fields.is_empty() {
                    Err(A::Error::custom("an empty list names no field"))
                } else {
                    Ok(Targets(fields))
                }
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl Visitor<'_> for Forms {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value, as \"female\", true or 5")
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Field;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a constant, or columns, as { join = [\"DAY\", \"TIME\"], with = \" \" }")
            }

            fn visit_str<E: Error>(self, constant: &str) -> Result<Field, E> {
                Ok(Field(FieldRule::Constant(constant.to_owned())))
            }

            fn visit_bool<E: Error>(self, constant: bool) -> Result<Field, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_i64<E: Error>(self, constant: i64) -> Result<Field, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_f64<E: Error>(self, constant: f64) -> Result<Field, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Field, A::Error> {
                Ok(Field(FieldRule::Made(Box::new(Rule::deserialize(MapAccessDeserializer::new(members))?))))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
