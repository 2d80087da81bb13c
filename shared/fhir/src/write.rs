//! Flat records into elements of FHIR.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::extras;
use crate::ids;
use crate::node::{Members, Node};
use crate::path::Step;
use crate::primitive::{has_form, is_absolute, is_id, is_string};
use crate::table::{Code, CodeForm, Field, Object, Reference, Rule, TypeTable, table};

/// The elements of a record, without `resourceType`, `id` and `meta`.
pub(crate) fn elements(of: &TypeTable, flat: &Members) -> Members {
    let mut out = Members::default();
    fields(&of.fields, flat, &mut out);
    extras::apply(&of.extras, &mut out);
    out
}

/// Writes the members that the fields name.
fn fields(fields: &[Field], flat: &Members, out: &mut Members) {
    let mut choices: Vec<&str> = Vec::new();
    for field in fields {
        let Some(value) = flat.get(field.flat.as_str()) else { continue };
        if field.choice.as_deref().is_some_and(|choice| choices.contains(&choice)) {
            continue;
        }
        if write(field, value, out) {
            choices.extend(field.choice.as_deref());
        }
    }
}

/// Writes a member; whether anything of it could be written.
fn write(field: &Field, value: &Node, out: &mut Members) -> bool {
    let steps = &field.place.fhir.0;
    let is_each = steps.iter().any(|step| matches!(step, Step::Each(_) | Step::Extension { each: true, .. }));
    let items = match value {
        Node::List(items) if is_each => items.as_slice(),
        _ if is_each && !field.one_or_many => return false,
        _ => std::slice::from_ref(value),
    };
    let mut is_written = false;
    for element in items.iter().filter_map(|item| element(&field.place.rule, item)) {
        is_written |= insert(steps, element, out);
    }
    is_written
}

/// Puts an element at a path; its parents are made.
fn insert(steps: &[Step], element: Node, out: &mut Members) -> bool {
    let Some((step, rest)) = steps.split_first() else { return false };
    match step {
        Step::Element(name) => {
            below(out.entry(name.into()).or_insert_with(|| Node::Object(Members::default())), rest, element)
        }
        Step::First(name) => {
            let list = list(out, name);
            if list.is_empty() {
                list.push(Node::Object(Members::default()));
            }
            list.first_mut().is_some_and(|first| below(first, rest, element))
        }
        Step::Each(name) => push(list(out, name), Node::Object(Members::default()), rest, element),
        Step::Selected { name, selector } => {
            let Some(wanted) = table().selectors.get(selector) else { return false };
            let list = list(out, name);
            match list.iter_mut().find(|entry| entry.contains(wanted)) {
                Some(entry) => below(entry, rest, element),
                None => push(list, written_selector(wanted), rest, element),
            }
        }
        Step::Extension { url, .. } => {
            push(list(out, "extension"), Node::object([("url", Node::text(url))]), rest, element)
        }
        Step::Resolve => false,
    }
}

/// What of a selector is written: that a reference is to a type, the reference itself says.
fn written_selector(selector: &Node) -> Node {
    let mut written = selector.as_object().cloned().unwrap_or_default();
    written.retain(|_, value| value.get("refersTo").is_none());
    Node::Object(written)
}

fn push(list: &mut Vec<Node>, new: Node, rest: &[Step], element: Node) -> bool {
    list.push(new);
    list.last_mut().is_some_and(|last| below(last, rest, element))
}

/// Puts an element into a node, or below it.
fn below(node: &mut Node, rest: &[Step], element: Node) -> bool {
    if rest.is_empty() {
        merge(node, element);
        return true;
    }
    match node {
        Node::Object(members) => insert(rest, element, members),
        _ => false,
    }
}

/// Two fields may write parts of one element.
fn merge(node: &mut Node, element: Node) {
    match (node, element) {
        (Node::Object(members), Node::Object(more)) => members.extend(more),
        (node, element) => *node = element,
    }
}

fn list<'a>(out: &'a mut Members, name: &str) -> &'a mut Vec<Node> {
    let node = out.entry(name.into()).or_insert_with(|| Node::List(Vec::new()));
    if !matches!(node, Node::List(_)) {
        *node = Node::List(Vec::new());
    }
    match node {
        Node::List(items) => items,
        _ => unreachable!("made a list above"),
    }
}

