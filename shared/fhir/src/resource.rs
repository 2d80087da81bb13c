//! Whole resources: the record's head, what the table does not carry, and what is kept of foreign resources.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use compact_str::CompactString;
use indexmap::IndexMap;
use records::ResourceType;
use serde::{Deserialize, Serialize};

use crate::ids;
use crate::losses::{self, EnteredInError, Losses};
use crate::node::{Members, Node, NotJson};
use crate::path::{is_form_of, is_own};
use crate::read::Reader;
use crate::table::{TypeTable, table};
use crate::write;

/// The extension in which a member travels that the table does not carry.
const MEMBER: &str = "https://clinikapi.com/fhir/StructureDefinition/member";
/// The flat member that keeps foreign elements.
const KEPT: &str = "x-fhir";
/// What of `meta` is carried as it is.
const META: [&str; 6] = ["lastUpdated", "versionId", "source", "profile", "security", "tag"];

/// What becomes of foreign elements that the flat record has no member for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unmapped {
    /// They are kept in `x-fhir`.
    #[default]
    Keep,
    /// They are left out.
    Drop,
}

/// The version of the table. Whoever changes what is written raises it here and there.
pub const MAPPING_VERSION: u32 = 1;

/// A flat record as a resource. `None` for a type that the table does not have: there is none.
#[must_use]
pub fn to_fhir(resource_type: ResourceType, flat: &Members) -> Option<Members> {
    let of = table().types.get(&resource_type)?;
    let mut resource = carried(resource_type, of, flat);
    add_rest(of, flat, &mut resource);
    Some(resource)
}

/// What of a record the table carries, and what is kept of a foreign resource.
fn carried(resource_type: ResourceType, of: &'static TypeTable, flat: &Members) -> Members {
    let mut resource = head_to_fhir(resource_type, flat);
    resource.extend(with_kept(of, flat, write::elements(of, flat)));
    resource
}

/// Writes a record's line as a resource's, after what `out` holds.
///
/// # Errors
/// When the line is no record.
pub fn write_fhir(resource_type: ResourceType, line: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
    let text = std::str::from_utf8(line).map_err(|_| NotJson)?;
    let Node::Object(flat) = Node::parse(text)? else { return Err(NotJson) };
    Node::Object(to_fhir(resource_type, &flat).ok_or(NotJson)?).write(out);
    Ok(())
}

/// Reads a resource's line as a record's, which `out` holds afterwards. `None` for what is no JSON object, or of a type that the
/// table does not have.
///
/// # Errors
/// When the resource says that it was entered in error.
pub fn read_fhir(
    resource_type: ResourceType,
    line: &[u8],
    unmapped: Unmapped,
    out: &mut Vec<u8>,
) -> Option<Result<Losses, EnteredInError>> {
    let Ok(Node::Object(resource)) = Node::parse(std::str::from_utf8(line).ok()?) else { return None };
    let read = from_fhir(resource_type, &resource, unmapped)?;
    Some(read.map(|Read { flat, losses }| {
        out.clear();
        Node::Object(flat).write(out);
        losses
    }))
}

/// A resource that was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// The flat record.
    pub flat: Members,
    /// What its members do not say.
    pub losses: Losses,
}

/// A resource as a flat record. `None` for a type that the table does not have: there is none.
///
/// # Errors
/// When the resource says that it was entered in error.
#[must_use]
pub fn from_fhir(
    resource_type: ResourceType,
    resource: &Members,
    unmapped: Unmapped,
) -> Option<Result<Read, EnteredInError>> {
    let of = table().types.get(&resource_type)?;
    if let Err(error) = losses::refuse_error(of, resource) {
        return Some(Err(error));
    }
    let mut reader = Reader::of(resource);
    let mut flat = read_with(&mut reader, of, resource);
    flat.insert("resourceType".into(), Node::text(resource_type.as_str()));
    // What travels as text is no element of the resource.
    let fresh = carried(resource_type, of, &flat);
    let losses = Losses::of(&reader, resource_type, of, resource, &fresh);
    if unmapped == Unmapped::Keep {
        let kept = kept(of, &fresh, resource);
        if !kept.is_empty() {
            flat.insert(KEPT.into(), Node::Object(kept));
        }
    }
    Some(Ok(Read { flat, losses }))
}

