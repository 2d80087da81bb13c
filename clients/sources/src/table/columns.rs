//! Which member each column fills.

use records::{Member, NumberKind, Schema, Shape};

use super::dates::DateFormat;
use super::map::{Map, Rule};
use crate::format::UnknownColumns;
use crate::names::nearest;

/// The most items that a column may name in an array.
const MAX_INDEX: usize = 999;

/// What a cell's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number(NumberKind),
    Boolean,
}

/// A column that fills a member.
#[derive(Debug)]
pub(super) struct Column {
    pub header: String,
    /// Where it stands in the file, from 0.
    pub at: usize,
    pub path: Vec<Step>,
    pub kind: Kind,
    pub prefix: Option<String>,
    pub format: Option<DateFormat>,
    pub values: Option<Vec<(String, String)>>,
}

/// One step of a path into a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Item(usize),
}

/// The columns of a file, and what its header has to say.
#[derive(Debug)]
pub(super) struct Columns {
    pub columns: Vec<Column>,
    /// All headers, by position.
    pub headers: Vec<String>,
}

impl Columns {
    /// Assigns the headers of a file to members of the type.
    pub(super) fn assign(
        schema: &Schema,
        headers: Vec<String>,
        map: &Map,
        unknown: UnknownColumns,
    ) -> Result<Self, String> {
        check_headers(&headers, map)?;
        let mut columns = Vec::new();
        let mut strangers = Vec::new();
        for (at, header) in headers.iter().enumerate() {
            let rule = map.columns.get(header).cloned().unwrap_or_default();
            if rule.drop {
                continue;
            }
            let to = rule.to.clone().unwrap_or_else(|| header.clone());
            let column = match resolve(schema, &to) {
                Ok((path, leaf)) => column(header, at, path, leaf, rule)?,
                Err(NoMember::Unknown) => match unknown {
                    UnknownColumns::Drop => continue,
                    UnknownColumns::Keep if rule.to.is_none() => {
                        column(header, at, vec![Step::Member(to)], Leaf::TEXT, rule)?
                    }
                    _ => {
                        strangers.push(unknown_column(schema, header, &to));
                        continue;
                    }
                },
                Err(NoMember::Because(reason)) => return Err(format!("column \"{header}\": {reason}")),
            };
            columns.push(column);
        }
        if !strangers.is_empty() {
            strangers
                .push("map or drop them in a map file (see validate --help), or use --unknown keep or drop".to_owned());
            return Err(strangers.join("; "));
        }
        check_required(schema, &columns)?;
        Ok(Self { columns, headers })
    }
}

fn check_headers(headers: &[String], map: &Map) -> Result<(), String> {
    for (at, header) in headers.iter().enumerate() {
        if header.is_empty() {
            return Err(format!("column {} has no header", at + 1));
        }
        if headers.iter().take(at).any(|earlier| earlier == header) {
            return Err(format!("column \"{header}\" is there twice"));
        }
    }
    let Some(name) = map.columns.keys().find(|name| !headers.contains(name)) else { return Ok(()) };
    let near = nearest(name, headers.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    Err(format!("the map's column \"{name}\" is not in the file{hint}"))
}

/// A required member without a column would reject every row.
fn check_required(schema: &Schema, columns: &[Column]) -> Result<(), String> {
    let fills = |name: &str| {
        columns.iter().any(|column| matches!(column.path.first(), Some(Step::Member(first)) if first == name))
    };
    match schema.members().find(|member| member.is_required() && !fills(member.name())) {
        Some(member) => Err(format!("no column fills {}, which every record needs", member.name())),
        None => Ok(()),
    }
}

/// The shape of a member that a cell can fill.
#[derive(Clone, Copy)]
struct Leaf {
    kind: Kind,
    format: Option<&'static str>,
}

impl Leaf {
    const TEXT: Self = Self { kind: Kind::Text, format: None };
}

enum NoMember {
    Unknown,
    Because(String),
}

fn column(header: &str, at: usize, path: Vec<Step>, leaf: Leaf, rule: Rule) -> Result<Column, String> {
    let format = rule.format.map(|format| DateFormat::parse(&format, leaf.format)).transpose();
    let format = format.map_err(|reason| format!("column \"{header}\": {reason}"))?;
    if rule.prefix.is_some() && leaf.kind != Kind::Text {
        return Err(format!("column \"{header}\": prefix is for text"));
    }
    let values = rule.values.map(|values| values.into_iter().collect());
    Ok(Column { header: header.to_owned(), at, path, kind: leaf.kind, prefix: rule.prefix, format, values })
}

/// The steps of `contact[0].phone`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, mut indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Member(name.to_owned()));
        while !indices.is_empty() {
            let (index, rest) = indices.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Item(index.parse().ok().filter(|index| *index <= MAX_INDEX)?));
            indices = rest;
        }
    }
    Some(steps)
}

