//! Rows into records.

use std::fmt::Write;

use records::Violation;
use sources::{Doubt, SourceViolation};

use super::columns::{Columns, Fill, Origin};
use super::fields::{Step, dotted};
use super::map::{Effects, When};
use super::rows::Cells;
use super::translate::{Numbers, Outcome, Translation, looks_like_number, write_string, write_value};
use super::tree::Node;

/// How rows of a file become records.
pub(super) struct Converter {
    fills: Vec<Fill>,
    tree: Node,
    pub headers: Vec<String>,
    nulls: Vec<String>,
    /// What each fill made of the row in hand.
    texts: Vec<Filled>,
    /// Fills that have no value without others: each with these.
    needed: Vec<(usize, Vec<usize>)>,
    /// Fields of the row in hand with texts that are no errors and can hardly be meant.
    pub doubts: Vec<(String, Doubt)>,
}

/// What a fill made of a row. The text's memory is used again for the next one.
#[derive(Debug, Default)]
struct Filled {
    text: String,
    state: State,
    /// How the text writes numbers: a value of the map as JSON does, a cell as its file.
    numbers: Numbers,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Valid,
    /// The text is as it stands in the file.
    Refused,
}

impl Converter {
    pub(super) fn new(columns: Columns) -> Result<Self, String> {
        let Columns { fills, headers, nulls } = columns;
        let mut tree = Node::Parts(Vec::new());
        for (index, fill) in fills.iter().enumerate() {
            tree.insert(&fill.leaf.path, index).map_err(|()| {
                let column = fill.column.as_deref().unwrap_or("a constant");
                format!("column \"{column}\": another column fills {}, or a part of it", dotted(&fill.leaf.path))
            })?;
        }
        check_shared(&tree, &fills)?;
        tree.sort();
        let texts = fills.iter().map(|_| Filled::default()).collect();
        let mut needed = Vec::new();
        for (at, fill) in fills.iter().enumerate() {
            let Some(path) = &fill.only_with else { continue };
            let others = fills.iter().enumerate().filter(|(_, other)| other.leaf.path == *path);
            let others: Vec<_> = others.map(|(at, _)| at).collect();
            if others.is_empty() {
                return Err(format!("onlyWith: nothing fills {}", dotted(path)));
            }
            needed.push((at, others));
        }
        Ok(Self { fills, tree, headers, nulls, texts, needed, doubts: Vec::new() })
    }

    /// Which settings of the map do something here.
    pub(super) fn effects(&self) -> Effects {
        let zone = self.fills.iter().any(|fill| fill.translation.uses_zone());
        Effects { zone, numbers: self.fills.iter().any(Fill::reads_numbers) }
    }

    /// Writes the row as a record, and returns what could not be translated. The text of such a cell stands in the
    /// record as it is, to be fixed there. The cells must be UTF-8.
    pub(super) fn convert(&mut self, cells: &Cells, record: &mut Vec<u8>) -> Vec<SourceViolation> {
        record.clear();
        self.doubts.clear();
        let mut violations = Vec::new();
        let mut joined = String::new();
        for (fill, filled) in self.fills.iter().zip(&mut self.texts) {
            let outcome = match fill.text(cells, &self.nulls, &mut joined) {
                // The map's own value: no cell says that it is none.
                Ok(text) if fill.column.is_none() => {
                    text.clone_into(&mut filled.text);
                    Outcome::Filled(Numbers::default())
                }
                Ok(text) => fill.translation.translate(text, &self.nulls, &mut filled.text),
                Err((whole, rule)) => {
                    whole.clone_into(&mut filled.text);
                    Outcome::Refused("split", rule)
                }
            };
            filled.state = match outcome {
                Outcome::Refused(code, rule) => {
                    violations.push(fill.violation(code, &rule));
                    State::Refused
                }
                Outcome::Filled(numbers) => {
                    filled.numbers = numbers;
                    let Translation { when, dates, .. } = &fill.translation;
                    // What was read as a date has only digits and hyphens, too.
                    if *when == Some(When::Text) && dates.is_none() && looks_like_number(filled.text.trim()) {
                        self.doubts.push((dotted(&fill.leaf.path), Doubt::NumberAsText));
                    }
                    State::Valid
                }
                Outcome::Empty => State::Empty,
            };
        }
        // A value that goes may be the one that a column before it needs.
        loop {
            let is_there = |at: &usize| self.texts.get(*at).is_some_and(|filled| filled.state != State::Empty);
            let is_alone = |(at, others): &&(usize, Vec<usize>)| is_there(at) && !others.iter().any(is_there);
            let Some((at, _)) = self.needed.iter().find(is_alone) else { break };
            if let Some(filled) = self.texts.get_mut(*at) {
                filled.state = State::Empty;
            }
        }
        if !self.write(&self.tree, record, &mut violations) {
            record.extend_from_slice(b"{}");
        }
        violations
    }