fn head_to_fhir(resource_type: ResourceType, flat: &Members) -> Members {
    let mut resource = Members::default();
    resource.insert("resourceType".into(), Node::text(resource_type.as_str()));
    if let Some(id) = flat.get("id").and_then(Node::as_text) {
        resource.insert("id".into(), Node::text(ids::to_fhir(id)));
    }
    if let Some(meta) = flat.get("meta").and_then(Node::as_object) {
        let mut carried = meta.clone();
        carried.retain(|name, _| META.contains(&name.as_str()));
        if !carried.is_empty() {
            resource.insert("meta".into(), Node::Object(carried));
        }
    }
    resource
}

/// The flat members that a resource says, those included that travel as text.
fn read_back(of: &'static TypeTable, resource: &Members) -> Members {
    read_with(&mut Reader::of(resource), of, resource)
}

fn read_with<'a>(reader: &mut Reader<'a>, of: &'static TypeTable, resource: &'a Members) -> Members {
    let mut flat = Members::default();
    if let Some(id) = resource.get("id").and_then(Node::as_text) {
        flat.insert("id".into(), Node::text(ids::from_fhir(id)));
    }
    if let Some(meta) = resource.get("meta") {
        flat.insert("meta".into(), meta.clone());
    }
    flat.extend(reader.members(of));
    let mut is_replaced = false;
    for extension in member_extensions(resource) {
        let Some(leaf) = extension.get("valueString") else { continue };
        let Some(text) = leaf.as_text() else { continue };
        if let Ok(Node::Object(members)) = Node::parse(&format!("{{{text}}}")) {
            // One member each, as they are written: more, or another type, is nobody's export.
            let mut members = members.into_iter();
            if let (Some((name, value)), None) = (members.next(), members.next())
                && name != "resourceType"
                // What is kept stands in the resource itself: no export writes it so.
                && !(name == KEPT && value.as_object().is_some())
            {
                is_replaced |= flat.get(&name).is_some_and(|read| *read != value);
                flat.insert(name, value);
            }
        }
    }
    if is_replaced {
        // Which elements said something else nobody knows: what is not written again counts as lost.
        reader.forget(0);
    }
    for extension in member_extensions(resource) {
        ["url", "valueString"].iter().filter_map(|name| extension.get(name)).for_each(|leaf| reader.mark(leaf));
    }
    flat
}

fn member_extensions(resource: &Members) -> impl Iterator<Item = &Node> {
    let extensions = resource.get("extension").map(Node::entries).unwrap_or_default();
    extensions.iter().filter(|extension| is_member(extension))
}

fn is_member(extension: &Node) -> bool {
    extension.get("url").and_then(Node::as_text) == Some(MEMBER)
}

/// Adds what does not come back as it was.
fn add_rest(of: &'static TypeTable, flat: &Members, resource: &mut Members) {
    let back = read_back(of, resource);
    let is_said = |name: &str, value: &Node| {
        name == "resourceType" || (name == KEPT && value.as_object().is_some()) || back.get(name) == Some(value)
    };
    let rest = flat.iter().filter(|(name, value)| !is_said(name, value));
    let rest: Vec<_> = rest.map(|(name, value)| member_extension(name, value)).collect();
    if rest.is_empty() {
        return;
    }
    match resource.entry("extension".into()).or_insert_with(|| Node::List(Vec::new())) {
        Node::List(extensions) => extensions.extend(rest),
        other => *other = Node::List(rest),
    }
}

