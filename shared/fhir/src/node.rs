//! JSON as a tree in which a number is its text: `1.10` stays `1.10`, and 30 digits stay 30 digits.

use compact_str::CompactString;
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(CompactString),
    /// A string, unescaped. Most are short, and live in it.
    Text(CompactString),
    /// An array.
    List(Vec<Node>),
    /// An object, its members in their order.
    Object(Members),
}

/// The members of an object, in their order, which says nothing. Of a name that comes twice the last one counts.
pub type Members = IndexMap<CompactString, Node, foldhash::quality::RandomState>;

/// As deep as records may be nested: what is deeper would cost a stack.
const MAX_DEPTH: usize = 128;

/// The text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

impl Node {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// When it is no JSON, or nested more deeply than a record may be.
    pub fn parse(text: &str) -> Result<Self, NotJson> {
        // Read once for its grammar, and once for what is in it.
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| NotJson)?;
        let mut reader = JsonReader { rest: raw.get(), depth: 0 };
        reader.value()
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
    pub fn text(text: impl Into<CompactString>) -> Self {
        Self::Text(text.into())
    }

    /// An object of these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
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

/// Reads what is known to be JSON, but for the escapes in its strings.
struct JsonReader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> JsonReader<'a> {
    fn value(&mut self) -> Result<Node, NotJson> {
        self.skip_space();
        Ok(match self.rest.as_bytes().first() {
            Some(b'{') => {
                let mut members = Members::default();
                self.list('}', |reader| {
                    let name = reader.text()?;
                    reader.skip(':')?;
                    members.insert(name, reader.value()?);
                    Ok(())
                })?;
                Node::Object(members)
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(']', |reader| {
                    items.push(reader.value()?);
                    Ok(())
                })?;
                Node::List(items)
            }
            Some(b'"') => Node::Text(self.text()?),
            _ => {
                let end = self.rest.find(|c: char| matches!(c, ',' | ']' | '}') || c.is_ascii_whitespace());
                match self.take(end.unwrap_or(self.rest.len()))? {
                    "null" => Node::Null,
                    "true" => Node::Bool(true),
                    "false" => Node::Bool(false),
                    number => Node::Number(number.into()),
                }
            }
        })
    }

    /// What stands between an opening bracket and `end`, with commas between.
    fn list(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NotJson);
        }
        self.take(1)?;
        self.skip_space();
        while !self.rest.starts_with(end) {
            item(self)?;
            self.skip_space();
            if self.rest.starts_with(',') {
                self.skip(',')?;
                self.skip_space();
            }
        }
        self.depth -= 1;
        self.skip(end)
    }

    fn text(&mut self) -> Result<CompactString, NotJson> {
        let bytes = self.rest.as_bytes();
        let ends = memchr::memchr2_iter(b'"', b'\\', bytes).skip(1);
        let mut skipped = 0;
        for at in ends {
            match bytes.get(at) {
                _ if at < skipped => {}
                Some(b'"') if skipped == 0 => return Ok(self.take(at + 1)?.trim_matches('"').into()),
                Some(b'"') => {
                    return serde_json::from_str::<String>(self.take(at + 1)?).map(Into::into).map_err(|_| NotJson);
                }
                // Whatever is escaped, it ends nothing.
                _ => skipped = at + 2,
            }
        }
        Err(NotJson)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn skip(&mut self, what: char) -> Result<(), NotJson> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(what).ok_or(NotJson)?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a str, NotJson> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(NotJson)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a string always serialises.
    let _ = serde_json::to_writer(out, text);
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
        let nested = |depth: usize| Node::parse(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(Node::parse(&format!("[\"\\\"{}\"]", "[".repeat(500))).is_ok(), "brackets in a string");
        assert!(nested(128).is_ok() && nested(129).is_err() && nested(1 << 19).is_err());
    }

    #[test]
    fn a_part_is_found_in_a_whole() {
        let node = |text| Node::parse(text).unwrap();
        let whole = node(r#"{"type":[{"coding":[{"system":"s","code":"x"},{"system":"s","code":"PPRF"}]}],"more":1}"#);
        assert!(whole.contains(&node(r#"{"type":[{"coding":[{"system":"s","code":"PPRF"}]}]}"#)));
        assert!(!whole.contains(&node(r#"{"type":[{"coding":[{"system":"t","code":"PPRF"}]}]}"#)));
    }
}
