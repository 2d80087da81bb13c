//! Random records, as the store may hold them.

use fhir::{Members, Node};
use proptest::prelude::*;
use records::{Member, NumberRule, ResourceType, Schema, ValueRule};

/// Texts as people have them, and as nobody should.
pub(crate) fn text() -> BoxedStrategy<String> {
    let known = [
        "x",
        " x",
        "a  b",
        "é",
        "日本語",
        "<b>&amp;</b>",
        "null",
        "",
        "\t",
        "\u{2028}",
        "\u{1}",
        "2024-05-01",
        "2024-13-45",
        "1985-03",
        "2024-05-01T10:00:00Z",
        "09:30",
        "Patient/p_1",
        "Group/g",
        "pat_k8f3",
        "a.-b",
        "https://x.example/a",
        "urn:uuid:1",
        "{\"a\":1}",
        "8867-4",
        "active",
        "final",
        "unknown",
        "a@b.org",
        "#p1",
        "h-x",
    ];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), ".{0,12}"].boxed()
}

pub(crate) fn number() -> BoxedStrategy<String> {
    let known =
        ["0", "-0", "1", "7", "0.5", "1.10", "1e400", "123456789012345678901234567890", "-3", "1E+2", "0.250", "100"];
    proptest::sample::select(known.to_vec()).prop_map(str::to_owned).boxed()
}

/// A value that is taken, three times in four; otherwise anything that JSON knows, since a record may hold null anywhere.
fn value(rule: &ValueRule, depth: u32) -> BoxedStrategy<Node> {
    let mut kinds: Vec<BoxedStrategy<Node>> = Vec::new();
    if rule.string.is_some() {
        kinds.push(match rule.options() {
            Some(options) => proptest::sample::select(options.to_vec()).prop_map(Node::text).boxed(),
            None => text().prop_map(Node::text).boxed(),
        });
    }
    match rule.number {
        Some(NumberRule { integer: true, .. }) => {
            kinds.push((-3..200_i32).prop_map(|number| Node::Number(number.to_string().into())).boxed());
        }
        Some(_) => kinds.push(number().prop_map(|number| Node::Number(number.into())).boxed()),
        None => {}
    }
    if rule.boolean {
        kinds.push(any::<bool>().prop_map(Node::Bool).boxed());
    }
    if let Some(items) = rule.items().filter(|_| depth > 0) {
        kinds.push(proptest::collection::vec(value(items, depth - 1), 0..3).prop_map(Node::List).boxed());
    }
    if depth > 0
        && let Some(object) = &rule.object
    {
        kinds.push(members_of(&object.members, depth - 1, false).prop_map(Node::Object).boxed());
    }
    kinds.push(Just(Node::Null).boxed());
    proptest::strategy::Union::new(kinds).boxed()
}

fn members_of(members: &[Member], depth: u32, is_whole: bool) -> BoxedStrategy<Members> {
    let each: Vec<_> = members
        .iter()
        .map(|member| {
            let name = member.name.clone();
            let value = value(&member.rule, depth);
            let there = if is_whole && member.required {
                value.prop_map(Some).boxed()
            } else {
                proptest::option::weighted(0.4, value).boxed()
            };
            there.prop_map(move |value| (name.clone(), value))
        })
        .collect();
    each.prop_map(|members| members.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect())
        .boxed()
}

/// A record as the store may hold it: its required members are there, for of a foreign resource these alone are read
/// from other places as well.
pub(crate) fn record(resource_type: ResourceType, schema: &Schema) -> BoxedStrategy<Members> {
    let members = members_of(schema.members(), 4, true);
    (members, text(), proptest::option::of(text()))
        .prop_map(move |(members, id, ward)| {
            let own = [("resourceType", Some(resource_type.as_str().to_owned())), ("id", Some(id)), ("x-ward", ward)];
            let own = own.into_iter().filter_map(|(name, text)| Some((name.into(), Node::text(text?))));
            own.chain(members).collect()
        })
        .boxed()
}
