//! A map file as it stands: its forms, and where in it each rule is.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use records::ResourceType;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sources::nearest;
use toml::Spanned;

use super::{FieldRule, Map, Rule, Rules, Scalar, Settings, Targets};

/// The maps of a file.
pub(super) fn parse(text: &str, name: &str) -> Result<Vec<Map>, String> {
    let file: MapFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let whole: Rc<str> = text.into();
    let map = |resource_type, section: Section, of_all: &Settings| Map {
        resource_type,
        name: name.to_owned(),
        text: whole.clone(),
        settings: section.settings.or(of_all),
        columns: section.columns,
        fields: section.fields,
    };
    let MapFile { resource_type, own, types } = file;
    if types.is_empty() {
        return Ok(vec![map(resource_type, own, &Settings::default())]);
    }
    if resource_type.is_some() || !own.columns.is_empty() || !own.fields.is_empty() || own.settings.files.is_some() {
        return Err(
            "type, files, [columns] and [fields] are for a map of one type, and this one has a part for each type"
                .to_owned(),
        );
    }
    let of_all = own.settings;
    Ok(types.into_iter().map(|(resource_type, section)| map(Some(resource_type), section, &of_all)).collect())
}

/// What may be said of a type, and before all types.
const SETTINGS: [&str; 10] =
    ["files", "encoding", "skip", "timezone", "trim", "nulls", "decimal", "thousands", "columns", "fields"];

/// What a file holds: one map, or one for each type.
#[derive(Default)]
struct MapFile {
    resource_type: Option<ResourceType>,
    own: Section,
    types: BTreeMap<ResourceType, Section>,
}

/// What is said of a type.
#[derive(Default)]
struct Section {
    settings: Settings,
    columns: BTreeMap<String, Spanned<Rules>>,
    fields: BTreeMap<String, Spanned<FieldRule>>,
}

impl Section {
    /// Reads a member of this name, if it has one.
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<bool, A::Error> {
        let settings = &mut self.settings;
        match name {
            "files" => settings.files = Some(members.next_value()?),
            "encoding" => settings.encoding = Some(members.next_value()?),
            "skip" => settings.skip = Some(members.next_value()?),
            "timezone" => settings.timezone = Some(members.next_value()?),
            "trim" => settings.trim = Some(members.next_value()?),
            "nulls" => settings.nulls = Some(members.next_value()?),
            "decimal" => settings.decimal = Some(members.next_value()?),
            "thousands" => settings.thousands = Some(members.next_value()?),
            "columns" => self.columns = members.next_value()?,
            "fields" => self.fields = members.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// An error for a name that is none of these, and what was meant.
fn unknown<E: Error>(name: &str, what: &str, known: impl Iterator<Item = &'static str>) -> E {
    let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    E::custom(format!("{name} is {what}{hint}"))
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Part;
        impl<'de> Visitor<'de> for Part {
            type Value = Section;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map, with [columns] and [fields]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Section, A::Error> {
                let mut section = Section::default();
                while let Some(name) = members.next_key::<String>()? {
                    if !section.member(&name, &mut members)? {
                        return Err(unknown(&name, "no setting of a map", SETTINGS.into_iter()));
                    }
                }
                Ok(section)
            }
        }
        deserializer.deserialize_map(Part)
    }
}

impl Settings {
    /// These, and for those that are not said the others.
    fn or(self, others: &Self) -> Self {
        let numbers_at = |one: &Self| one.decimal.clone().or_else(|| one.thousands.clone());
        let own_numbers = numbers_at(&self);
        Self {
            files: self.files,
            encoding: self.encoding.or_else(|| others.encoding.clone()),
            skip: self.skip.or(others.skip),
            is_own_timezone: self.timezone.is_some(),
            timezone: self.timezone.or_else(|| others.timezone.clone()),
            trim: self.trim.or(others.trim),
            nulls: self.nulls.or_else(|| others.nulls.clone()),
            is_own_numbers: own_numbers.is_some(),
            numbers_at: own_numbers.or_else(|| numbers_at(others)),
            decimal: self.decimal.or_else(|| others.decimal.clone()),
            thousands: self.thousands.or_else(|| others.thousands.clone()),
        }
    }
}

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
                    if name == "type" {
                        file.resource_type = Some(members.next_value()?);
                    } else if let Ok(resource_type) = name.parse() {
                        file.types.insert(resource_type, members.next_value()?);
                    } else if !file.own.member(&name, &mut members)? {
                        let types = ResourceType::ALL.iter().map(|known| known.as_str());
                        let known = SETTINGS.into_iter().chain(["type"]).chain(types);
                        return Err(unknown(&name, "neither a setting of a map nor a resource type", known));
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

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Rules, A::Error> {
                let rules = Vec::<Rule>::deserialize(SeqAccessDeserializer::new(items))?;
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

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Targets, A::Error> {
                let fields = Vec::<String>::deserialize(SeqAccessDeserializer::new(items))?;
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

impl<'de> Deserialize<'de> for FieldRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = FieldRule;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a constant, or columns, as { join = [\"DAY\", \"TIME\"], with = \" \" }")
            }

            fn visit_str<E: Error>(self, constant: &str) -> Result<FieldRule, E> {
                Ok(FieldRule::Constant(constant.to_owned()))
            }

            fn visit_bool<E: Error>(self, constant: bool) -> Result<FieldRule, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_i64<E: Error>(self, constant: i64) -> Result<FieldRule, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_f64<E: Error>(self, constant: f64) -> Result<FieldRule, E> {
                self.visit_str(&constant.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<FieldRule, A::Error> {
                Ok(FieldRule::Made(Box::new(Rule::deserialize(MapAccessDeserializer::new(members))?)))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
