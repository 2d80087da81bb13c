//! Elements of FHIR into flat records.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexSet;

use crate::ids;
use crate::node::{Members, Node};
use crate::path::Step;
use crate::table::{Code, CodeForm, Field, Object, Other, Place, Reference, Rule, TypeTable, table};

/// Reads a resource, and remembers which of its leaves were read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    resource: &'a Members,
    /// Leaves, by where they lie, in the order in which they were read: the newest can be forgotten.
    read: IndexSet<*const Node, foldhash::fast::RandomState>,
    /// Of these the ones that were read as another code.
    renamed: HashSet<*const Node>,
}

impl<'a> Reader<'a> {
    pub(crate) fn of(resource: &'a Members) -> Self {
        Self { resource, read: IndexSet::default(), renamed: HashSet::new() }
    }

    /// Whether a leaf was read.
    pub(crate) fn has_read(&self, leaf: &Node) -> bool {
        self.read.contains(&std::ptr::from_ref(leaf))
    }

    /// Whether a leaf was read as another code, since the flat record does not know its own.
    pub(crate) fn has_renamed(&self, leaf: &Node) -> bool {
        self.renamed.contains(&std::ptr::from_ref(leaf))
    }

    /// The flat members of a resource, without `resourceType`, `id` and `meta`.
    pub(crate) fn members(&mut self, of: &'a TypeTable) -> Members {
        self.fields(&of.fields, self.resource)
    }

    fn fields(&mut self, fields: &'a [Field], from: &'a Members) -> Members {
        let values = fields.iter().filter_map(|field| Some((field.flat.as_str().into(), self.field(field, from)?)));
        values.collect()
    }

    fn field(&mut self, field: &'a Field, from: &'a Members) -> Option<Node> {
        let found = self.place(&field.place, &field.except, from).or_else(|| {
            field.others.iter().find_map(|other| match other {
                Other::Place(place) => self.place(place, &[], from),
                Other::Value { value } => Some(Node::text(value)),
            })
        });
        match found {
            Some(Node::List(mut items)) if field.one_or_many && items.len() == 1 => items.pop(),
            found => found,
        }
    }

    fn place(&mut self, place: &'a Place, except: &[String], from: &'a Members) -> Option<Node> {
        let steps = &place.fhir.0;
        let is_each = steps.iter().any(|step| matches!(step, Step::Each(_) | Step::Extension { each: true, .. }));
        let elements = self.find(steps, except, from);
        if !is_each {
            return elements.into_iter().next().and_then(|element| self.value(&place.rule, element));
        }
        let values: Vec<_> = elements.into_iter().filter_map(|element| self.value(&place.rule, element)).collect();
        (!values.is_empty()).then_some(Node::List(values))
    }

    /// The elements at a path.
    fn find(&self, steps: &[Step], except: &[String], from: &'a Members) -> Vec<&'a Node> {
        let Some((step, rest)) = steps.split_first() else { return Vec::new() };
        let entries = |name: &str| from.get(name).map(Node::entries).unwrap_or_default();
        let found: Vec<&'a Node> = match step {
            Step::Element(name) => from.get(name.as_str()).into_iter().collect(),
            Step::First(name) => current(entries(name).iter()).into_iter().collect(),
            Step::Each(name) => {
                let entries = entries(name);
                let is_claimed = |entry: &Node| except.iter().any(|selector| is_selected(entry, selector));
                // Of those that a selector claims the first one is read there.
                let read_there = entries.iter().position(is_claimed);
                let others = entries.iter().enumerate().filter(|(at, _)| Some(*at) != read_there);
                others.map(|(_, entry)| entry).collect()
            }
            Step::Selected { name, selector } => {
                current(entries(name).iter().filter(|entry| is_selected(entry, selector))).into_iter().collect()
            }
            Step::Extension { url, each } => {
                let is_meant = |entry: &&Node| entry.get("url").and_then(Node::as_text) == Some(url);
                entries("extension").iter().filter(is_meant).take(if *each { usize::MAX } else { 1 }).collect()
            }
            Step::Resolve => return Vec::new(),
        };
        if rest.is_empty() {
            return found;
        }
        if let [Step::Resolve, rest @ ..] = rest {
            let resolved =
                found.into_iter().filter_map(|reference| self.contained(reference)).filter_map(Node::as_object);
            return resolved.flat_map(|resource| self.find(rest, &[], resource)).collect();
        }
        found.into_iter().filter_map(Node::as_object).flat_map(|members| self.find(rest, &[], members)).collect()
    }

