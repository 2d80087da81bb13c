use super::*;
use records::{Member, ValueRule};

/// The flat members that have no row.
fn missing(path: &str, flat: &ValueRule, rule: &Rule, found: &mut Vec<String>) {
    let Rule::Object(object) = rule else { return };
    // Nesting of any depth is looked at once.
    if object.same.is_some() {
        return;
    }
    for member in flat.items().unwrap_or(flat).members() {
        of_member(&format!("{path}.{}", member.name), member, &object.resolved().fields, found);
    }
}

fn of_member(path: &str, member: &Member, fields: &[Field], found: &mut Vec<String>) {
    match fields.iter().find(|field| field.flat == member.name) {
        Some(field) => missing(path, &member.rule, &field.place.rule, found),
        None => found.push(path.to_owned()),
    }
}

#[test]
fn a_member_is_told_with_its_element() {
    let of = |pointer: &str| element_of(ResourceType::Patient, pointer);
    assert_eq!(of("/lastName").as_deref(), Some("name.family"));
    assert_eq!(of("/contact/0/phone").as_deref(), Some("contact.telecom.value"));
    assert_eq!((of("/x-own"), of("")), (None, None));
}

#[test]
fn every_flat_member_of_every_type_has_a_row() {
    let mut found = Vec::new();
    for resource_type in ResourceType::ALL {
        let schema = resource_type.schema();
        let fields = &table().types[resource_type].fields;
        for member in schema.members() {
            of_member(&format!("{resource_type}.{}", member.name), member, fields, &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
    let whole: serde_json::Value = serde_json::from_str(include_str!("../table.json")).unwrap();
    assert_eq!(whole["version"], crate::MAPPING_VERSION);
    assert_eq!(table().types.len(), ResourceType::ALL.len());
}
