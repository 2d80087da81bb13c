//! Names that a call has and no route defines: told, or refused where something else was meant.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

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
    near: Vec<(String, &'static str)>,
    others: Vec<String>,
}

impl Unknown {
    /// What of these names is not among the members of `T`.
    pub(crate) fn of<'de, T: Deserialize<'de>>(names: impl Iterator<Item = String>) -> Self {
        let defined = fields_of::<T>();
        let mut unknown = Self::default();
        for name in names.filter(|name| !defined.contains(&name.as_str())) {
            match nearly(&name, defined) {
                Some(meant) => unknown.near.push((shown(&name), meant)),
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

/// The defined name that was meant: it differs by one or two edits, or in case and separators alone.
fn nearly(name: &str, defined: &[&'static str]) -> Option<&'static str> {
    // Longer ones are none, and comparing takes time.
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let is_near = |known: &&&str| plain(known) == plain(name) || strsim::osa_distance(known, name) <= NEAR;
    defined.iter().filter(is_near).min_by_key(|known| strsim::osa_distance(known, name)).copied()
}

/// The resource type that a name is nearly, as the end of a sentence.
#[must_use]
pub fn meant_type(name: &str) -> String {
    let names: Vec<_> = records::ResourceType::ALL.iter().map(|known| known.as_str()).collect();
    nearly(name, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The names of an object's members, each once.
pub(crate) struct Names(pub(crate) BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Names, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, _)) = members.next_entry::<String, IgnoredAny>()? {
                    names.insert(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The names of a struct's members, as serde knows them: nobody has to list them twice.
fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Ask) {
        Err(Fields(fields)) => fields,
        Ok(_) => &[],
    }
}

/// A deserializer that only hears which members a struct has.
struct Ask;

#[derive(Debug)]
struct Fields(&'static [&'static str]);

impl fmt::Display for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the members of a struct")
    }
}

impl std::error::Error for Fields {}

impl serde::de::Error for Fields {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Ask {
    type Error = Fields;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(&[]))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its names are asked for")]
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
            assert_eq!(unknown.near, [(name.to_owned(), meant)]);
            assert!(unknown.warnings().is_empty() && !unknown.issues().is_empty());
        }
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
