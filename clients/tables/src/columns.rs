//! What fills each field of a record: the columns of a file by its header, as its map says, checked against the type.

use jiff::tz::TimeZone;
use records::Schema;
use toml::Spanned;

use super::VIOLATIONS_COLUMN;
use super::fields::{Kind, Leaf, NoField, Step, no_field};
use super::headers::check_headers;
use super::map::{Map, Settings};
use super::translate::{Numbers, Translation};
use super::unknown::UnknownColumns;

mod assign;

use assign::Assign;

/// One way to fill a field.
#[derive(Debug)]
pub(super) struct Fill {
    /// The column or columns, for messages; none for a constant.
    pub column: Option<String>,
    pub from: Origin,
    pub leaf: Leaf,
    pub translation: Translation,
    /// Whether the map says so; otherwise the column has the field's name.
    pub is_mapped: bool,
    /// Another field, without which there is no value.
    pub only_with: Option<Vec<Step>>,
}

/// Where the text comes from. Columns count from 0.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Column(usize),
    /// One piece of a cell that is cut at a separator, and how many pieces there may be.
    Piece {
        column: usize,
        separator: String,
        at: usize,
        of: usize,
    },
    /// One behind the other; `all`: no text unless each has one.
    Join {
        columns: Vec<usize>,
        with: String,
        all: bool,
    },
    /// The first that has a value.
    FirstOf(Vec<usize>),
    Constant(String),
}

/// What a file's header and its map make of a row.
#[derive(Debug)]
pub(super) struct Columns {
    pub fills: Vec<Fill>,
    /// The headers, by position.
    pub headers: Vec<String>,
    /// Cells that are no value, besides the empty ones.
    pub nulls: Vec<String>,
}

impl Columns {
    /// Assigns the headers of a file to fields of the type.
    pub(super) fn assign(
        schema: &Schema,
        headers: Vec<String>,
        map: &Map,
        unknown: UnknownColumns,
    ) -> Result<Self, String> {
        check_headers(&headers, &|header| map.columns.contains_key(header))?;
        let (zone, numbers) = (zone(map)?, numbers(map)?);
        let mut assign = Assign { schema, headers: &headers, map, zone, numbers, fills: Vec::new() };
        let joined = assign.fields()?;
        let mut strangers = Vec::new();
        for (at, header) in headers.iter().enumerate() {
            if let Some(rules) = map.columns.get(header) {
                assign.column(at, header, rules)?;
                continue;
            }
            if header == VIOLATIONS_COLUMN {
                continue;
            }
            match Leaf::resolve(schema, header) {
                Err(_) if joined.contains(&at) => {}
                Ok(leaf) => assign.plain(at, header, leaf),
                Err(NoField::Because(reason)) => return Err(format!("column \"{header}\": {reason}")),
                Err(NoField::Unknown) => match unknown {
                    UnknownColumns::Drop => {}
                    UnknownColumns::Keep => assign.plain(at, header, Leaf::unknown(header)),
                    UnknownColumns::Error => {
                        strangers.push(format!("column \"{header}\": {}", no_field(schema, header)));
                    }
                },
            }
        }
        if !strangers.is_empty() {
            strangers
                .push("map or drop them in a map file (see validate --help), or use --unknown keep or drop".to_owned());
            return Err(strangers.join("\n  "));
        }
        let fills = assign.fills;
        check_required(schema, &fills)?;
        let nulls = match &map.settings.nulls {
            Some(said) => trimmed(said.get_ref()).map_err(|problem| map.wrong(said, &problem))?,
            None => Vec::new(),
        };
        Ok(Self { fills, headers, nulls })
    }
}

impl Fill {
    /// Whether it matters to it how the file writes numbers.
    pub(super) fn reads_numbers(&self) -> bool {
        let is_read = matches!(self.leaf.kind, Kind::Integer | Kind::Number) || self.translation.when.is_some();
        is_read && self.column.is_some()
    }
}