/// A value as an element; `None` if the rule takes none like it.
fn element(rule: &Rule, value: &Node) -> Option<Node> {
    match rule {
        Rule::Copy(copy) => copy.write(value),
        Rule::Text => Some(Node::object([("text", string(value)?)])),
        Rule::Code(rule) => code(rule, value.as_text()?),
        Rule::Concept { form } => concept(*form, value),
        Rule::Reference(rule) => reference(rule, value.as_text()?),
        Rule::Words => Some(Node::List(vec![string(value)?])),
        Rule::Narrative => narrative(value.as_text()?),
        Rule::Base64 => Some(Node::text(STANDARD.encode(value.as_text().filter(|text| !text.is_empty())?))),
        Rule::Object(rule) => object(rule, value.as_object()?),
    }
}

fn string(value: &Node) -> Option<Node> {
    value.as_text().filter(|text| is_string(text)).map(Node::text)
}

fn code(rule: &Code, text: &str) -> Option<Node> {
    let is_known = || {
        rule.options.iter().any(|known| known == text)
            || rule.codes.as_deref().is_some_and(|list| table().knows(list, text))
            || rule.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
    };
    let code = if rule.map.is_empty() { is_known().then_some(text) } else { rule.map.get(text).map(String::as_str) };
    let coding = |code: &str| Node::object([("system", Node::text(&rule.system)), ("code", Node::text(code))]);
    match (code, rule.form) {
        (Some(code), CodeForm::CodeableConcept) => Some(Node::object([("coding", Node::List(vec![coding(code)]))])),
        (Some(code), CodeForm::Coding) => Some(coding(code)),
        (None, _) if !is_string(text) => None,
        (None, CodeForm::CodeableConcept) => Some(Node::object([("text", Node::text(text))])),
        (None, CodeForm::Coding) => Some(Node::object([("display", Node::text(text))])),
    }
}

fn concept(form: CodeForm, value: &Node) -> Option<Node> {
    let Some(members) = value.as_object() else {
        let name = if form == CodeForm::Coding { "display" } else { "text" };
        return Some(Node::object([(name, string(value)?)]));
    };
    let part = |(name, kind): (&str, &str)| {
        let text = members.get(name)?.as_text()?;
        has_form(kind, text).then(|| (name.into(), Node::text(text)))
    };
    let coding: Members =
        [("system", "uri"), ("code", "code"), ("display", "string")].into_iter().filter_map(part).collect();
    match form {
        _ if coding.is_empty() => None,
        CodeForm::Coding => Some(Node::Object(coding)),
        CodeForm::CodeableConcept => Some(Node::object([("coding", Node::List(vec![Node::Object(coding)]))])),
    }
}

fn reference(rule: &Reference, text: &str) -> Option<Node> {
    if !is_string(text) {
        return None;
    }
    let to = |reference: String| Some(Node::object([("reference", Node::text(reference))]));
    if is_absolute(text) {
        return to(text.to_owned());
    }
    // What would be a hash is not read back: better as it is.
    let written = |id: &str| Some(ids::to_fhir(id)).filter(|written| ids::from_fhir(written) == id && is_id(written));
    if let Some((of, id)) = text.split_once('/')
        && (rule.types.is_empty() || rule.types.iter().any(|known| known == of))
        && of.starts_with(|c: char| c.is_ascii_uppercase())
        && of.bytes().all(|byte| byte.is_ascii_alphabetic())
        && let Some(id) = written(id)
    {
        return to(format!("{of}/{id}"));
    }
    match (&rule.to, written(text)) {
        (Some(of), Some(id)) => to(format!("{of}/{id}")),
        _ => Some(Node::object([("identifier", Node::object([("value", Node::text(text))]))])),
    }
}

fn narrative(text: &str) -> Option<Node> {
    if !is_string(text) {
        return None;
    }
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><pre>{escaped}</pre></div>");
    Some(Node::object([("status", Node::text("additional")), ("div", Node::text(div))]))
}

fn object(rule: &Object, value: &Members) -> Option<Node> {
    let Object { fields: parts, extras, .. } = rule.resolved();
    let mut out = Members::default();
    fields(parts, value, &mut out);
    if out.is_empty() {
        return None;
    }
    extras::apply(extras, &mut out);
    (!out.is_empty()).then_some(Node::Object(out))
}
