//! What records refer to: which flat members hold ids of other records, and of which types these may be.

use records::{RecordId, ResourceType};
use serde_json::Value;

use crate::table::{Field, Reference, Rule, table};

/// An id of another record in a flat record.
#[derive(Debug, PartialEq, Eq)]
pub struct Referred<'a> {
    /// Where it stands, as a JSON pointer.
    pub path: String,
    pub id: &'a str,
    /// Of which types the record may be: one, where the reference or its member says it.
    pub types: &'static [ResourceType],
}

/// All ids of other records in a flat record. A bare id is of the type that the member is for; `Patient/1` names its own. What is
/// no id (a URL, a text where one may stand) refers to nothing that could be looked for.
#[must_use]
pub fn references(resource_type: ResourceType, record: &Value) -> Vec<Referred<'_>> {
    let mut found = Vec::new();
    if let Some(of_type) = table().types.get(&resource_type) {
        of_object(&of_type.fields, record, "", &mut found);
    }
    found
}

fn of_object<'a>(fields: &'static [Field], object: &'a Value, path: &str, found: &mut Vec<Referred<'a>>) {
    let Some(members) = object.as_object() else { return };
    for field in fields {
        let Some(value) = members.get(&field.flat) else { continue };
        let path = format!("{path}/{}", field.flat);
        match &field.place.rule {
            Rule::Reference(reference) => each(value, &path, &mut |value, path| {
                found.extend(referred(reference, &field.flat, value, path));
            }),
            Rule::Object(object) => {
                let fields = &object.resolved().fields;
                each(value, &path, &mut |value, path| of_object(fields, value, path, found));
            }
            _ => {}
        }
    }
}

/// The value, or each of a list.
fn each<'a>(value: &'a Value, path: &str, of: &mut dyn FnMut(&'a Value, &str)) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| of(item, &format!("{path}/{at}")));
        }
        value => of(value, path),
    }
}

fn referred<'a>(reference: &'static Reference, flat: &str, value: &'a Value, path: &str) -> Option<Referred<'a>> {
    let text = value.as_str()?;
    let (id, types) = match text.split_once('/') {
        Some((name, id)) => (id, alone(name.parse().ok()?)),
        // Some members take the text of a reference, too.
        None if reference.display && !flat.ends_with("Id") && !flat.ends_with("Ids") => return None,
        None => (text, reference.targets()),
    };
    let is_id = !types.is_empty() && RecordId::try_from(id.to_owned()).is_ok();
    is_id.then(|| Referred { path: path.to_owned(), id, types })
}

/// A list of this type alone.
fn alone(resource_type: ResourceType) -> &'static [ResourceType] {
    let at = ResourceType::ALL.iter().position(|known| *known == resource_type);
    at.and_then(|at| ResourceType::ALL.get(at..=at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(resource_type: ResourceType, record: &Value) -> Vec<(String, &str, String)> {
        let names = |types: &[ResourceType]| types.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(" ");
        let found = references(resource_type, record);
        found.into_iter().map(|referred| (referred.path, referred.id, names(referred.types))).collect()
    }

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let plan =
            json!({"patientId": "p1", "partOf": ["c1", "CarePlan/c2"], "activity": [{"referenceId": "Task/t1"}]});
        let expected = [
            ("/patientId", "p1", "Patient"),
            ("/partOf/0", "c1", "CarePlan"),
            ("/partOf/1", "c2", "CarePlan"),
            ("/activity/0/referenceId", "t1", "Task"),
        ];
        let mut found = found(ResourceType::CarePlan, &plan);
        found.sort();
        let mut expected = expected.map(|(path, id, types)| (path.to_owned(), id, types.to_owned()));
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_id_of_a_record_refers_to_nothing() {
        for text in ["https://example.org/Patient/1", "urn:uuid:5", "Group/1", "two words", ""] {
            assert_eq!(found(ResourceType::Encounter, &json!({"patientId": text})), [], "{text}");
        }
    }

    #[test]
    fn a_member_may_take_several_types_or_any() {
        let report = json!({"performer": "Organization/o1", "encounterId": "e1"});
        let expected = [("/encounterId".to_owned(), "e1", "Encounter".to_owned())];
        assert_eq!(found(ResourceType::ImagingStudy, &json!({"encounterId": "e1"})), expected);
        assert_eq!(found(ResourceType::DiagnosticReport, &report).len(), 2);
        // A related person is no record of the service.
        assert_eq!(found(ResourceType::Account, &json!({"guarantor": [{"partyId": "x"}]})), []);
        assert_eq!(references(ResourceType::Task, &json!({"focusId": "x"}))[0].types.len(), ResourceType::ALL.len());
    }
}
