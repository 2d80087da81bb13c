//! Rows into records.

use std::fmt::Write;

use records::{NumberKind, Violation};

use super::columns::{Column, Columns, Kind, Step};
use super::rows::Cells;
use crate::validation::SourceViolation;

/// How rows of a file become records.
pub(super) struct Converter {
    columns: Vec<Column>,
    tree: Node,
    pub headers: Vec<String>,
}

/// A place in the record, and what fills it.
#[derive(Debug)]
enum Node {
    /// The column with this index.
    Leaf(usize),
    Object(Vec<(String, Node)>),
    Array(Vec<(usize, Node)>),
}

impl Converter {
    pub(super) fn new(columns: Columns) -> Result<Self, String> {
        let Columns { columns, headers } = columns;
        let mut tree = Node::Object(Vec::new());
        for (index, column) in columns.iter().enumerate() {
            tree.insert(&column.path, index).map_err(|()| {
                format!("column \"{}\": another column fills the same member, or a part of it", column.header)
            })?;
        }
        tree.sort();
        Ok(Self { columns, tree, headers })
    }

    /// Writes the row as a record, and returns what could not be translated. The text of such a cell stands in the
    /// record as it is, to be fixed there. The cells must be UTF-8.
    pub(super) fn convert(&self, cells: &Cells, record: &mut Vec<u8>) -> Vec<SourceViolation> {
        record.clear();
        let mut violations = Vec::new();
        if !self.write(&self.tree, cells, record, &mut violations) {
            record.extend_from_slice(b"{}");
        }
        violations
    }

    /// A violation with the column that it is about.
    pub(super) fn located(&self, violation: Violation, cells: &Cells) -> SourceViolation {
        let column = self.column_of(&violation.path, cells).map(|column| column.header.clone());
        SourceViolation { column, ..SourceViolation::from(violation) }
    }

    /// Writes a node, if any of its cells holds something.
    fn write(&self, node: &Node, cells: &Cells, out: &mut Vec<u8>, violations: &mut Vec<SourceViolation>) -> bool {
        let start = out.len();
        match node {
            Node::Leaf(index) => {
                let Some(column) = self.columns.get(*index) else { return false };
                let text = std::str::from_utf8(cells.get(column.at)).unwrap_or_default();
                if text.trim().is_empty() {
                    return false;
                }
                if let Some(violation) = column.write(text, out) {
                    violations.push(violation);
                }
                true
            }
            Node::Object(members) => {
                out.push(b'{');
                for (name, member) in members {
                    let before = out.len();
                    if before > start + 1 {
                        out.push(b',');
                    }
                    write_string(name, out);
                    out.push(b':');
                    if !self.write(member, cells, out, violations) {
                        out.truncate(before);
                    }
                }
                end(out, start, b'}')
            }
            Node::Array(items) => {
                out.push(b'[');
                for (_, item) in items {
                    let before = out.len();
                    if before > start + 1 {
                        out.push(b',');
                    }
                    if !self.write(item, cells, out, violations) {
                        out.truncate(before);
                    }
                }
                end(out, start, b']')
            }
        }
    }

    /// The column behind a JSON pointer into the record: items that were empty were left out of it.
    fn column_of(&self, pointer: &str, cells: &Cells) -> Option<&Column> {
        let mut node = &self.tree;
        for step in pointer.split('/').skip(1) {
            node = match node {
                Node::Object(members) => &members.iter().find(|(name, _)| name == step)?.1,
                Node::Array(items) => {
                    let index: usize = step.parse().ok()?;
                    &items.iter().filter(|(_, item)| self.is_filled(item, cells)).nth(index)?.1
                }
                Node::Leaf(_) => break,
            };
        }
        match node {
            Node::Leaf(index) => self.columns.get(*index),
            Node::Object(_) | Node::Array(_) => None,
        }
    }

    fn is_filled(&self, node: &Node, cells: &Cells) -> bool {
        match node {
            Node::Leaf(index) => self
                .columns
                .get(*index)
                .is_some_and(|column| cells.get(column.at).iter().any(|byte| !byte.is_ascii_whitespace())),
            Node::Object(members) => members.iter().any(|(_, member)| self.is_filled(member, cells)),
            Node::Array(items) => items.iter().any(|(_, item)| self.is_filled(item, cells)),
        }
    }
}

/// Closes an object or array; one without content is taken back.
fn end(out: &mut Vec<u8>, start: usize, close: u8) -> bool {
    if out.len() == start + 1 {
        out.truncate(start);
        return false;
    }
    out.push(close);
    true
}

