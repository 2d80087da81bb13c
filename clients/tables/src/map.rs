//! Map files: what becomes of each column, and which fields are made of several, or of none. What a map says of a type
//! is checked in `columns`.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use encoding_rs::Encoding;
use records::ResourceType;
use serde::Deserialize;
use sources::{encoding, unusable};
use toml::Spanned;

mod read;

use read::parse;

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
    /// What stands in it, for the lines of messages.
    text: Rc<str>,
    pub(super) settings: Settings,
    /// By the header's text.
    pub(super) columns: BTreeMap<String, Spanned<Rules>>,
    /// By the field's path.
    pub(super) fields: BTreeMap<String, Spanned<FieldRule>>,
}

/// Which settings of a map do something in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    pub(super) zone: bool,
    pub(super) numbers: bool,
}

/// What is said of a whole file. What stands before all types is for all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The names of the files that the map is for; all unless given.
    pub files: Option<Vec<String>>,
    pub encoding: Option<Spanned<String>>,
    /// Lines before the header.
    pub skip: Option<u64>,
    pub timezone: Option<Spanned<String>>,
    /// Whether it is said of this type alone.
    pub is_own_timezone: bool,
    pub trim: Option<bool>,
    pub nulls: Option<Spanned<Vec<String>>>,
    /// Where the notation of numbers is said: of this type, or else before all.
    pub numbers_at: Option<Spanned<char>>,
    /// Whether that is said of this type alone.
    pub is_own_numbers: bool,
    /// What stands before the decimals of a number.
    pub decimal: Option<Spanned<char>>,
    /// What stands between the thousands of a number.
    pub thousands: Option<Spanned<char>>,
}

/// What becomes of a column: one thing, or several.
#[derive(Debug, Clone)]
pub(super) struct Rules(pub Vec<Rule>);

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

    /// What is said of the maps that none of these files needs, each with the type that it is read as.
    #[must_use]
    pub fn unused(&self, files: &[(ResourceType, &Path)]) -> Vec<String> {
        let needed: Vec<_> = files.iter().filter_map(|(of, path)| self.of(*of, path)).collect();
        let is_unused = |map: &&Map| !needed.iter().any(|used| std::ptr::eq(*used, *map));
        let said = self.maps.iter().filter(is_unused).map(|map| {
            let of = map.resource_type.map_or("any type", ResourceType::as_str);
            match &map.settings.files {
                Some(files) => {
                    format!("{}: the map of {of} is for none of these files: it names {}", map.name, files.join(", "))
                }
                None => format!("{}: the map of {of} is for none of these files", map.name),
            }
        });
        said.collect()
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
        let Some(said) = &self.settings.encoding else { return Ok(None) };
        encoding(said.get_ref()).map(Some).map_err(|error| unusable(self.wrong(said, &error.to_string())))
    }

    /// An error for a setting that does nothing in any of the files that are read by the map. What is said for all types, or by a
    /// map for any, may be for others.
    pub fn check_effects(&self, files: &[Effects]) -> Result<()> {
        let does_nothing = |has: fn(&Effects) -> bool| self.resource_type.is_some() && !files.iter().any(has);
        let Settings { timezone, is_own_timezone, numbers_at, is_own_numbers, .. } = &self.settings;
        if let Some(said) = timezone.as_ref().filter(|_| *is_own_timezone && does_nothing(|file| file.zone)) {
            let problem = "timezone has no effect: no format reads a time of day without an offset";
            return Err(unusable(self.wrong(said, problem)));
        }
        if let Some(said) = numbers_at.as_ref().filter(|_| *is_own_numbers && does_nothing(|file| file.numbers)) {
            let problem = "decimal and thousands have no effect: no column fills a number, or has a when";
            return Err(unusable(self.wrong(said, problem)));
        }
        Ok(())
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

    /// An error of this map, with the line where it says this.
    pub(super) fn wrong<T>(&self, said: &Spanned<T>, problem: &str) -> String {
        let line = 1 + self.text.bytes().take(said.span().start).filter(|byte| *byte == b'\n').count();
        format!("{}, line {line}: {problem}", self.name)
    }
}

fn load_file(path: &Path) -> Result<Vec<Map>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read map file {}", path.display()))?;
    let name = path.display().to_string();
    // A map file holds no patients' data: the parser may quote it.
    parse(&text, &name).map_err(|problem| unusable(format!("{name}: {problem}")))
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
        let town = &one[0].columns["Town"];
        assert_eq!(one[0].wrong(town, "no"), "map.toml, line 3: no");
        assert_eq!(town.get_ref().0[0].to.as_ref().unwrap().0, ["address.city"]);
        let two = "nulls = [\"n/a\"]\n[Patient.columns]\nA = \"firstName\"\n[Encounter]\nnulls = [\"-\"]\n[Encounter.fields]\nstatus = \"finished\"\n";
        let two = parse(two, "map.toml").unwrap();
        let nulls = |resource_type: ResourceType| {
            let map = two.iter().find(|map| map.resource_type == Some(resource_type)).unwrap();
            map.settings.nulls.clone().unwrap().into_inner()
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
