//! What R4 wants of an element besides its fields: constants, defaults, what must not stand together, what must be there.

use crate::moments;
use crate::node::{Members, Node};
use crate::path::{Path, Step, is_form_of};
use crate::table::{Condition, Constant, Default_, Extras, Guard, Require};

/// Applies all of them to an element that has been written.
pub(crate) fn apply(extras: &Extras, out: &mut Members) {
    for Constant { fhir, value } in &extras.constants {
        at(&fhir.0, out, &mut |element| {
            if let (Node::Object(members), Some(constants)) = (element, value.as_object()) {
                members.extend(constants.clone());
            }
        });
    }
    for guard in &extras.guards {
        if !may_stay(guard, out) {
            drop_at(&guard.drop.0, out);
        }
    }
    require(&extras.requires, out);
    for default in &extras.defaults {
        apply_default(default, out);
    }
}

fn apply_default(Default_ { fhir, default, by, others }: &Default_, out: &mut Members) {
    let chosen = by.as_deref().and_then(|by| out.get(by)).and_then(Node::as_text).and_then(|value| others.get(value));
    let value = Node::text(chosen.unwrap_or(default));
    let Some((Step::Element(name), parents)) = fhir.0.split_last() else { return };
    let set = |element: &mut Members| {
        element.entry(name.into()).or_insert_with(|| value.clone());
    };
    if parents.is_empty() {
        set(out);
        return;
    }
    at(parents, out, &mut |element| {
        if let Node::Object(members) = element {
            set(members);
        }
    });
}

/// Does something with every element at a path, through all entries of lists.
fn at(steps: &[Step], out: &mut Members, act: &mut dyn FnMut(&mut Node)) {
    let Some((Step::Element(name), rest)) = steps.split_first() else { return };
    let entries = match out.get_mut(name.as_str()) {
        Some(Node::List(items)) => items.as_mut_slice(),
        Some(single) => std::slice::from_mut(single),
        None => return,
    };
    for entry in entries {
        match entry {
            entry if rest.is_empty() => act(entry),
            Node::Object(members) => at(rest, members, act),
            _ => {}
        }
    }
}

/// The texts at a path, through all entries of lists.
fn texts<'a>(path: &Path, out: &'a Members) -> Vec<&'a Node> {
    let mut found: Vec<&Node> = Vec::new();
    let mut names = path.0.iter().map(|step| if let Step::Element(name) = step { name.as_str() } else { "" });
    found.extend(names.next().and_then(|name| out.get(name)).into_iter().flat_map(Node::entries));
    for name in names {
        found = found.into_iter().filter_map(|node| node.get(name)).flat_map(Node::entries).collect();
    }
    found
}

fn may_stay(Guard { drop, path, is, values }: &Guard, out: &Members) -> bool {
    let found = texts(path, out);
    let text = |node: &&Node| node.as_text().map(str::to_owned);
    let has = |value: &str| values.iter().any(|known| known == value);
    match is {
        Condition::Exists => !found.is_empty(),
        Condition::Absent => found.is_empty(),
        Condition::In => found.iter().filter_map(text).any(|value| has(&value)),
        Condition::Type => {
            found.iter().filter_map(text).any(|value| value.split_once('/').is_some_and(|(of, _)| has(of)))
        }
        Condition::NotBefore => {
            let dropped = texts(drop, out);
            let pairs = found.iter().filter_map(text).zip(dropped.iter().filter_map(text));
            pairs.into_iter().all(|(later, earlier)| !moments::is_before(&later, &earlier))
        }
    }
}

fn drop_at(steps: &[Step], out: &mut Members) {
    let Some((Step::Element(name), rest)) = steps.split_first() else { return };
    if rest.is_empty() {
        out.shift_remove(name.as_str());
        return;
    }
    if let Some(Node::Object(mut members)) = out.shift_remove(name.as_str()) {
        drop_at(rest, &mut members);
        // An element that stays empty is not written.
        if !members.is_empty() {
            out.insert(name.into(), Node::Object(members));
        }
    }
}

/// Makes what R4 demands and nobody wrote.
fn require(requires: &[Require], out: &mut Members) {
    for require in requires {
        let text = |name: &str| out.get(name).and_then(Node::as_text);
        let is_there = |name: &String| out.contains_key(name.as_str());
        let is_let_off = require.unless.iter().any(is_there)
            || require
                .unless_value
                .iter()
                .any(|(name, values)| text(name).is_some_and(|value| values.iter().any(|known| known == value)))
            || !(require.only_if.is_empty() || require.only_if.iter().any(is_there));
        let is_chosen = require
            .choice
            .as_ref()
            .is_some_and(|choice| out.keys().any(|name| is_form_of(name.trim_start_matches('_'), choice)));
        let hidden = format!("_{}", require.fhir);
        if is_let_off || is_chosen || is_there(&require.fhir) || is_there(&hidden) {
            continue;
        }
        let entry = |made| if require.many { Node::List(vec![made]) } else { made };
        let is_primitive = require.kind.starts_with(|c: char| c.is_ascii_lowercase());
        if require.kind == "string" && require.choice.is_some() {
            out.insert(require.fhir.as_str().into(), Node::text("unknown"));
        } else if is_primitive {
            if require.many {
                // A list of primitives has an entry for each of those beside it.
                out.insert(require.fhir.as_str().into(), Node::List(vec![Node::Null]));
            }
            out.insert(hidden.into(), entry(absent()));
        } else {
            let made = if require.required.is_empty() {
                absent()
            } else {
                let mut made = Members::default();
                self::require(&require.required, &mut made);
                Node::Object(made)
            };
            out.insert(require.fhir.as_str().into(), entry(made));
        }
    }
}

/// That there is no value, and why not.
fn absent() -> Node {
    let url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
    let extension = Node::object([("url", Node::text(url)), ("valueCode", Node::text("unknown"))]);
    Node::object([("extension", Node::List(vec![extension]))])
}