fn member_extension(name: &str, value: &Node) -> Node {
    let member = format!("{}:{}", Node::text(name).to_json(), value.to_json());
    let mut text = String::with_capacity(member.len());
    for c in member.chars() {
        // White space that some readers of FHIR refuse, as JSON escapes it: all of it stands within strings.
        let is_plain = matches!(c, ' ' | '\t' | '\r' | '\n');
        if is_plain || !(c.is_whitespace() || c == '\u{feff}' || c.is_control()) {
            text.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
    }
    Node::object([("url", Node::text(MEMBER)), ("valueString", Node::text(text))])
}

/// The foreign elements that a fresh export would not write just so, with those that they stand or fall with; `null` for
/// those that it would write and that were not there.
fn kept(of: &TypeTable, fresh: &Members, resource: &Members) -> Members {
    fn element<'a>(from: &'a Members, name: &str) -> Option<Cow<'a, Node>> {
        from.get(name).and_then(|element| foreign_element(name, element))
    }
    let names = || resource.keys().chain(fresh.keys()).filter(|name| !is_own(name));
    let differing = names().filter(|name| element(resource, name) != element(fresh, name));
    let groups: HashSet<_> = differing.map(|name| group_of(of, name)).collect();
    names()
        .filter(|name| groups.contains(group_of(of, name)))
        .map(|name| (name.clone(), element(resource, name).map_or(Node::Null, Cow::into_owned)))
        .collect()
}

/// An element without what only travels in it.
fn foreign_element<'a>(name: &str, element: &'a Node) -> Option<Cow<'a, Node>> {
    match element {
        Node::List(items) if name == "extension" => {
            let others: Vec<_> = items.iter().filter(|item| !is_member(item)).cloned().collect();
            (!others.is_empty()).then_some(Cow::Owned(Node::List(others)))
        }
        element => Some(Cow::Borrowed(element)),
    }
}

/// What an element stands or falls with: the forms of a choice, and what is said of a primitive beside it.
fn group_of<'a>(of: &'a TypeTable, name: &'a str) -> &'a str {
    let name = name.trim_start_matches('_');
    let mut choices = of.fields.iter().filter_map(|field| field.choice.as_deref());
    choices.find(|choice| is_form_of(name, choice)).unwrap_or(name)
}

/// The elements that stand or fall together; `None` for one that was not there.
type Group<'a> = Vec<(&'a CompactString, Option<Cow<'a, Node>>)>;

/// Puts kept elements in the place of those that were written, unless a member has been changed since.
fn with_kept(of: &'static TypeTable, flat: &Members, elements: Members) -> Members {
    let Some(kept) = flat.get(KEPT).and_then(Node::as_object) else { return elements };
    let mut groups: IndexMap<&str, Group<'_>> = IndexMap::new();
    for (name, element) in kept.iter().filter(|(name, _)| !is_own(name)) {
        let element = if *element == Node::Null { None } else { foreign_element(name, element) };
        groups.entry(group_of(of, name)).or_default().push((name, element));
    }
    // Members that a resource does not read as they are, or invents.
    let wrong = |elements: &Members| {
        let back = read_back(of, elements);
        let names = flat.keys().chain(back.keys()).filter(|name| flat.get(*name) != back.get(*name));
        names.cloned().collect::<HashSet<_>>()
    };
    let put = |into: &mut Members, (group, kept): (&&str, &Group<'_>)| {
        for (name, element) in kept {
            match element {
                Some(element) => into.insert((*name).clone(), Node::clone(element)),
                None => into.shift_remove(*name),
            };
        }
        // Two forms of one choice say that the record has another one by now.
        let is_form = |name: &&CompactString| !name.starts_with('_') && group_of(of, name) == *group;
        !of.is_choice(group) || into.keys().filter(is_form).count() <= 1
    };
    let before = wrong(&elements);
    let mut all = elements.clone();
    if groups.iter().all(|group| put(&mut all, group)) && wrong(&all).is_subset(&before) {
        return all;
    }
    // What no field reads makes none worse: only the others are tried one by one, and of these there are few.
    let (read, unread): (Vec<_>, Vec<_>) = groups.iter().partition(|(group, _)| of.reads(group));
    let (mut put_so_far, mut wrong_so_far) = (elements, before);
    for group in unread {
        put(&mut put_so_far, group);
    }
    for group in read {
        let mut candidate = put_so_far.clone();
        if put(&mut candidate, group) {
            let now = wrong(&candidate);
            if now.is_subset(&wrong_so_far) {
                (put_so_far, wrong_so_far) = (candidate, now);
            }
        }
    }
    put_so_far
}
