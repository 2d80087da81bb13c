//! Bundles: the resources in them, and who is meant by the addresses that they have there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use regex_lite::{Captures, Regex};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::node::NotJson;

/// How an address begins that is good in its Bundle alone.
const URN: &str = "urn:uuid:";

/// A resource of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its type, where it names one.
    pub resource_type: Option<String>,
    /// As JSON; with an id, where its address in the Bundle is one.
    pub resource: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(default, borrow)]
    resource_type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(default, borrow)]
    entry: Vec<BundleEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleEntry<'a> {
    #[serde(default, borrow)]
    full_url: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    resource: Option<&'a RawValue>,
}

/// The resources of a JSON text: those of a Bundle, or the one that it is. References by addresses of the Bundle name type and id.
///
/// # Errors
/// When it is no JSON object.
pub fn entries(text: &str) -> Result<Vec<Entry>, NotJson> {
    let head = head_of(text)?;
    if head.resource_type.as_deref() != Some("Bundle") {
        return Ok(vec![Entry { resource_type: head.resource_type.map(Cow::into_owned), resource: text.to_owned() }]);
    }
    let bundle: Bundle<'_> = serde_json::from_str(text).map_err(|_| NotJson)?;
    let (mut entries, mut known) = (Vec::new(), HashMap::new());
    for BundleEntry { full_url, resource } in bundle.entry {
        let Some(resource) = resource.map(RawValue::get) else { continue };
        let Head { resource_type, id } = head_of(resource)?;
        let from_url = full_url.as_deref().and_then(|url| url.strip_prefix(URN)).filter(|uuid| is_plain(uuid));
        let named = id.as_deref().or(from_url).filter(|id| is_plain(id));
        let plain_type = resource_type.as_deref().filter(|name| is_plain(name));
        if let (Some(url), Some(resource_type), Some(id)) = (&full_url, plain_type, named) {
            known.insert(url.clone().into_owned(), format!("{resource_type}/{id}"));
        }
        let resource = match (id.is_none(), from_url) {
            // An object with members: its type is one.
            (true, Some(uuid)) if resource_type.is_some() => {
                resource.replacen('{', &format!("{{\"id\":\"{uuid}\","), 1)
            }
            _ => resource.to_owned(),
        };
        entries.push(Entry { resource_type: resource_type.map(Cow::into_owned), resource });
    }
    for entry in &mut entries {
        if let Cow::Owned(resource) = with_references(&entry.resource, &known) {
            entry.resource = resource;
        }
    }
    Ok(entries)
}

/// Whether a text can be put into JSON as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn head_of(text: &str) -> Result<Head<'_>, NotJson> {
    // A list would be taken for the members in their order.
    if !text.trim_start().starts_with('{') {
        return Err(NotJson);
    }
    serde_json::from_str(text).map_err(|_| NotJson)
}

/// A resource with references that are known by their address put as `Type/id`.
fn with_references<'a>(resource: &'a str, known: &HashMap<String, String>) -> Cow<'a, str> {
    static REFERENCE: OnceLock<Option<Regex>> = OnceLock::new();
    // Within a JSON text: a name and its text, without escapes, which no address has.
    let pattern = REFERENCE.get_or_init(|| Regex::new(r#"("reference"\s*:\s*")([^"\\]+)(")"#).ok());
    let Some(pattern) = pattern.as_ref().filter(|_| !known.is_empty()) else { return Cow::Borrowed(resource) };
    pattern.replace_all(resource, |found: &Captures<'_>| {
        let part = |at: usize| found.get(at).map(|part| part.as_str()).unwrap_or_default();
        let meant = known.get(part(2)).map_or(part(2), String::as_str);
        format!("{}{meant}{}", part(1), part(3))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_its_resources_and_they_know_each_other() {
        let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[
            {"fullUrl":"urn:uuid:aa","resource":{"resourceType":"Patient","name":[{"family":"urn:uuid:bb"}]}},
            {"fullUrl":"urn:uuid:bb","resource":{"resourceType":"Encounter","id":"e1","subject":{"reference" : "urn:uuid:aa"}}},
            {"fullUrl":"https://x.example/Observation/o1","resource":{"resourceType":"Observation","id":"o1",
             "encounter":{"reference":"urn:uuid:bb"},"focus":[{"reference":"urn:uuid:cc"}]}},
            {"search":{"mode":"outcome"}}]}"#;
        let found = entries(bundle).unwrap();
        let types: Vec<_> = found.iter().map(|entry| entry.resource_type.as_deref().unwrap()).collect();
        assert_eq!(types, ["Patient", "Encounter", "Observation"]);
        assert!(found[0].resource.starts_with(r#"{"id":"aa","resourceType":"Patient""#), "{}", found[0].resource);
        assert!(found[0].resource.contains(r#""family":"urn:uuid:bb""#), "no reference");
        assert!(found[1].resource.contains(r#"{"reference" : "Patient/aa"}"#), "{}", found[1].resource);
        assert!(found[2].resource.contains("Encounter/e1") && found[2].resource.contains("urn:uuid:cc"));
    }

    #[test]
    fn an_address_that_is_no_id_is_put_nowhere() {
        let bundle = r#"{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:a\"b","resource":{"resourceType":"Patient"}},
            {"fullUrl":"urn:uuid:c","resource":{"resourceType":"Patient","id":"d\"e"}},
            {"resource":{"resourceType":"Task","focus":{"reference":"urn:uuid:c"}}}]}"#;
        let found = entries(bundle).unwrap();
        assert_eq!(found[0].resource, r#"{"resourceType":"Patient"}"#);
        assert!(found[2].resource.contains("urn:uuid:c"));
    }

    #[test]
    fn what_is_no_bundle_is_itself_and_what_is_no_object_nothing() {
        let patient = r#"{"resourceType":"Patient"}"#;
        assert_eq!(
            entries(patient).unwrap(),
            [Entry { resource_type: Some("Patient".into()), resource: patient.into() }]
        );
        assert_eq!(entries("{}").unwrap()[0].resource_type, None);
        assert!(
            entries("[]").is_err()
                && entries("{").is_err()
                && entries(r#"{"resourceType":"Bundle","entry":1}"#).is_err()
        );
    }
}
