//! What R4 wants of an element besides its fields: constants, defaults, what must not stand together, what must be there.

use crate::moments;
use crate::node::{Members, Node};
use crate::path::{Path, Step, is_form_of};
use crate::table::{Condition, Constant, Default_, Extras, Guard, Require};

/// Applies all of them to an element that has been written.
pub(crate) fn apply(extras: &Extras, out: &mut Members) {
    for Constant { fhir, value } in &extras.constants {
        at(&fhir.0, out, &mut |members| members.extend(value.clone()));
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
    at(parents, out, &mut |members| {
        members.entry(name.into()).or_insert_with(|| value.clone());
    });
}

/// Does something with every object at a path, through all entries of lists.
fn at(steps: &[Step], members: &mut Members, act: &mut dyn FnMut(&mut Members)) {
    let Some((step, rest)) = steps.split_first() else {
        act(members);
        return;
    };
    let entries = match step.name().and_then(|name| members.get_mut(name)) {
        Some(Node::List(items)) => items.as_mut_slice(),
        Some(single) => std::slice::from_mut(single),
        None => return,
    };
    for entry in entries {
        if let Node::Object(members) = entry {
            at(rest, members, act);
        }
    }
}

/// Whether anything at a path is as asked, through all entries of lists.
fn any(steps: &[Step], members: &Members, is: &dyn Fn(&Node) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return false };
    let entries = step.name().and_then(|name| members.get(name)).map(Node::entries).unwrap_or_default();
    entries.iter().any(|entry| match entry {
        entry if rest.is_empty() => is(entry),
        Node::Object(members) => any(rest, members, is),
        _ => false,
    })
}

fn may_stay(Guard { drop, path, is, values }: &Guard, out: &Members) -> bool {
    let is_there = || any(&path.0, out, &|_| true);
    let any_text =
        |at: &Path, fits: &dyn Fn(&str) -> bool| any(&at.0, out, &|node: &Node| node.as_text().is_some_and(fits));
    let has = |value: &str| values.iter().any(|known| known == value);
    match is {
        Condition::Exists => is_there(),
        Condition::Absent => !is_there(),
        Condition::In => any_text(path, &has),
        Condition::Type => any_text(path, &|value| value.split_once('/').is_some_and(|(of, _)| has(of))),
        Condition::NotBefore => !any_text(path, &|found| any_text(drop, &|dropped| moments::is_before(found, dropped))),
        Condition::NotAfter => !any_text(path, &|found| any_text(drop, &|dropped| moments::is_before(dropped, found))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::table;

    #[test]
    fn no_data_type_breaks_its_constraints() {
        let whole_ratio = r#"{"numerator":{"value":1},"denominator":{"value":2}}"#;
        for (shape, written, left) in [
            ("Period", r#"{"start":"2024-02","end":"2024-01-31"}"#, r#"{"start":"2024-02"}"#),
            ("Period", r#"{"start":"2024-01","end":"2024-01-31"}"#, r#"{"start":"2024-01","end":"2024-01-31"}"#),
            ("Period", r#"{"end":"2024"}"#, r#"{"end":"2024"}"#),
            ("Quantity", r#"{"value":1,"code":"mg"}"#, r#"{"value":1}"#),
            ("Quantity", r#"{"system":"urn:x","code":"mg"}"#, r#"{"system":"urn:x","code":"mg"}"#),
            ("Attachment", r#"{"data":"QQ==","title":"x"}"#, r#"{"title":"x"}"#),
            ("Ratio", r#"{"numerator":{"value":1}}"#, "{}"),
            ("Ratio", r#"{"denominator":{"value":1}}"#, "{}"),
            ("Ratio", whole_ratio, whole_ratio),
        ] {
            let Ok(Node::Object(mut out)) = Node::parse(written) else { panic!("no object: {written}") };
            apply(&table().shapes[shape].extras, &mut out);
            assert_eq!(Node::Object(out).to_json(), left, "{shape} {written}");
        }
    }
}