/// The member at a path, as far as a cell can fill it.
fn resolve(schema: &Schema, to: &str) -> Result<(Vec<Step>, Leaf), NoMember> {
    if matches!(to, "id" | "resourceType") {
        return Ok((vec![Step::Member(to.to_owned())], Leaf::TEXT));
    }
    let path = steps(to).ok_or(NoMember::Unknown)?;
    let mut shape: Option<Shape<'_>> = None;
    for step in &path {
        let next = match (step, shape) {
            (Step::Member(name), None) => schema.members().find(|member| member.name() == name).map(Member::shape),
            (Step::Member(name), Some(shape)) => {
                if shape.items().is_some() && !shape.is_string() {
                    return Err(NoMember::Because(format!(
                        "{to}: an array needs an index, as {}[0]",
                        before(to, name)
                    )));
                }
                let mut members = shape.members().into_iter().flatten();
                members.find(|member| member.name() == name).map(Member::shape)
            }
            (Step::Item(index), Some(shape)) => {
                if let Some(most) = shape.max_items().filter(|most| index >= most) {
                    return Err(NoMember::Because(format!("{to}: there are at most {most} items, counted from 0")));
                }
                shape.items()
            }
            (Step::Item(_), None) => None,
        };
        shape = Some(next.ok_or(NoMember::Unknown)?);
    }
    let shape = shape.ok_or(NoMember::Unknown)?;
    match leaf(shape) {
        Some(leaf) => Ok((path, leaf)),
        None => Err(NoMember::Because(needs_more(to, shape))),
    }
}

/// The part of a path before a member.
fn before<'a>(path: &'a str, name: &str) -> &'a str {
    path.find(&format!(".{name}")).and_then(|end| path.get(..end)).unwrap_or(path)
}

fn leaf(shape: Shape<'_>) -> Option<Leaf> {
    let kind = if shape.is_string() {
        Kind::Text
    } else if let Some(number) = shape.number() {
        Kind::Number(number)
    } else if shape.is_boolean() {
        Kind::Boolean
    } else {
        return None;
    };
    Some(Leaf { kind, format: shape.format() })
}

fn needs_more(to: &str, shape: Shape<'_>) -> String {
    let mut example = String::new();
    extend(shape, &mut example);
    format!("{to} is an {}: name a part of it, as {to}{example}", shape.expected())
}

/// The way to the first leaf in a shape.
fn extend(shape: Shape<'_>, path: &mut String) {
    if leaf(shape).is_some() {
        return;
    }
    if let Some(items) = shape.items() {
        path.push_str("[0]");
        extend(items, path);
    } else if let Some(member) = shape.members().and_then(|mut members| members.next()) {
        path.push('.');
        path.push_str(member.name());
        extend(member.shape(), path);
    }
}

fn unknown_column(schema: &Schema, header: &str, to: &str) -> String {
    let known = all_columns(schema);
    let hint = match nearest(to, known.iter().map(String::as_str)) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    };
    let subject = if header == to { format!("column \"{header}\"") } else { format!("column \"{header}\": {to}") };
    format!("{subject} is not a field of the type{hint}")
}

/// Every column that a file of the type may have, the required ones first; of arrays the first item.
#[must_use]
pub fn all_columns(schema: &Schema) -> Vec<String> {
    let mut members: Vec<_> = schema.members().collect();
    members.sort_by_key(|member| !member.is_required());
    let mut all = vec!["id".to_owned()];
    for member in members {
        leaves(member.name().to_owned(), member.shape(), &mut all);
    }
    all
}

fn leaves(path: String, shape: Shape<'_>, all: &mut Vec<String>) {
    if leaf(shape).is_some() {
        all.push(path);
    } else if let Some(items) = shape.items() {
        leaves(format!("{path}[0]"), items, all);
    } else {
        for member in shape.members().into_iter().flatten() {
            leaves(format!("{path}.{}", member.name()), member.shape(), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::ResourceType;

    fn assign(headers: &[&str]) -> Result<Columns, String> {
        let schema = ResourceType::Patient.schema().unwrap();
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        Columns::assign(&schema, headers, &Map::default(), UnknownColumns::Error)
    }

    #[test]
    fn every_template_is_accepted() {
        for resource_type in ResourceType::ALL {
            let schema = resource_type.schema().unwrap();
            let headers = all_columns(&schema);
            let assigned = Columns::assign(&schema, headers, &Map::default(), UnknownColumns::Error);
            assert!(assigned.is_ok(), "{resource_type}: {assigned:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_header_is_said() {
        let wrong = |header: &str| assign(&["firstName", "lastName", header]).unwrap_err();
        assert!(wrong("birthdate").contains("did you mean birthDate"), "{}", wrong("birthdate"));
        assert!(wrong("address").contains("address.city"), "{}", wrong("address"));
        assert!(wrong("contact.phone").contains("contact[0]"), "{}", wrong("contact.phone"));
        assert!(wrong("contact[10].phone").contains("at most 10"));
        assert!(wrong("firstName").contains("twice") && wrong("").contains("column 3"));
        assert!(assign(&["firstName"]).unwrap_err().contains("lastName"));
    }
}
