//! Names that a call has and no route defines: told, or refused where something else was meant.

use indexmap::IndexMap;
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::error::Issues;

/// So many names are told at most: no answer grows with its request.
const MAX_WARNINGS: usize = 100;
/// So much of a name is told.
const MAX_NAME: usize = 64;
/// A name that differs by so many edits is nearly another one.
const NEAR: usize = 2;

/// The members of a body that its call does not define.
#[derive(Debug, Default)]
pub struct Unknown {
    /// Each with the defined name that was meant.
    near: Vec<(String, String)>,
    others: Vec<String>,
}

impl Unknown {
    /// What of these names is not among the members of `T`.
    pub(crate) fn of<T: Default + Serialize>(names: impl Iterator<Item = String>) -> Self {
        let members = members_of::<T>();
        let defined: Vec<_> = members.keys().map(String::as_str).collect();
        let mut unknown = Self::default();
        for name in names.filter(|name| !members.contains_key(name)) {
            match nearly(&name, &defined) {
                Some(meant) => unknown.near.push((shown(&name), meant.to_owned())),
                None => unknown.others.push(shown(&name)),
            }
        }
        unknown
    }

    /// An issue for each name that is nearly a defined one: ignored, the call would do something else.
    #[must_use]
    pub fn issues(&self) -> Issues {
        let mut issues = Issues::default();
        for (name, meant) in &self.near {
            issues.add(name, &format!("Unknown member; did you mean {meant}?"));
        }
        issues
    }

    /// What is told of the others: they were ignored.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> =
            self.others.iter().take(MAX_WARNINGS).map(|name| format!("{name}: Unknown member, ignored")).collect();
        if self.others.len() > MAX_WARNINGS {
            warnings.push(format!("{} more unknown members", self.others.len() - MAX_WARNINGS));
        }
        warnings
    }
}

/// A name of the client's, cut where it is too long to be one.
#[must_use]
pub fn shown(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// The defined name that was meant: it differs by one or two edits, or in case and separators alone. The first one, where
/// two are as near.
fn nearly<'a>(name: &str, defined: &[&'a str]) -> Option<&'a str> {
    // Longer ones are none, and comparing takes time.
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let distance = |known: &str| strsim::osa_distance(known, name);
    let is_near = |known: &&str| plain(known) == plain(name) || distance(known) <= NEAR;
    defined.iter().copied().filter(is_near).min_by_key(|known| distance(known))
}

/// The resource type that a name is nearly, as the end of a sentence.
#[must_use]
pub fn meant_type(name: &str) -> String {
    let names: Vec<_> = records::ResourceType::ALL.iter().map(|known| known.as_str()).collect();
    nearly(name, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The members of `T` in their order, as serde knows them: nobody has to list them twice. All are in the JSON of its
/// default.
fn members_of<T: Default + Serialize>() -> IndexMap<String, IgnoredAny> {
    let json = serde_json::to_string(&T::default()).unwrap_or_default();
    serde_json::from_str(&json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Call {
        resource_types: Option<String>,
        since: Option<String>,
        upload_id: Option<String>,
    }

    fn unknown(names: &[&str]) -> Unknown {
        Unknown::of::<Call>(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_name_that_is_nearly_defined_is_refused_with_what_was_meant() {
        for (name, meant) in [
            ("sinse", "since"),
            ("Since", "since"),
            ("resourcetypes", "resourceTypes"),
            ("resource_types", "resourceTypes"),
            ("resourceType", "resourceTypes"),
            ("upload_id", "uploadId"),
            ("upload-id", "uploadId"),
        ] {
            let unknown = unknown(&[name]);
            assert_eq!(unknown.near, [(name.to_owned(), meant.to_owned())]);
            assert!(unknown.warnings().is_empty() && !unknown.issues().is_empty());
        }
    }

    #[test]
    fn of_two_names_that_are_as_near_the_first_was_meant() {
        #[derive(Default, Serialize)]
        struct Call {
            since: Option<String>,
            files: Option<String>,
        }
        let unknown = Unknown::of::<Call>(["finee".to_owned()].into_iter());
        assert_eq!(unknown.near, [("finee".to_owned(), "since".to_owned())]);
    }

    #[test]
    fn others_are_told_and_no_answer_grows_with_them() {
        let names: Vec<_> = (0..1000).map(|n| format!("priority{n}")).collect();
        let many = Unknown::of::<Call>(names.into_iter());
        assert_eq!(many.warnings().len(), 101);
        assert_eq!(many.warnings()[100], "900 more unknown members");
        assert!(many.issues().is_empty());
        assert_eq!(shown(&"é".repeat(70)).chars().count(), 65);
        assert!(unknown(&["since", "uploadId"]).warnings().is_empty());
    }
}
