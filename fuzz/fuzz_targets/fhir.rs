//! What is read of a JSON text is what `serde_json` reads, whatever a resource holds; a record is the same after it was a
//! resource, and a resource after it was a record.
#![no_main]

use fhir::{Converter, Members, Node, Unmapped, from_fhir, to_fhir};
use libfuzzer_sys::fuzz_target;
use records::ResourceType;
use serde_json::Value;

/// The elements that the service has no rules of its own for. FHIR knows no element that is `null`.
fn elements(resource: &Members) -> Vec<(&str, &Node)> {
    let is_own = |name: &str| ["resourceType", "id", "meta"].contains(&name);
    let elements = resource.iter().map(|(name, element)| (name.as_str(), element));
    let mut elements: Vec<_> = elements.filter(|(name, element)| !is_own(name) && **element != Node::Null).collect();
    elements.sort_by_key(|(name, _)| *name);
    elements
}

fuzz_target!(|input: (u8, &str)| {
    let (which, text) = input;
    let resource_type = ResourceType::ALL[usize::from(which) % ResourceType::ALL.len()];
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && let Ok(node) = Node::parse(text)
    {
        assert_eq!(serde_json::from_str::<Value>(&node.to_json()).expect("JSON again"), value);
    }
    let _ = fhir::entries(text);
    let _ = Converter::new(resource_type, Unmapped::Drop).convert(text.as_bytes());
    let Ok(Node::Object(object)) = Node::parse(text) else { return };
    // As a record of ours, if it may be one.
    let mut flat = object.clone();
    flat.shift_remove("x-fhir");
    flat.insert("resourceType".into(), Node::text(resource_type.as_str()));
    let resource = to_fhir(resource_type, &flat).expect("a type of the table");
    let schema = resource_type.schema();
    // A record that says that it was entered in error is not read again.
    if schema.scan(Node::Object(flat.clone()).to_json().as_bytes()).is_ok()
        && let Ok(read) = from_fhir(resource_type, &resource, Unmapped::Drop).expect("a type of the table") {
        assert_eq!(read.flat, flat);
    }
    // As a resource of others. What `meta` holds besides is not the resource's own, and an id that is none of FHIR's goes out as
    // its hash, with the id in an extension.
    let is_id = |id: &Node| {
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        matches!(id, Node::Text(id) if (1..=64).contains(&id.len()) && id.bytes().all(is_one))
    };
    let carried = ["lastUpdated", "versionId", "source", "profile", "security", "tag"];
    let is_carried = |meta: &Node| matches!(meta, Node::Object(members) if !members.is_empty() && members.keys().all(|name| carried.contains(&name.as_str())));
    if object.get("meta").is_none_or(is_carried)
        && object.get("id").is_none_or(is_id)
        && let Ok(read) = from_fhir(resource_type, &object, Unmapped::Keep).expect("a type of the table") {
        let again = to_fhir(resource_type, &read.flat).expect("a type of the table");
        assert_eq!(elements(&again), elements(&object));
    }
});
