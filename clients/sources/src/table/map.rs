//! Map files: what becomes of each column, and which fields are made of several, or of none. What a map says of a type
//! is checked in `columns`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use encoding_rs::Encoding;
use records::ResourceType;
use serde::de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::format::encoding;
use crate::names::nearest;
use crate::unusable::unusable;

/// The maps of an import: one, or one for each type.
#[derive(Debug, Clone, Default)]
pub struct Maps {
    maps: Vec<Map>,
}

/// How the rows of a file become records of a type.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// `None` for a map that fits any type.
    resource_type: Option<ResourceType>,
    /// The file, for messages.
    name: String,
    pub(super) settings: Settings,
    /// By the header's text; each with its line.
    pub(super) columns: BTreeMap<String, Lined<Vec<Rule>>>,
    /// By the field's path; each with its line.
    pub(super) fields: BTreeMap<String, Lined<FieldRule>>,
}

/// What is said of a whole file. What stands before all types is for all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The names of the files that the map is for; all unless given.
    pub files: Option<Vec<String>>,
    pub encoding: Option<Lined<String>>,
    /// Lines before the header.
    pub skip: Option<u64>,
    pub timezone: Option<Lined<String>>,
    /// Whether it is said of this type alone.
    pub is_own_timezone: bool,
    pub trim: Option<bool>,
    pub nulls: Option<Vec<String>>,
    /// What stands before the decimals of a number.
    pub decimal: Option<char>,
    /// What stands between the thousands of a number.
    pub thousands: Option<char>,
}

/// Something that a map says, and on which line.
#[derive(Debug, Clone)]
pub(super) struct Lined<T> {
    pub line: usize,
    pub of: T,
}

/// What becomes of a column, or of several.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "what becomes of a column, as { to = \"birthDate\", format = \"%m/%d/%Y\" }"
)]
pub(super) struct Rule {
    /// The field or fields, as `contact[0].phone`; the header itself unless given.
    pub to: Option<Targets>,
    /// The text is cut at this, and each piece fills one of the fields.
    pub split: Option<String>,
    /// Only cells that are numbers, or only those that are none.
    pub when: Option<When>,
    /// Whether blanks around the text go.
    pub trim: Option<bool>,
    /// Cells that are no value here, besides those that are none anywhere.
    pub nulls: Option<Vec<String>>,
    /// Leave the column out.
    pub drop: Option<bool>,
    /// Of a field: the columns that it is made of, one behind the other.
    pub join: Option<Vec<String>>,
    /// What stands between them; nothing unless given.
    pub with: Option<String>,
    /// Whether there is no value unless each of them has one.
    pub all: Option<bool>,
    /// Of a field: the columns of which the first that has a value fills it.
    pub first_of: Option<Vec<String>>,
    /// Another field: without a value for that one there is none for this one.
    pub only_with: Option<String>,
    /// What stands before the decimals of a number, as ",".
    pub decimal: Option<char>,
    /// What stands between the thousands of a number, as ".".
    pub thousands: Option<char>,
    /// Digits are filled up with zeros to so many.
    pub pad: Option<usize>,
    /// A UUID by version 5 of the text takes its place.
    pub hash: Option<bool>,
    /// Goes before the text.
    pub prefix: Option<String>,
    /// How a date is written, as `%m/%d/%Y`.
    pub format: Option<String>,
    /// Several ways, of which the first that fits is taken.
    pub formats: Option<Vec<String>>,
    /// The century of two-digit years, as 1900.
    pub century: Option<i16>,
    /// Two-digit years from here on are of the last century, those below of this one.
    pub pivot: Option<u8>,
    /// What each text stands for. Any other is an error.
    pub values: Option<BTreeMap<String, Scalar>>,
    /// What any other text stands for; "" is no value.
    pub otherwise: Option<Scalar>,
    /// Whether upper and lower case are the same for `values`.
    pub ignore_case: Option<bool>,
}

/// One field, or several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Targets(pub Vec<String>);

/// A value that a map names: `true` and `5` are what `"true"` and `"5"` are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar(pub String);

/// Which cells a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    Number,
    Text,
}

/// What fills a field that is not of one column.
#[derive(Debug, Clone)]
pub(super) enum FieldRule {
    /// The same in every record.
    Constant(String),
    /// Made of several columns.
    Made(Box<Rule>),
}

impl Maps {
    /// Reads a map file, or all in a folder.
    pub fn load(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Ok(Self { maps: load_file(path)? });
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        let mut maps: Vec<Map> = Vec::new();
        for file in &paths {
            for map in load_file(file)? {
                let Some(resource_type) = map.resource_type else {
                    return Err(unusable(format!(
                        "{}: type is missing: in a folder each map names its own",
                        file.display()
                    )));
                };
                if let Some(other) = maps.iter().find(|other| other.overlaps(&map)) {
                    let (one, other) = (file.display(), &other.name);
                    return Err(unusable(format!(
                        "{one} and {other} are both for {resource_type}: say with files = [\"…\"] which files each is for"
                    )));
                }
                maps.push(map);
            }
        }
        if maps.is_empty() {
            return Err(unusable(format!("{} holds no maps (files as Patient.toml)", path.display())));
        }
        Ok(Self { maps })
    }

