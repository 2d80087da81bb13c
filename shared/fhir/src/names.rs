//! The names that FHIR R4 has: of elements, and of resource types. They alone are told, since a member's name may be anything.
//! The lists are those of HL7's JSON schema for R4, and what STU3 and R5 have besides those of `fhir.resources`:
//! `local/test-fhir.py` compares them.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use records::ResourceType;

/// Stands for names that FHIR has not.
pub const OTHER: &str = "(other)";

/// The longest path that is told.
const MAX_PATH: usize = 256;

/// An element's name, or what stands for it. With an underscore before it is what is said of a primitive.
pub(crate) fn element(name: &str) -> &str {
    static ELEMENTS: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("elements.txt").lines().collect());
    let plain = name.strip_prefix('_').unwrap_or(name);
    if ELEMENTS.contains(plain) { name } else { OTHER }
}

/// The name of a resource's own element, or what stands for it. One that R4 has not and another version has names that.
pub(crate) fn top(resource_type: ResourceType, name: &str) -> &str {
    static OTHERS: LazyLock<HashMap<(&str, &str), String>> = LazyLock::new(|| {
        let parts = |line: &'static str| line.split_once(' ').and_then(|(of, rest)| Some((of, rest.split_once(' ')?)));
        let lines = include_str!("other-versions.txt").lines().filter_map(parts);
        lines.map(|(of, (name, version))| ((of, name), format!("{name} ({version})"))).collect()
    });
    OTHERS.get(&(resource_type.as_str(), name)).map_or_else(|| element(name), String::as_str)
}

/// Whether a path begins with an element of another version.
pub(crate) fn is_of_other_version(path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    first.ends_with(')') && first != OTHER
}

/// A resource type's name, or what stands for it.
#[must_use]
pub fn resource_type(name: &str) -> &str {
    static TYPES: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("resource-types.txt").lines().collect());
    if TYPES.contains(name) { name } else { OTHER }
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
