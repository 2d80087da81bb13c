//! JSON as a tree in which a number is its text: `1.10` stays `1.10`, and 30 digits stay 30 digits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object, its members in their order.
    Object(Members),
}

/// The members of an object, in their order. No name stands twice.
#[derive(Debug, Clone, Default)]
pub struct Members(Vec<(String, Node)>);

/// The text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

impl Node {
    /// Reads a JSON text.
    pub fn parse(text: &str) -> Result<Self, NotJson> {
        let text = text.trim_ascii();
        match text.as_bytes().first() {
            Some(b'{') => {
                let Raw(members) = serde_json::from_str(text).map_err(|_| NotJson)?;
                let read = |(name, raw): (String, &RawValue)| Ok((name, Self::parse(raw.get())?));
                members.into_iter().map(read).collect::<Result<_, _>>().map(|members| Self::Object(Members(members)))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotJson)?;
                items.into_iter().map(|raw| Self::parse(raw.get())).collect::<Result<_, _>>().map(Self::List)
            }
            Some(b'"') => serde_json::from_str(text).map(Self::Text).map_err(|_| NotJson),
            Some(b't' | b'f') => serde_json::from_str(text).map(Self::Bool).map_err(|_| NotJson),
            Some(b'n') => serde_json::from_str(text).map(|()| Self::Null).map_err(|_| NotJson),
            _ => serde_json::from_str::<&RawValue>(text)
                .map(|raw| Self::Number(raw.get().to_owned()))
                .map_err(|_| NotJson),
        }
    }

    /// Writes it as JSON on one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// It as JSON on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// A string.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object of these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(Members(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn as_object(&self) -> Option<&Members> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// A member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The entries of a list; anything else is a list of one.
    pub(crate) fn entries(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { std::slice::from_ref(self) }
    }

    /// Whether all that `part` has is in here, too: of a list's entries some.
    pub(crate) fn contains(&self, part: &Self) -> bool {
        match (self, part) {
            (Self::Object(members), Self::Object(wanted)) => {
                wanted.iter().all(|(name, value)| members.get(name).is_some_and(|member| member.contains(value)))
            }
            (Self::List(items), Self::List(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|item| item.contains(value)))
            }
            _ => self == part,
        }
    }
}

/// The order of members says nothing.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Members {}

/// Of a name that comes twice the last one counts.
impl FromIterator<(String, Node)> for Members {
    fn from_iter<I: IntoIterator<Item = (String, Node)>>(members: I) -> Self {
        let mut all = Self::default();
        for (name, value) in members {
            all.set(&name, value);
        }
        all
    }
}

impl Members {
    /// Every member, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member, by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a member, in its old place if it is there.
    pub(crate) fn set(&mut self, name: &str, value: Node) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The member, made by `new` if it is not there.
    pub(crate) fn entry(&mut self, name: &str, new: impl FnOnce() -> Node) -> &mut Node {
        let at = match self.0.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                self.0.push((name.to_owned(), new()));
                self.0.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut self.0[at].1
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a string always serialises.
    let _ = serde_json::to_writer(out, text);
}

/// The members of an object, each as it is written. Of a name that stands twice the last one counts.
struct Raw<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Raw<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                let mut members: Vec<(String, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    match members.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, old)) => *old = value,
                        None => members.push((name, value)),
                    }
                }
                Ok(Raw(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(|NotJson| serde::de::Error::custom("no JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_they_are_written() {
        let text = r#"{"a":[1.10,1e400,-0.0,123456789012345678901234567890],"b":{"c":null,"d":true,"e":"x\n\"é"}}"#;
        assert_eq!(Node::parse(text).unwrap().to_json(), text);
        for bad in ["", "{", "[1,]", "nul", "01", "{\"a\":1}x"] {
            assert_eq!(Node::parse(bad), Err(NotJson), "{bad}");
        }
    }

    #[test]
    fn a_part_is_found_in_a_whole() {
        let node = |text| Node::parse(text).unwrap();
        let whole = node(r#"{"type":[{"coding":[{"system":"s","code":"x"},{"system":"s","code":"PPRF"}]}],"more":1}"#);
        assert!(whole.contains(&node(r#"{"type":[{"coding":[{"system":"s","code":"PPRF"}]}]}"#)));
        assert!(!whole.contains(&node(r#"{"type":[{"coding":[{"system":"t","code":"PPRF"}]}]}"#)));
    }
}