impl Node {
    fn insert(&mut self, path: &[Step], column: usize) -> Result<(), ()> {
        let Some((step, rest)) = path.split_first() else { return Err(()) };
        let child = match (self, step) {
            (Self::Object(members), Step::Member(name)) => match members.iter().position(|(known, _)| known == name) {
                Some(at) => members.get_mut(at).map(|(_, node)| node),
                None => {
                    members.push((name.clone(), Self::empty(rest, column)));
                    return members.last_mut().map_or(Err(()), |(_, node)| node.fill(rest, column));
                }
            },
            (Self::Array(items), Step::Item(index)) => match items.iter().position(|(known, _)| known == index) {
                Some(at) => items.get_mut(at).map(|(_, node)| node),
                None => {
                    items.push((*index, Self::empty(rest, column)));
                    return items.last_mut().map_or(Err(()), |(_, node)| node.fill(rest, column));
                }
            },
            _ => None,
        };
        child.ok_or(())?.insert(rest, column)
    }

    /// A new node for the rest of a path.
    fn empty(rest: &[Step], column: usize) -> Self {
        match rest.first() {
            None => Self::Leaf(column),
            Some(Step::Member(_)) => Self::Object(Vec::new()),
            Some(Step::Item(_)) => Self::Array(Vec::new()),
        }
    }

    fn fill(&mut self, rest: &[Step], column: usize) -> Result<(), ()> {
        if rest.is_empty() { Ok(()) } else { self.insert(rest, column) }
    }

    /// Items come in the order of their indices, whatever the columns' order.
    fn sort(&mut self) {
        match self {
            Self::Leaf(_) => {}
            Self::Object(members) => {
                for (_, member) in members {
                    member.sort();
                }
            }
            Self::Array(items) => {
                items.sort_by_key(|(index, _)| *index);
                for (_, item) in items {
                    item.sort();
                }
            }
        }
    }
}

impl Column {
    /// Writes a cell's value. What cannot be translated is written as text, and returned as a violation.
    fn write(&self, text: &str, out: &mut Vec<u8>) -> Option<SourceViolation> {
        if let Some(values) = &self.values {
            let trimmed = text.trim();
            return match values.iter().find(|(from, _)| from == trimmed) {
                Some((_, to)) => self.write_value(to, out),
                None => {
                    write_string(text, out);
                    let known: Vec<_> = values.iter().map(|(from, _)| from.as_str()).collect();
                    Some(self.violation("unmapped", &format!("Must be one of the map's {}", known.join(", "))))
                }
            };
        }
        if let Some(format) = &self.format {
            return match format.convert(text.trim()) {
                Some(date) => self.write_value(&date, out),
                None => {
                    write_string(text, out);
                    Some(self.violation("format", &format!("Must be a real date as {}", format.as_str())))
                }
            };
        }
        self.write_value(text, out)
    }

    fn write_value(&self, text: &str, out: &mut Vec<u8>) -> Option<SourceViolation> {
        let trimmed = text.trim();
        match self.kind {
            Kind::Text => match &self.prefix {
                Some(prefix) => write_string(&format!("{prefix}{text}"), out),
                None => write_string(text, out),
            },
            Kind::Number(kind) => {
                if !is_json_number(trimmed) {
                    write_string(text, out);
                    let rule = match kind {
                        NumberKind::Integer => "Must be a whole number, as 42",
                        NumberKind::Number => "Must be a number, as 1.5",
                    };
                    return Some(self.violation("type", rule));
                }
                out.extend_from_slice(trimmed.as_bytes());
            }
            Kind::Boolean => {
                let lower = trimmed.to_ascii_lowercase();
                if !matches!(lower.as_str(), "true" | "false") {
                    write_string(text, out);
                    return Some(self.violation("type", "Must be true or false"));
                }
                out.extend_from_slice(lower.as_bytes());
            }
        }
        None
    }

    fn violation(&self, code: &str, rule: &str) -> SourceViolation {
        let (mut path, mut dotted) = (String::new(), String::new());
        for step in &self.path {
            match step {
                Step::Member(name) => {
                    path.push('/');
                    path.push_str(name);
                    let dot = if dotted.is_empty() { "" } else { "." };
                    dotted.push_str(dot);
                    dotted.push_str(name);
                }
                Step::Item(index) => {
                    // Writing to a String cannot fail.
                    let _ = write!(path, "/{index}").and_then(|()| write!(dotted, "[{index}]"));
                }
            }
        }
        SourceViolation {
            code: code.to_owned(),
            path,
            message: format!("{dotted}: {rule}"),
            column: Some(self.header.clone()),
        }
    }
}

/// Whether the text is a number as JSON writes it: `007`, `1,5` and `+1` are none.
fn is_json_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Writes a JSON string.
fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a string always serialises.
    let _ = serde_json::to_writer(out, text);
}