/// Texts that stand for no value: cells are compared with them without the blanks around.
fn trimmed(nulls: &[String]) -> Result<Vec<String>, String> {
    if nulls.iter().any(|null| null.trim() != null) {
        return Err("nulls has blanks around a text, and cells are compared without".to_owned());
    }
    Ok(nulls.to_vec())
}

/// How the file writes its numbers, where a column says nothing else.
fn numbers(map: &Map) -> Result<Numbers, String> {
    let Settings { decimal, thousands, numbers_at, .. } = &map.settings;
    let char_of = |said: &Spanned<char>| *said.get_ref();
    let numbers = Numbers { decimal: decimal.as_ref().map(char_of), thousands: thousands.as_ref().map(char_of) };
    match numbers_at.as_ref().filter(|_| numbers.contradicts_itself()) {
        Some(said) => Err(map.wrong(said, SAME)),
        None => Ok(numbers),
    }
}

/// What is wrong with a notation of numbers.
const SAME: &str = "decimal and thousands are the same; without decimal it is \".\"";

/// The zone of times that have no offset.
fn zone(map: &Map) -> Result<Option<TimeZone>, String> {
    let Some(name) = &map.settings.timezone else { return Ok(None) };
    match TimeZone::get(name.get_ref()) {
        Ok(zone) if !zone.is_unknown() => Ok(Some(zone)),
        _ => Err(map.wrong(name, &format!("timezone {name} is not known; use names as America/New_York"))),
    }
}

/// A required member without a column would reject every row.
fn check_required(schema: &Schema, fills: &[Fill]) -> Result<(), String> {
    let is_filled = |name: &str| {
        fills.iter().any(|fill| matches!(fill.leaf.path.first(), Some(Step::Member(first)) if first == name))
    };
    match schema.members().iter().find(|member| member.required && !is_filled(&member.name)) {
        Some(member) => Err(format!("no column fills {}, which every record needs", member.name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::all_columns;
    use records::ResourceType;

    fn assign(headers: &[&str]) -> Result<Columns, String> {
        let schema = ResourceType::Patient.schema();
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        Columns::assign(&schema, headers, &Map::default(), UnknownColumns::Error)
    }

    #[test]
    fn every_template_is_accepted() {
        for resource_type in ResourceType::ALL {
            let schema = resource_type.schema();
            let headers = all_columns(&schema);
            let assigned = Columns::assign(&schema, headers, &Map::default(), UnknownColumns::Error);
            assert!(assigned.is_ok(), "{resource_type}: {assigned:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_header_is_said() {
        let wrong = |header: &str| assign(&["firstName", header, "lastName"]).unwrap_err();
        assert!(wrong("birthdate").contains("did you mean birthDate"), "{}", wrong("birthdate"));
        assert!(wrong("address").contains("address.city"), "{}", wrong("address"));
        assert!(wrong("contact.phone").contains("contact[0]"), "{}", wrong("contact.phone"));
        assert!(wrong("contact[10].phone").contains("at most 10"));
        assert!(wrong("firstName").contains("twice") && wrong("").contains("column 2"));
        assert!(assign(&["firstName"]).unwrap_err().contains("lastName"));
    }

    #[test]
    fn a_part_that_is_named_for_an_example_is_a_field() {
        let schema = ResourceType::QuestionnaireResponse.schema();
        let wrong = |header: &str| {
            let headers = ["patientId", header].map(str::to_owned).to_vec();
            Columns::assign(&schema, headers, &Map::default(), UnknownColumns::Error).unwrap_err()
        };
        for header in ["items", "items[0].answer", "items[0].items"] {
            let said = wrong(header);
            let (_, example) = said.rsplit_once("as ").unwrap();
            assert!(Leaf::resolve(&schema, example).is_ok(), "{said}");
        }
        // What stands in it has no members that the type knows.
        assert!(wrong("items[0].items[0].answer").ends_with("no part of it is a field"));
    }
}
