//! The resource types, their fields, and CSV headers for them.

use anyhow::Result;
use records::{Member, ResourceType, ValueRule};
use serde_json::{Value, json};
use tables::all_columns;

use crate::output::{self, Output};

pub(super) fn types(resource_type: Option<ResourceType>, output: &Output) -> Result<()> {
    let Some(resource_type) = resource_type else {
        let names: Vec<_> = ResourceType::ALL.iter().map(|known| json!(known.as_str())).collect();
        return output.list(&names, || format!("{}\n", ResourceType::names(ResourceType::ALL).replace(',', "\n")));
    };
    let schema = resource_type.schema();
    let mut fields = Vec::new();
    for member in schema.members() {
        describe(&member.name, member, &mut fields);
    }
    let documents: Vec<_> = fields.iter().map(Field::document).collect();
    output.list(&documents, || {
        let rows: Vec<_> =
            fields.into_iter().map(|field| vec![field.path, field.need, field.kind, field.rules]).collect();
        output::columns(&rows)
    })
}

struct Field {
    path: String,
    need: String,
    kind: String,
    rules: String,
}

impl Field {
    fn document(&self) -> Value {
        json!({"path": self.path, "required": self.need == "required", "type": self.kind, "rules": self.rules})
    }
}

/// A member and all below it.
fn describe(path: &str, member: &Member, fields: &mut Vec<Field>) {
    let need = if member.required { "required" } else { "" }.to_owned();
    fields.push(Field { path: path.to_owned(), need, kind: member.rule.expected(), rules: rules(&member.rule) });
    below(path, &member.rule, fields);
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
    let documents: Vec<_> = columns.iter().map(|column| json!(column)).collect();
    output.list(&documents, || format!("{}\n", columns.join(",")))
}