    /// The contained resource that a reference names.
    fn contained(&self, reference: &Node) -> Option<&'a Node> {
        let id = reference.get("reference")?.as_text()?.strip_prefix('#')?;
        let contained = self.resource.get("contained")?.entries();
        contained.iter().find(|resource| resource.get("id").and_then(Node::as_text) == Some(id))
    }

    pub(crate) fn mark(&mut self, leaf: &Node) {
        self.read.insert(std::ptr::from_ref(leaf));
    }

    /// Forgets what was read since there were `count` leaves.
    pub(crate) fn forget(&mut self, count: usize) {
        self.read.truncate(count);
    }

    /// A text, marked as read.
    fn text_of(&mut self, element: &'a Node, name: &str) -> Option<&'a str> {
        let leaf = element.get(name)?;
        let text = leaf.as_text()?;
        self.mark(leaf);
        Some(text)
    }

    fn value(&mut self, rule: &'a Rule, element: &'a Node) -> Option<Node> {
        match rule {
            Rule::Copy(copy) => {
                let value = copy.read(element)?;
                self.mark(element);
                if element.as_text().is_some_and(|code| copy.from.contains_key(code)) {
                    self.renamed.insert(std::ptr::from_ref(element));
                }
                Some(value)
            }
            Rule::Text => self.concept_text(element),
            Rule::Code(rule) => self.code(rule, element),
            Rule::Concept { form } => self.concept(*form, element),
            Rule::Reference(rule) => self.reference(rule, element),
            Rule::Words => {
                let words: Vec<_> = element.entries().iter().filter_map(|word| Some((word, word.as_text()?))).collect();
                for (leaf, _) in &words {
                    self.mark(leaf);
                }
                let text = words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
                (!text.is_empty()).then_some(Node::text(text))
            }
            Rule::Narrative => self.text_of(element, "div").map(|div| Node::text(without_tags(div))),
            Rule::Base64 => {
                let text = String::from_utf8(STANDARD.decode(element.as_text()?).ok()?).ok()?;
                self.mark(element);
                Some(Node::text(text))
            }
            Rule::Object(rule) => self.object(rule, element),
        }
    }

    /// The text of a concept, else its first display, else its first code.
    fn concept_text(&mut self, element: &'a Node) -> Option<Node> {
        let codings = || element.get("coding").map(Node::entries).unwrap_or_default().iter();
        self.text_of(element, "text")
            .or_else(|| codings().find_map(|coding| self.text_of(coding, "display")))
            .or_else(|| codings().find_map(|coding| self.text_of(coding, "code")))
            .map(Node::text)
    }

    fn code(&mut self, rule: &Code, element: &'a Node) -> Option<Node> {
        // A Coding is a coding, and a concept has some.
        let codings = element.get("coding").map_or(std::slice::from_ref(element), Node::entries);
        let of_system = |coding: &&Node| coding.get("system").and_then(Node::as_text) == Some(&rule.system);
        let flat_code = |code: &str| match rule.map.iter().find(|(_, written)| *written == code) {
            Some((flat, _)) => Some(flat.clone()),
            None if rule.map.is_empty() => Some(code.to_owned()),
            None => None,
        };
        let is_option = |code: &str| rule.options.is_empty() || rule.options.iter().any(|known| known == code);
        let code_of = |coding: &'a Node| Some((coding, coding.get("code")?.as_text()?));
        let in_system = codings
            .iter()
            .filter(of_system)
            .filter_map(code_of)
            .find_map(|(coding, code)| Some((coding, flat_code(code).filter(|flat| is_option(flat))?)));
        let in_options = || {
            let mut codes = codings.iter().filter_map(code_of).filter(|_| !rule.options.is_empty());
            codes.find(|(_, code)| is_option(code)).map(|(coding, code)| (coding, code.to_owned()))
        };
        if let Some((coding, code)) = in_system.or_else(in_options) {
            self.text_of(coding, "code");
            // Of another system the code alone is carried.
            if of_system(&coding) {
                self.text_of(coding, "system");
            }
            return Some(Node::text(code));
        }
        let read_before = self.read.len();
        let text = match element.get("coding") {
            None => self
                .text_of(element, "text")
                .or_else(|| self.text_of(element, "display"))
                .or_else(|| self.text_of(element, "code"))
                .map(Node::text),
            Some(_) => self.concept_text(element),
        };
        let known = text.filter(|text| text.as_text().is_some_and(is_option));
        if known.is_none() {
            self.forget(read_before);
        }
        known
    }

    fn concept(&mut self, form: CodeForm, element: &'a Node) -> Option<Node> {
        let codings = match form {
            CodeForm::Coding => std::slice::from_ref(element),
            CodeForm::CodeableConcept => element.get("coding").map(Node::entries).unwrap_or_default(),
        };
        let has = |coding: &&Node, name: &str| coding.get(name).and_then(Node::as_text).is_some();
        let coded = codings.iter().find(|coding| has(coding, "code"));
        let is_text = form == CodeForm::CodeableConcept && element.get("text").and_then(Node::as_text).is_some();
        let is_said = |coding: &&Node| form == CodeForm::Coding || has(coding, "system");
        let Some(coding) = coded.or_else(|| codings.iter().find(|coding| !is_text && is_said(coding))) else {
            return self.concept_text(element);
        };
        let parts = ["system", "code", "display"].into_iter();
        let flat: Members =
            parts.filter_map(|name| Some((name.into(), Node::text(self.text_of(coding, name)?)))).collect();
        (!flat.is_empty()).then_some(Node::Object(flat))
    }

    fn reference(&mut self, rule: &Reference, element: &'a Node) -> Option<Node> {
        let reference = element.get("reference").and_then(Node::as_text).filter(|text| !text.starts_with('#'));
        if let Some(reference) = reference {
            // Which version was meant, the record does not say.
            if !reference.contains(HISTORY) {
                self.text_of(element, "reference");
            }
            return Some(Node::text(flat_reference(rule, reference)));
        }
        if let Some(value) = element.get("identifier").and_then(|identifier| self.text_of(identifier, "value")) {
            return Some(Node::text(value));
        }
        if rule.display { self.text_of(element, "display").map(Node::text) } else { None }
    }

    fn object(&mut self, rule: &'a Object, element: &'a Node) -> Option<Node> {
        let members = element.as_object()?;
        let parts = &rule.resolved().fields;
        let read_before = self.read.len();
        let flat = self.fields(parts, members);
        let is_missing = |name: &str| flat.get(name).is_none_or(|value| *value == Node::Null);
        let lacks = parts.iter().filter(|part| part.required).any(|part| is_missing(&part.flat))
            || rule.needs.iter().any(|name| is_missing(name));
        if flat.is_empty() || lacks {
            // It is lost as a whole: nothing of it counts as read.
            self.forget(read_before);
            return None;
        }
        Some(Node::Object(flat))
    }
}

