//! Bundles: the resources in them, and who is meant by the addresses that they have there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::node::NotJson;

/// How an address begins that is good in its Bundle alone.
const URN: &str = "urn:uuid:";

/// A reference within a JSON text. Of all escapes an address may have that of the slash alone.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| match Regex::new(r#"("reference"\s*:\s*")((?:[^"\\]|\\/)+)(")"#) {
        Ok(pattern) => pattern,
        // Tests read references by it: what is compiled in is never wrong.
        Err(error) => unreachable!("the pattern cannot be read: {error}"),
    });

/// A resource of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its type, where it names one.
    pub resource_type: Option<String>,
    /// As JSON; with an id, where it has none and its address in the Bundle is one.
    pub resource: String,
    pub id: Option<String>,
    /// Whether the Bundle has it deleted.
    pub is_deletion: bool,
}

#[derive(Default)]
struct Head {
    resource_type: Option<String>,
    id: Option<String>,
    /// Whether there is one, and be it no text.
    has_id: bool,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(default, borrow)]
    entry: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BundleEntry<'a> {
    #[serde(default, borrow)]
    full_url: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    resource: Option<&'a RawValue>,
    #[serde(default)]
    request: Option<BundleRequest>,
}

#[derive(Deserialize)]
struct BundleRequest {
    #[serde(default)]
    method: Option<String>,
}

/// The resources of a JSON text: those of a Bundle, or the one that it is. References by addresses of the Bundle name type and id.
///
/// # Errors
/// When it is no JSON object.
pub fn entries(text: &str) -> Result<Vec<Entry>, NotJson> {
    let Head { resource_type, id, .. } = head_of(text)?;
    if resource_type.as_deref() != Some("Bundle") {
        return Ok(vec![Entry { resource_type, resource: text.to_owned(), id, is_deletion: false }]);
    }
    let bundle: Bundle<'_> = serde_json::from_str(text).map_err(|_| NotJson)?;
    let (mut entries, mut known) = (Vec::new(), HashMap::new());
    for raw in bundle.entry {
        // An entry that is none stands for itself, and is told as a resource without a type.
        let BundleEntry { full_url, resource, request } = serde_json::from_str(raw.get())
            .unwrap_or_else(|_| BundleEntry { resource: Some(raw), ..BundleEntry::default() });
        let is_deletion = request.and_then(|request| request.method).is_some_and(|method| method == "DELETE");
        let resource = match (resource, is_deletion) {
            (Some(resource), _) => resource.get(),
            // What is deleted, the entry says.
            (None, true) => raw.get(),
            (None, false) => continue,
        };
        // What is no object is nobody's, and is told as that.
        let Head { resource_type, id, has_id } = head_of(resource).unwrap_or_default();
        let plain_type = resource_type.as_deref().filter(|name| is_plain(name));
        // Whatever stands there as its id, a second one would be no better.
        let address = full_url.as_deref().filter(|_| !has_id);
        let of_url = address.and_then(|url| id_of(url, plain_type)).filter(|id| is_plain(id));
        let named = id.as_deref().or(of_url).filter(|id| is_plain(id)).map(str::to_owned);
        if let (Some(url), Some(resource_type), Some(id)) = (&full_url, plain_type, &named) {
            known.insert(url.clone().into_owned(), format!("{resource_type}/{id}"));
        }
        let resource = match of_url.filter(|_| plain_type.is_some()) {
            // An object with members: its type is one.
            Some(id) => resource.replacen('{', &format!("{{\"id\":\"{id}\","), 1),
            None => resource.to_owned(),
        };
        entries.push(Entry { resource_type, resource, id: named.or(id), is_deletion });
    }
    for entry in &mut entries {
        if let Cow::Owned(resource) = with_references(&entry.resource, &known) {
            entry.resource = resource;
        }
    }
    Ok(entries)
}

/// The id in an address: `urn:uuid:…`, or a URL that ends in type and id.
fn id_of<'a>(url: &'a str, resource_type: Option<&str>) -> Option<&'a str> {
    if let Some(uuid) = url.strip_prefix(URN) {
        return Some(uuid);
    }
    let (rest, id) = url.rsplit_once('/')?;
    (rest.rsplit('/').next() == resource_type).then_some(id)
}

fn head_of(text: &str) -> Result<Head, NotJson> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members<'a> {
        #[serde(default, borrow)]
        resource_type: Option<&'a RawValue>,
        #[serde(default, borrow, deserialize_with = "even_null")]
        id: Option<&'a RawValue>,
    }
    // A list would be taken for the members in their order.
    if !text.trim_start().starts_with('{') {
        return Err(NotJson);
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|_| NotJson)?;
    let text_of = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    Ok(Head { resource_type: text_of(members.resource_type), id: text_of(members.id), has_id: members.id.is_some() })
}

