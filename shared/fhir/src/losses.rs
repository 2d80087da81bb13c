//! What of a foreign resource the flat members do not say.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};

use records::ResourceType;

use crate::names;
use crate::node::{Members, Node};
use crate::path::{Step, is_form_of, is_own};
use crate::read::Reader;
use crate::table::{Rule, TypeTable};

/// More elements than this of one resource are counted together.
const MAX_ELEMENTS: usize = 1_000;

/// The elements that were not read, by their path without indices: `identifier.value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<String, Loss>);

/// What is lost of one element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// How often it stands in the resource.
    pub leaves: u64,
    /// Whether it changes what the resource means (FHIR's isModifier).
    pub modifier: bool,
}

/// The resource was entered in error: it must not become a record that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnteredInError {
    /// The element that says so.
    pub element: String,
}

impl Losses {
    /// What `reader` has not read of a resource, but for what stands in `fresh`, too: the same record, as it would be exported.
    pub(crate) fn of(
        reader: &Reader<'_>,
        resource_type: ResourceType,
        of: &TypeTable,
        resource: &Members,
        fresh: &Members,
    ) -> Self {
        let mut losses = Self::default();
        let mut written = HashSet::new();
        for (name, element) in fresh.iter() {
            each_leaf(names::element(name), element, &mut |path, leaf| {
                written.insert((path.to_owned(), leaf.to_json()));
            });
        }
        for (name, element) in resource.iter().filter(|(name, _)| !is_own(name)) {
            // A concept without a code says what it means by its text alone. Few elements are asked for it.
            let has_code = LazyCell::new(|| {
                let mut found = false;
                each_leaf("", element, &mut |path, _| {
                    found |= path.is_empty() || path.rsplit('.').next() == Some("code");
                });
                found
            });
            each_leaf(names::top(resource_type, name), element, &mut |path, leaf| {
                let modifier = is_modifier(of, path);
                let is_renamed = modifier && reader.has_renamed(leaf);
                let is_read = reader.has_read(leaf) && !is_renamed;
                if is_read || written.contains(&(path.to_owned(), leaf.to_json())) {
                    return;
                }
                let has_room = losses.0.len() < MAX_ELEMENTS || losses.0.contains_key(path);
                let loss = losses.0.entry(if has_room { path } else { names::OTHER }.to_owned()).or_default();
                loss.leaves += 1;
                loss.modifier |= modifier
                    && changes_meaning(path, leaf, || *has_code)
                    && (path.rsplit('.').next() != Some("use") || is_of_read(reader, element, leaf) != Some(false));
            });
        }
        losses
    }

    /// Every lost element.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Loss)> {
        self.0.iter().map(|(path, loss)| (path.as_str(), *loss))
    }

    /// An element that changes what the resource means, if one is lost.
    #[must_use]
    pub fn modifier(&self) -> Option<&str> {
        self.iter().find(|(_, loss)| loss.modifier).map(|(path, _)| path)
    }

    /// An element of STU3 or R5 that R4 has not, if there is one.
    #[must_use]
    pub fn of_other_version(&self) -> Option<&str> {
        self.iter().map(|(path, _)| path).find(|path| names::is_of_other_version(path))
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether anything was read of the object that a leaf is a member of; `None` where the leaf is not found.
fn is_of_read(reader: &Reader<'_>, element: &Node, leaf: &Node) -> Option<bool> {
    match element {
        Node::List(items) => items.iter().find_map(|item| is_of_read(reader, item, leaf)),
        Node::Object(members) if members.iter().any(|(_, member)| std::ptr::eq(member, leaf)) => {
            let mut is_read = false;
            each_leaf("", element, &mut |_, leaf| is_read |= reader.has_read(leaf));
            Some(is_read)
        }
        Node::Object(members) => members.iter().find_map(|(_, member)| is_of_read(reader, member, leaf)),
        _ => None,
    }
}

/// What a resource says of itself that never counted.
const ERROR: &str = "entered-in-error";

/// Fails if any element that changes the meaning says that the resource was entered in error, and the record cannot say
/// so itself.
pub(crate) fn refuse_error(of: &TypeTable, resource: &Members) -> Result<(), EnteredInError> {
    let mut found = None;
    for (name, element) in resource.iter() {
        each_leaf(names::element(name), element, &mut |path, leaf| {
            if leaf.as_text() == Some(ERROR) && is_modifier(of, path) && !knows_error(of, path) {
                found.get_or_insert_with(|| path.to_owned());
            }
        });
    }
    found.map_or(Ok(()), |element| Err(EnteredInError { element }))
}

/// Whether the flat member that an element becomes has a value of its own for this.
fn knows_error(of: &TypeTable, name: &str) -> bool {
    of.fields.iter().any(|field| match &field.place.rule {
        Rule::Copy(copy) => {
            field.place.fhir.0 == [Step::Element(name.to_owned())] && copy.options.iter().any(|o| o == ERROR)
        }
        _ => false,
    })
}

/// What changes the meaning in every type: what a quantity is compared with, and what others say of an element.
const MODIFIERS: [&str; 4] = ["comparator", "implicitRules", "modifierExtension", "use"];

/// Whether a leaf belongs to one of the type's modifiers; `deceased[x]` is all that begin so.
fn is_modifier(of: &TypeTable, path: &str) -> bool {
    let is_step = |(modifier, step): (&str, &str)| match modifier.strip_suffix("[x]") {
        Some(choice) => is_form_of(step, choice),
        None => modifier == step,
    };
    let is_within = |modifier: &String| {
        modifier.split('.').count() <= path.split('.').count() && modifier.split('.').zip(path.split('.')).all(is_step)
    };
    path.split('.').any(|step| MODIFIERS.contains(&step)) || of.modifiers.iter().any(is_within)
}

/// Of a code its display says nothing more, and what is so anyway is no change.
fn changes_meaning(path: &str, leaf: &Node, has_code: impl Fn() -> bool) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    match (last, leaf) {
        (_, Node::Bool(value)) => *value != (last == "active"),
        // That a name or an address is the old one changes what it says; that it is the official one does not.
        ("use", leaf) => matches!(leaf.as_text(), Some("old" | "temp")),
        ("display" | "text", _) => !has_code(),
        ("system" | "version" | "userSelected", _) => false,
        _ => true,
    }
}

/// Every primitive below an element, with its path.
fn each_leaf(path: &str, element: &Node, see: &mut dyn FnMut(&str, &Node)) {
    match element {
        Node::List(items) => items.iter().for_each(|item| each_leaf(path, item, see)),
        Node::Object(members) => {
            members.iter().for_each(|(name, member)| each_leaf(&names::below(path, name), member, see));
        }
        leaf => see(path, leaf),
    }
}
