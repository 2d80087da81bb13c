//! What of a foreign resource the flat members do not say.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};

use records::ResourceType;

use crate::names;
use crate::node::{Members, Node};
use crate::path::{Step, is_form_of, is_own};
use crate::read::Reader;
use crate::table::{Rule, TypeTable};

/// More elements than this are counted together: a resource may have any names.
pub(crate) const MAX_ELEMENTS: usize = 1_000;

/// The elements that were not read, by their path without indices: `identifier.value`. Each with whether it changes what the
/// resource means (FHIR's isModifier).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<String, bool>);

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
        // Of a resource that somebody else wrote not much is unread.
        let written = LazyCell::new(|| {
            let mut written = HashSet::new();
            for (name, element) in fresh {
                each_leaf(Place::of(names::element(name)), element, &mut |place, leaf| {
                    written.insert((place.path(), leaf.to_json()));
                });
            }
            written
        });
        for (name, element) in resource.iter().filter(|(name, _)| !is_own(name)) {
            // A concept without a code says what it means by its text alone. Few elements are asked for it.
            let has_code = LazyCell::new(|| {
                let mut found = false;
                each_leaf(Place::of(""), element, &mut |place, _| found |= matches!(place.name, "" | "code"));
                found
            });
            each_leaf(Place::of(names::top(resource_type, name)), element, &mut |place, leaf| {
                let (is_read, is_renamed) = (reader.has_read(leaf), reader.has_renamed(leaf));
                if is_read && !is_renamed {
                    return;
                }
                let path = place.path();
                let modifier = is_modifier(of, &path);
                let key = (path, leaf.to_json());
                if (is_read && !modifier) || written.contains(&key) {
                    return;
                }
                let (path, _) = key;
                let is_meant = modifier
                    && changes_meaning(place.name, leaf, || *has_code)
                    && (place.name != "use" || is_of_read(reader, element, leaf) != Some(false));
                let has_room = losses.0.len() < MAX_ELEMENTS || losses.0.contains_key(&path);
                *losses.0.entry(if has_room { path } else { names::OTHER.to_owned() }).or_default() |= is_meant;
            });
        }
        losses
    }

    /// Every lost element, and whether it changes what the resource means.
    pub fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(path, modifier)| (path.as_str(), *modifier))
    }

    /// An element that changes what the resource means, if one is lost.
    #[must_use]
    pub fn modifier(&self) -> Option<&str> {
        self.iter().find(|(_, modifier)| *modifier).map(|(path, _)| path)
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
        Node::Object(members) if members.values().any(|member| std::ptr::eq(member, leaf)) => {
            let mut is_read = false;
            each_leaf(Place::of(""), element, &mut |_, leaf| is_read |= reader.has_read(leaf));
            Some(is_read)
        }
        Node::Object(members) => members.values().find_map(|member| is_of_read(reader, member, leaf)),
        _ => None,
    }
}

/// What a resource says of itself that never counted.
const ERROR: &str = "entered-in-error";

/// Fails if any element that changes the meaning says that the resource was entered in error, and the record cannot say
/// so itself.
pub(crate) fn refuse_error(of: &TypeTable, resource: &Members) -> Result<(), EnteredInError> {
    let mut found = None;
    for (name, element) in resource {
        each_leaf(Place::of(names::element(name)), element, &mut |place, leaf| {
            if leaf.as_text() == Some(ERROR) && found.is_none() {
                found = Some(place.path()).filter(|path| is_modifier(of, path) && !knows_error(of, path));
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
fn changes_meaning(name: &str, leaf: &Node, has_code: impl Fn() -> bool) -> bool {
    match (name, leaf) {
        (_, Node::Bool(value)) => *value != (name == "active"),
        // That a name or an address is the old one changes what it says; that it is the official one does not.
        ("use", leaf) => matches!(leaf.as_text(), Some("old" | "temp")),
        ("display" | "text", _) => !has_code(),
        ("system" | "version" | "userSelected", _) => false,
        _ => true,
    }
}

/// Where an element stands. Its path is put together where it is told, which is seldom.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(name: &'a str) -> Self {
        Self { parent: None, name }
    }

    /// As `identifier.value`.
    fn path(&self) -> String {
        match self.parent {
            Some(parent) => names::below(parent.path(), self.name),
            None => self.name.to_owned(),
        }
    }
}

/// Every primitive below an element, with its place.
fn each_leaf(place: Place<'_>, element: &Node, see: &mut dyn FnMut(Place<'_>, &Node)) {
    match element {
        Node::List(items) => items.iter().for_each(|item| each_leaf(place, item, see)),
        Node::Object(members) => {
            for (name, member) in members {
                each_leaf(Place { parent: Some(&place), name }, member, see);
            }
        }
        leaf => see(place, leaf),
    }
}