/// The uses of names, addresses and numbers that are taken where there is no other.
const PAST: [&str; 4] = ["old", "maiden", "nickname", "anonymous"];

/// The first entry that holds now, else the first: a flat record has one name, and it must not be the one of before.
fn current<'a>(entries: impl Iterator<Item = &'a Node> + Clone) -> Option<&'a Node> {
    let is_past = |entry: &&Node| entry.get("use").and_then(Node::as_text).is_some_and(|of| PAST.contains(&of));
    entries.clone().find(|entry| !is_past(entry)).or_else(|| entries.into_iter().next())
}

fn is_selected(entry: &Node, selector: &str) -> bool {
    let Some(wanted) = table().selectors.get(selector).and_then(Node::as_object) else { return false };
    wanted.iter().all(|(name, value)| match value.get("refersTo").and_then(Node::as_text) {
        Some(of) => {
            let reference = entry.get(name).and_then(|element| element.get("reference")).and_then(Node::as_text);
            reference.is_some_and(|reference| type_and_id(reference).is_some_and(|(found, _)| found == of))
        }
        None => entry.get(name).is_some_and(|member| member.contains(value)),
    })
}

/// What stands between the id of a reference and its version.
const HISTORY: &str = "/_history/";

/// The type and the id of a relative reference.
fn type_and_id(reference: &str) -> Option<(&str, &str)> {
    let (of, id) = reference.split_once('/')?;
    let is_type = of.starts_with(|c: char| c.is_ascii_uppercase()) && of.bytes().all(|byte| byte.is_ascii_alphabetic());
    // A version after it says which state was meant; the record has one.
    let id = id.split_once(HISTORY).map_or(id, |(id, _)| id);
    (is_type && !id.is_empty() && !id.contains('/')).then_some((of, id))
}

fn flat_reference(rule: &Reference, reference: &str) -> String {
    match type_and_id(reference) {
        Some((of, id)) if rule.to.as_deref() == Some(of) => ids::from_fhir(id),
        Some((of, id)) => format!("{of}/{}", ids::from_fhir(id)),
        None => reference.to_owned(),
    }
}

/// The text of a narrative.
fn without_tags(div: &str) -> String {
    let mut text = String::new();
    let mut rest = div;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        rest = tag.split_once('>').map(|(_, after)| after).unwrap_or_default();
    }
    text.push_str(rest);
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&nbsp;", "\u{a0}"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(text, |text, (entity, c)| text.replace(entity, c))
}