    /// The map for a file with records of a type; `None` where there is one for others only. One that names its files comes
    /// first.
    #[must_use]
    pub fn of(&self, resource_type: ResourceType, path: &Path) -> Option<&Map> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_type = || self.maps.iter().filter(|map| map.resource_type.is_none_or(|mapped| mapped == resource_type));
        let names_it =
            |map: &&Map| map.settings.files.as_ref().is_some_and(|files| files.iter().any(|file| *file == name));
        of_type().find(names_it).or_else(|| of_type().find(|map| map.settings.files.is_none()))
    }

    /// The types that there are maps for.
    pub fn types(&self) -> impl Iterator<Item = ResourceType> {
        self.maps.iter().filter_map(|map| map.resource_type)
    }
}

impl Rule {
    /// Whether it says nothing but that the column is left out.
    pub(super) fn is_only_drop(&self) -> bool {
        *self == Self { drop: Some(true), ..Self::default() }
    }
}

impl Map {
    /// The encoding of its files, where it says one.
    pub fn encoding(&self) -> Result<Option<&'static Encoding>> {
        let Some(Lined { line, of }) = &self.settings.encoding else { return Ok(None) };
        encoding(of).map(Some).map_err(|error| unusable(self.wrong(*line, &error.to_string())))
    }

    /// Whether one file may be meant by both.
    fn overlaps(&self, other: &Self) -> bool {
        self.resource_type == other.resource_type
            && match (&self.settings.files, &other.settings.files) {
                (Some(these), Some(those)) => these.iter().any(|file| those.contains(file)),
                (None, None) => true,
                _ => false,
            }
    }

    /// An error of this map.
    pub(super) fn wrong(&self, line: usize, problem: &str) -> String {
        format!("{}, line {line}: {problem}", self.name)
    }
}

fn load_file(path: &Path) -> Result<Vec<Map>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read map file {}", path.display()))?;
    let name = path.display().to_string();
    // A map file holds no patients' data: the parser may quote it.
    parse(&text, &name).map_err(|problem| unusable(format!("{name}: {problem}")))
}

fn parse(text: &str, name: &str) -> Result<Vec<Map>, String> {
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
    nulls: Option<Vec<String>>,
    decimal: Option<char>,
    thousands: Option<char>,
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
    nulls: Option<Vec<String>>,
    decimal: Option<char>,
    thousands: Option<char>,
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
            decimal: self.decimal,
            thousands: self.thousands,
        }
    }
}

impl RawSettings {
    /// These, and for those that are not said the others.
    fn or(self, others: &Self, line: impl Fn(usize) -> usize) -> Settings {
        let lined = |own: Option<Spanned<String>>, other: &Option<Spanned<String>>| {
            let said = own.or_else(|| other.clone())?;
            Some(Lined { line: line(said.span().start), of: said.into_inner() })
        };
        Settings {
            files: self.files,
            encoding: lined(self.encoding, &others.encoding),
            skip: self.skip.or(others.skip),
            is_own_timezone: self.timezone.is_some(),
            timezone: lined(self.timezone, &others.timezone),
            trim: self.trim.or(others.trim),
            nulls: self.nulls.or_else(|| others.nulls.clone()),
            decimal: self.decimal.or(others.decimal),
            thousands: self.thousands.or(others.thousands),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text, "map.toml").unwrap_err()
    }

    #[test]
    fn a_file_holds_a_map_or_one_for_each_type() {
        let one = parse("type = \"Patient\"\n[columns]\n\"Town\" = \"address.city\"\n", "map.toml").unwrap();
        assert_eq!(one[0].columns["Town"].line, 3);
        assert_eq!(one[0].columns["Town"].of[0].to.as_ref().unwrap().0, ["address.city"]);
        let two = "nulls = [\"n/a\"]\n[Patient.columns]\nA = \"firstName\"\n[Encounter]\nnulls = [\"-\"]\n[Encounter.fields]\nstatus = \"finished\"\n";
        let two = parse(two, "map.toml").unwrap();
        let nulls = |resource_type: ResourceType| {
            two.iter().find(|map| map.resource_type == Some(resource_type)).unwrap().settings.nulls.clone().unwrap()
        };
        assert_eq!(
            (nulls(ResourceType::Patient)[0].as_str(), nulls(ResourceType::Encounter)[0].as_str()),
            ("n/a", "-")
        );
        assert!(wrong("[columns]\nA = \"b\"\n[Patient]\n").contains("for each type"));
    }

    #[test]
    fn what_a_map_does_not_know_is_an_error_with_its_line() {
        for (text, expected) in [
            ("timezne = \"UTC\"", "did you mean timezone?"),
            ("[Pateint]", "did you mean Patient?"),
            ("[columns]\nA = { two = \"b\" }", "two"),
            ("[columns]\nA = 7", "a field"),
            ("[columns]\nA = { to = [] }", "no field"),
            ("[columns]\nA = []", "says nothing"),
            ("[fields]\nstatus = [1]", "a constant"),
            ("[columns]\nA = { when = \"date\", to = \"b\" }", "number"),
        ] {
            let said = wrong(text);
            assert!(said.contains(expected) && said.contains("line "), "{text}: {said}");
        }
    }
}