    /// A violation with the column that it is about, in the row in hand.
    pub(super) fn located(&self, violation: Violation) -> SourceViolation {
        let fill = self.fill_of(&violation.path);
        let column = fill.and_then(|fill| fill.column.clone());
        let mut violation = SourceViolation { column, ..SourceViolation::from(violation) };
        let is_unread = |fill: &Fill| {
            matches!(fill.leaf.format, Some("date" | "date-time" | "time")) && fill.translation.dates.is_none()
        };
        if violation.code == "format" && fill.is_some_and(is_unread) {
            violation.message.push_str("; a map's format says how the column writes it");
        }
        violation
    }

    /// The fills of a leaf that have a value.
    fn filled<'a>(&'a self, fills: &'a [usize]) -> impl Iterator<Item = (&'a Fill, &'a Filled)> {
        let of = |index: &usize| self.fills.get(*index).zip(self.texts.get(*index));
        fills.iter().filter_map(of).filter(|(_, filled)| filled.state != State::Empty)
    }

    /// Writes a node, if any of its fills has a value. Constants make no element by themselves that has other parts.
    fn write(&self, node: &Node, out: &mut Vec<u8>, violations: &mut Vec<SourceViolation>) -> bool {
        let start = out.len();
        if !std::ptr::eq(node, &raw const self.tree) && !self.is_filled(node) {
            return false;
        }
        match node {
            Node::Leaf(fills) => {
                let mut filled = self.filled(fills);
                let Some((fill, first)) = filled.next() else { return false };
                if let Some((other, _)) = filled.next() {
                    let name = |fill: &Fill| {
                        fill.column.as_ref().map_or("a constant".to_owned(), |name| format!("\"{name}\""))
                    };
                    let rule = format!("Must be filled once, and {} and {} both have a value", name(fill), name(other));
                    violations.push(fill.violation("conflict", &rule));
                }
                if first.state == State::Refused {
                    write_string(&first.text, out);
                } else if let Some(rule) = write_value(fill.leaf.kind, first.numbers, &first.text, out) {
                    violations.push(fill.violation("type", rule));
                }
                true
            }
            Node::Parts(parts) => {
                let is_array = matches!(parts.first(), Some((Step::Item(_), _)));
                out.push(if is_array { b'[' } else { b'{' });
                for (step, part) in parts {
                    let before = out.len();
                    if before > start + 1 {
                        out.push(b',');
                    }
                    if let Step::Member(name) = step {
                        write_string(name, out);
                        out.push(b':');
                    }
                    if !self.write(part, out, violations) {
                        out.truncate(before);
                    }
                }
                // One without content is taken back.
                if out.len() == start + 1 {
                    out.truncate(start);
                    return false;
                }
                out.push(if is_array { b']' } else { b'}' });
                true
            }
        }
    }

    /// The fill behind a JSON pointer into the record: items that were empty were left out of it.
    fn fill_of(&self, pointer: &str) -> Option<&Fill> {
        let mut node = &self.tree;
        for step in pointer.split('/').skip(1) {
            let Node::Parts(parts) = node else { break };
            let part = match parts.first()? {
                (Step::Item(_), _) => parts.iter().filter(|(_, item)| self.is_filled(item)).nth(step.parse().ok()?),
                _ => parts.iter().find(|(known, _)| matches!(known, Step::Member(name) if name == step)),
            };
            node = &part?.1;
        }
        let Node::Leaf(fills) = node else { return None };
        let empty = || fills.iter().find_map(|index| self.fills.get(*index));
        self.filled(fills).next().map(|(fill, _)| fill).or_else(empty)
    }

    /// Whether a node has a value of the row, or has nothing but constants.
    fn is_filled(&self, node: &Node) -> bool {
        match node {
            Node::Leaf(fills) => self.filled(fills).next().is_some(),
            Node::Parts(_) => self.has_value(node) || !self.has_columns(node),
        }
    }

    /// Whether a column gives a value to any part.
    fn has_value(&self, node: &Node) -> bool {
        node.any_leaf(&|fills| self.filled(fills).any(|(fill, _)| fill.column.is_some()))
    }

    /// Whether any part is of a column.
    fn has_columns(&self, node: &Node) -> bool {
        let is_of_column = |index: &usize| self.fills.get(*index).is_some_and(|fill| fill.column.is_some());
        node.any_leaf(&|fills| fills.iter().any(is_of_column))
    }
}

/// Several may fill one field if the map says so of each; a column that only has the name of the field does not join in.
fn check_shared(node: &Node, fills: &[Fill]) -> Result<(), String> {
    match node {
        Node::Leaf(shared) => {
            let shared: Vec<_> = shared.iter().filter_map(|index| fills.get(*index)).collect();
            let [first, _, ..] = &shared[..] else { return Ok(()) };
            let field = dotted(&first.leaf.path);
            if shared.iter().any(|fill| fill.column.is_none())
                && let Some(column) = shared.iter().find_map(|fill| fill.column.as_ref())
            {
                return Err(format!("{field} has a constant in the map, and column \"{column}\" fills it too"));
            }
            match shared.iter().find(|fill| !fill.is_mapped) {
                Some(fill) => Err(format!(
                    "column \"{}\": another column fills the same member, {field}: map or drop it",
                    fill.column.as_deref().unwrap_or_default()
                )),
                None => Ok(()),
            }
        }
        Node::Parts(parts) => parts.iter().try_for_each(|(_, part)| check_shared(part, fills)),
    }
}

