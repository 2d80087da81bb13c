//! The names that FHIR R4 has: of elements, and of resource types. They alone are told, since a member's name may be anything.
//! The lists are those of HL7's JSON schema for R4, which `local/test-fhir.py` compares.

use std::collections::HashSet;
use std::sync::OnceLock;

/// Stands for names that FHIR has not.
pub(crate) const OTHER: &str = "(other)";

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

/// A resource type's name, or what stands for it.
#[must_use]
pub fn resource_type(name: &str) -> &str {
    static TYPES: OnceLock<HashSet<&str>> = OnceLock::new();
    if names_of(include_str!("resource-types.txt"), &TYPES).contains(name) { name } else { OTHER }
}

/// The path of a member below another one, of bounded length.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path.len() > MAX_PATH { path.to_owned() } else { format!("{path}.{}", element(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::ResourceType;

    #[test]
    fn names_that_fhir_has_are_told_and_no_others() {
        assert_eq!(
            (element("birthDate"), element("_birthDate"), element("johndoe")),
            ("birthDate", "_birthDate", OTHER)
        );
        assert_eq!((resource_type("Procedure"), resource_type("JaneDoe")), ("Procedure", OTHER));
        assert!(ResourceType::ALL.iter().all(|known| resource_type(known.as_str()) == known.as_str()));
        let long = (0..10_000).fold("name".to_owned(), |path, _| below(&path, "extension"));
        assert!(long.len() < MAX_PATH + 70);
    }
}