/// A member's value: serde alone would take `null` for a member that is not there.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// How many references of a resource lead nowhere: by an address of a Bundle, or by a search.
#[must_use]
pub fn unresolved(resource: &str) -> u64 {
    let leads_nowhere = |found: &Captures<'_>| {
        found.get(2).is_some_and(|text| text.as_str().starts_with(URN) || text.as_str().contains('?'))
    };
    REFERENCE.captures_iter(resource).filter(leads_nowhere).count() as u64
}

/// Whether a text can be put into JSON as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// A resource with references that are known by their address put as `Type/id`.
fn with_references<'a>(resource: &'a str, known: &HashMap<String, String>) -> Cow<'a, str> {
    if known.is_empty() {
        return Cow::Borrowed(resource);
    }
    REFERENCE.replace_all(resource, |found: &Captures<'_>| {
        let part = |at: usize| found.get(at).map(|part| part.as_str()).unwrap_or_default();
        let meant = known.get(&part(2).replace("\\/", "/")).map_or(part(2), String::as_str);
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
            {"fullUrl":"https://x.example/Patient/77","resource":{"resourceType":"Patient"}},
            {"resource":{"resourceType":"Task","focus":{"reference":"https:\/\/x.example\/Patient\/77"},
             "owner":{"reference":"Practitioner?identifier=a|b"}}},
            {"fullUrl":"https://x.example/Patient/8","request":{"method":"DELETE","url":"Patient/8"}},
            {"search":{"mode":"outcome"}}]}"#;
        let found = entries(bundle).unwrap();
        let types: Vec<_> = found.iter().filter_map(|entry| entry.resource_type.as_deref()).collect();
        assert_eq!(types, ["Patient", "Encounter", "Observation", "Patient", "Task"]);
        let last = found.last().unwrap();
        assert!(last.is_deletion && last.resource.contains("Patient/8"));
        assert!(found[0].resource.starts_with(r#"{"id":"aa","resourceType":"Patient""#), "{}", found[0].resource);
        assert!(found[0].resource.contains(r#""family":"urn:uuid:bb""#), "no reference");
        assert!(found[1].resource.contains(r#"{"reference" : "Patient/aa"}"#), "{}", found[1].resource);
        assert!(found[2].resource.contains("Encounter/e1") && found[2].resource.contains("urn:uuid:cc"));
        assert!(found[4].resource.contains(r#""reference":"Patient/77""#), "{}", found[4].resource);
        assert_eq!(
            (unresolved(&found[2].resource), unresolved(&found[4].resource), unresolved(&found[1].resource)),
            (1, 1, 0)
        );
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
    fn a_resource_with_an_id_gets_no_second_one() {
        let bundle = r#"{"resourceType":"Bundle","entry":[
            {"fullUrl":"urn:uuid:aa","resource":{"resourceType":"Patient","id":5}},
            {"fullUrl":"urn:uuid:bb","resource":{"resourceType":"Patient","id":null}},
            {"fullUrl":"urn:uuid:cc","resource":{"resourceType":"Patient","id":"p1"}}]}"#;
        let found = entries(bundle).unwrap();
        let kept = ["5", "null", "\"p1\""].map(|id| format!(r#"{{"resourceType":"Patient","id":{id}}}"#));
        assert!(found.iter().map(|entry| &entry.resource).eq(&kept), "{found:?}");
        assert!(found.iter().map(|entry| entry.id.as_deref()).eq([None, None, Some("p1")]), "{found:?}");
    }

    #[test]
    fn what_is_no_bundle_is_itself_and_what_is_no_object_nothing() {
        let patient = r#"{"resourceType":"Patient"}"#;
        assert_eq!(
            entries(patient).unwrap(),
            [Entry { resource_type: Some("Patient".into()), resource: patient.into(), id: None, is_deletion: false }]
        );
        assert_eq!(entries("{}").unwrap()[0].resource_type, None);
        let odd = entries(
            r#"{"resourceType":"Bundle","entry":[7,{"fullUrl":7,"resource":{"resourceType":"Patient"}},
            {"resource":["a"]},{"resource":{"resourceType":"Patient","id":5}}]}"#,
        );
        assert_eq!(
            odd.unwrap().iter().map(|entry| entry.resource_type.as_deref()).collect::<Vec<_>>(),
            [None, None, None, Some("Patient")]
        );
        assert!(
            entries("[]").is_err()
                && entries("{").is_err()
                && entries(r#"{"resourceType":"Bundle","entry":1}"#).is_err()
        );
    }
}