impl Fill {
    /// The text that fills the field in this row, or its cell and the rule that this breaks. Joined texts go through
    /// `joined`.
    fn text<'a>(
        &'a self,
        cells: &'a Cells,
        nulls: &[String],
        joined: &'a mut String,
    ) -> Result<&'a str, (&'a str, String)> {
        match &self.from {
            Origin::Column(column) => Ok(cell(cells, *column)),
            Origin::Constant(text) => Ok(text),
            Origin::Piece { column, separator, at, of } => {
                let whole = cell(cells, *column);
                if self.translation.is_null(whole.trim(), nulls) {
                    return Ok("");
                }
                let mut pieces = whole.split(separator.as_str());
                if pieces.clone().count() > *of {
                    return Err((whole, format!("Must have at most {of} pieces, cut at \"{separator}\"")));
                }
                Ok(pieces.nth(*at).unwrap_or_default())
            }
            Origin::FirstOf(columns) => {
                let mut texts = columns.iter().map(|column| cell(cells, *column));
                Ok(texts.find(|text| !self.translation.is_null(text.trim(), nulls)).unwrap_or_default())
            }
            Origin::Join { columns, with, all } => {
                joined.clear();
                let is_null = |text: &str| self.translation.is_null(text, nulls);
                let texts = columns.iter().map(|column| cell(cells, *column).trim());
                let texts = texts.map(|text| if is_null(text) { "" } else { text });
                if texts.clone().all(str::is_empty) || (*all && texts.clone().any(str::is_empty)) {
                    return Ok(joined);
                }
                // What is missing leaves no gap in a text; in a hash it is a difference.
                for (at, text) in texts.filter(|text| self.translation.hash || !text.is_empty()).enumerate() {
                    if at > 0 {
                        joined.push_str(with);
                    }
                    joined.push_str(text);
                }
                Ok(joined)
            }
        }
    }

    fn violation(&self, code: &str, rule: &str) -> SourceViolation {
        let mut path = String::new();
        for step in &self.leaf.path {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Member(name) => write!(path, "/{name}"),
                Step::Item(index) => write!(path, "/{index}"),
            };
        }
        let message = format!("{}: {rule}", dotted(&self.leaf.path));
        SourceViolation { code: code.to_owned(), path, message, column: self.column.clone() }
    }
}

fn cell(cells: &Cells, column: usize) -> &str {
    std::str::from_utf8(cells.get(column)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dates::Dates;
    use crate::fields::Leaf;
    use crate::rows::Rows;

    /// The column at this place fills the member of this name.
    fn fill(at: usize, name: &str) -> Fill {
        Fill {
            column: Some(name.to_owned()),
            from: Origin::Column(at),
            leaf: Leaf::unknown(name),
            translation: Translation::default(),
            is_mapped: true,
            only_with: None,
        }
    }

    /// The record that a row becomes, and how many doubts there are.
    fn converted(fills: Vec<Fill>, row: &str) -> (String, usize) {
        let mut converter = Converter::new(Columns { fills, headers: Vec::new(), nulls: Vec::new() }).unwrap();
        let mut rows = Rows::new(row.as_bytes(), None, 0).unwrap();
        rows.next_row().unwrap();
        let mut record = Vec::new();
        converter.convert(&rows.cells, &mut record);
        (String::from_utf8(record).unwrap(), converter.doubts.len())
    }

    #[test]
    fn what_needs_a_value_that_goes_goes_with_it_whatever_the_order_of_the_columns() {
        let needs = |at: usize, name: &str, other: &str| {
            let only_with = Some(vec![Step::Member(other.to_owned())]);
            Fill { only_with, ..fill(at, name) }
        };
        let chain = || vec![needs(0, "a", "b"), needs(1, "b", "c"), fill(2, "c")];
        assert_eq!(converted(chain(), "1,2,3\n").0, r#"{"a":"1","b":"2","c":"3"}"#);
        assert_eq!(converted(chain(), "1,2,\n").0, "{}");
    }

    #[test]
    fn a_text_that_looks_like_a_number_is_doubted_unless_it_is_a_date() {
        let of_text = |dates: Option<Dates>| {
            let translation = Translation { when: Some(When::Text), dates, ..Translation::default() };
            vec![Fill { translation, ..fill(0, "a") }]
        };
        assert_eq!(converted(of_text(None), "\"1,5\"\n"), (r#"{"a":"1,5"}"#.to_owned(), 1));
        let dates = Dates::parse(&["%m/%d/%Y".to_owned()], Some("date"), None, None).ok();
        assert_eq!(converted(of_text(dates), "1/5/1990\n"), (r#"{"a":"1990-01-05"}"#.to_owned(), 0));
    }
}
