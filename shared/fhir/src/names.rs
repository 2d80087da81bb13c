//! The names that FHIR R4 has: of elements, and of resource types. They alone are told, since a member's name may be anything.
//! The lists are those of HL7's JSON schema for R4, and what STU3 and R5 have besides those of `fhir.resources`:
//! `local/test-fhir.py` compares them.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use records::ResourceType;

/// Stands for names that FHIR has not.
pub const OTHER: &str = "(other)";

/// The longest path that is told.
const MAX_PATH: usize = 256;

fn names_of(text: &'static str, set: &'static OnceLock<HashSet<&'static str>>) -> &'static HashSet<&'static str> {
    set.get_or_init(|| text.lines().collect())
}

/// An element's name, or what stands for it. With an underscore before it is what is said of a primitive.
pub(crate) fn element(name: &str) -> &str {
    static ELEMENTS: OnceLock<HashSet<&str>> = OnceLock::new();
    let plain = name.strip_prefix('_').unwrap_or(name);
    if names_of(include_str!("elements.txt"), &ELEMENTS).contains(plain) { name } else { OTHER }
}

/// The name of a resource's own element, or what stands for it. One that R4 has not and another version has names that.
pub(crate) fn top(resource_type: ResourceType, name: &str) -> &str {
    static OTHERS: OnceLock<HashMap<(&str, &str), String>> = OnceLock::new();
    let others = OTHERS.get_or_init(|| {
        let parts = |line: &'static str| line.split_once(' ').and_then(|(of, rest)| Some((of, rest.split_once(' ')?)));
        let lines = include_str!("other-versions.txt").lines().filter_map(parts);
        lines.map(|(of, (name, version))| ((of, name), format!("{name} ({version})"))).collect()
    });
    others.get(&(resource_type.as_str(), name)).map_or_else(|| element(name), String::as_str)
}

/// Whether a path begins with an element of another version.
pub(crate) fn is_of_other_version(path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    first.ends_with(')') && first != OTHER
}

/// A resource type's name, or what stands for it.
#[must_use]
pub fn resource_type(name: &str) -> &str {
    static TYPES: OnceLock<HashSet<&str>> = OnceLock::new();
    if names_of(include_str!("resource-types.txt"), &TYPES).contains(name) { name } else { OTHER }
}

/// The path of a member below another one, of bounded length.
pub(crate) fn below(mut path: String, name: &str) -> String {
    if path.len() <= MAX_PATH {
        path.push('.');
        path.push_str(element(name));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fhir_has_are_told_and_no_others() {
        assert_eq!(
            (element("birthDate"), element("_birthDate"), element("johndoe")),
            ("birthDate", "_birthDate", OTHER)
        );
        let of_encounter = |name| top(ResourceType::Encounter, name);
        assert_eq!([of_encounter("actualPeriod"), of_encounter("class")], ["actualPeriod (R5)", "class"]);
        assert!(
            is_of_other_version("actualPeriod (R5).start")
                && !is_of_other_version(OTHER)
                && !is_of_other_version("class")
        );
        assert_eq!((resource_type("Procedure"), resource_type("JaneDoe")), ("Procedure", OTHER));
        assert!(ResourceType::ALL.iter().all(|known| resource_type(known.as_str()) == known.as_str()));
        let long = (0..10_000).fold("name".to_owned(), |path, _| below(path, "extension"));
        assert!(long.len() < MAX_PATH + 70);
    }
}
