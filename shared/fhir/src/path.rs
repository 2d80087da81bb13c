//! Paths into a resource, as the table writes them.

use serde::de::{Deserialize, Deserializer, Error};

/// What the service has rules of its own for: no field names it.
pub(crate) fn is_own(name: &str) -> bool {
    matches!(name, "resourceType" | "id" | "meta")
}

/// Whether an element is a form of a choice: `valueString` is one of `value`.
pub(crate) fn is_form_of(name: &str, choice: &str) -> bool {
    name.strip_prefix(choice).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// `name`: the element.
    Element(String),
    /// `name[0]`: the first entry of a list.
    First(String),
    /// `name[]`: every entry.
    Each(String),
    /// `name[selector]`: the entry that has the selector's members.
    Selected { name: String, selector: String },
    /// `extension[url=U]`, and with `[]` after it every one of them.
    Extension { url: String, each: bool },
    /// `resolve()`: the contained resource that the reference before it names.
    Resolve,
}

impl Step {
    /// The element's name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Element(name) | Self::First(name) | Self::Each(name) | Self::Selected { name, .. } => Some(name),
            Self::Extension { .. } => Some("extension"),
            Self::Resolve => None,
        }
    }
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = if let Some(extension) = rest.strip_prefix("extension[url=") {
                let (url, after) = extension.split_once(']')?;
                let (each, after) = match after.strip_prefix("[]") {
                    Some(after) => (true, after),
                    None => (false, after),
                };
                (Step::Extension { url: url.to_owned(), each }, after)
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                (step(part)?, after)
            };
            steps.push(step);
            rest = match after.strip_prefix('.') {
                Some("") => return None,
                Some(rest) => rest,
                None if after.is_empty() => "",
                None => return None,
            };
        }
        (!steps.is_empty()).then_some(Self(steps))
    }
}

fn step(part: &str) -> Option<Step> {
    if part == "resolve()" {
        return Some(Step::Resolve);
    }
    let Some((name, key)) = part.strip_suffix(']').and_then(|part| part.split_once('[')) else {
        return (!part.is_empty() && !part.contains(['[', ']'])).then(|| Step::Element(part.to_owned()));
    };
    let name = name.to_owned();
    Some(match key {
        "0" => Step::First(name),
        "" => Step::Each(name),
        selector => Step::Selected { name, selector: selector.to_owned() },
    })
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text} is no path")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_path_is_read() {
        let element = |name: &str| Step::Element(name.to_owned());
        assert_eq!(Path::parse("a.b").unwrap().0, [element("a"), element("b")]);
        assert_eq!(Path::parse("a[0].b[]").unwrap().0, [Step::First("a".to_owned()), Step::Each("b".to_owned())]);
        let url = "https://x.example/a-b".to_owned();
        let each = Step::Extension { url: url.clone(), each: true };
        assert_eq!(
            Path::parse("extension[url=https://x.example/a-b][].valueString").unwrap().0,
            [each, element("valueString")]
        );
        assert_eq!(Path::parse("a.resolve().b").unwrap().0, [element("a"), Step::Resolve, element("b")]);
        for bad in ["", ".", "a.", "a[", "a]b"] {
            assert_eq!(Path::parse(bad), None, "{bad}");
        }
    }
}
