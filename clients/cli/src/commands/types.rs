//! The resource types, their fields, and CSV headers for them.

use anyhow::Result;
use records::{Member, ResourceType, ValueRule};
use serde::Serialize;
use tables::all_columns;

use crate::output::{self, Output};

pub(super) fn types(resource_type: Option<ResourceType>, output: &Output) -> Result<()> {
    let Some(resource_type) = resource_type else {
        let names = || format!("{}\n", ResourceType::names(ResourceType::ALL).replace(',', "\n"));
        return output.list(ResourceType::ALL, names);
    };
    let schema = resource_type.schema();
    let mut fields = Vec::new();
    for member in schema.members() {
        describe(&member.name, member, &mut fields);
    }
    output.list(&fields, || {
        let row = |field: &Field| {
            let need = if field.required { "required" } else { "" };
            [field.path.as_str(), need, &field.kind, &field.rules].map(str::to_owned).to_vec()
        };
        output::columns(&fields.iter().map(row).collect::<Vec<_>>())
    })
}

/// A field as it is listed. Its members stand in the order of their names, as those of all documents do.
#[derive(Serialize)]
struct Field {
    path: String,
    required: bool,
    rules: String,
    #[serde(rename = "type")]
    kind: String,
}

/// A member and all below it.
fn describe(path: &str, member: &Member, fields: &mut Vec<Field>) {
    let rule = &member.rule;
    fields.push(Field { path: path.to_owned(), required: member.required, rules: rules(rule), kind: rule.expected() });
    below(path, rule, fields);
}

fn below(path: &str, rule: &ValueRule, fields: &mut Vec<Field>) {
    for member in rule.members() {
        describe(&format!("{path}.{}", member.name), member, fields);
    }
    if let Some(items) = rule.items() {
        below(&format!("{path}[]"), items, fields);
    }
}

fn rules(rule: &ValueRule) -> String {
    let number = rule.number.as_ref();
    let max_length = rule.string.as_ref().and_then(|string| string.max_length);
    let items = rule.array.as_ref().map(|array| {
        let most = array.max_items.map(|most| format!("at most {most} ")).unwrap_or_default();
        format!("{most}items: {}", array.items.expected())
    });
    let all = [
        rule.options().map(|options| options.join(", ")),
        rule.format().map(str::to_owned),
        max_length.map(|most| format!("at most {most} characters")),
        number.filter(|number| number.integer).map(|_| "whole".to_owned()),
        number.and_then(|number| number.minimum).map(|least| format!("at least {least}")),
        number.and_then(|number| number.maximum).map(|most| format!("at most {most}")),
        items,
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

pub(super) fn template(resource_type: ResourceType, output: &Output) -> Result<()> {
    let columns = all_columns(&resource_type.schema());
    output.list(&columns, || format!("{}\n", columns.join(",")))
}
