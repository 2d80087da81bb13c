//! FHIR's primitive types: the form of each (<https://hl7.org/fhir/R4/datatypes.html>), and values between the flat record and
//! them.

use std::borrow::Cow;

use compact_str::{CompactString, format_compact};
use records::{is_clock, is_date, is_rfc3339};

use crate::node::Node;
use crate::table::{Copy, table};

/// Whether a text may be a FHIR string: not empty, no white space around it (XML's readers drop it), and none in it but
/// space, tab, CR and LF. FHIR's own pattern knows no control characters either.
pub(crate) fn is_string(text: &str) -> bool {
    // Nearly every text is one of these, and they need no look at letters.
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.bytes().all(is_plain) {
        return !text.is_empty() && !text.starts_with(' ') && !text.ends_with(' ');
    }
    let is_allowed =
        |c: char| matches!(c, ' ' | '\t' | '\r' | '\n') || !(c.is_whitespace() || c.is_control() || c == '\u{feff}');
    !text.is_empty() && text.trim() == text && text.chars().all(is_allowed)
}

/// Whether a text has the form of a FHIR type that is written as a string.
pub(crate) fn has_form(kind: &str, text: &str) -> bool {
    if !is_string(text) {
        return false;
    }
    match kind {
        "string" | "markdown" => true,
        "code" => {
            let mut parts = text.split(' ');
            parts.all(|part| !part.is_empty() && !part.contains(['\t', '\r', '\n']))
        }
        "uri" | "url" | "canonical" => !text.contains([' ', '\t', '\r', '\n']),
        "id" => is_id(text),
        "date" => is_date(text),
        // No date is longer, and no moment as short.
        "dateTime" if text.len() <= 10 => is_date(text),
        "dateTime" | "instant" => is_moment(text),
        "time" => is_clock(text),
        "base64Binary" => is_base64(text),
        _ => false,
    }
}

/// Whether a text may be the id of a resource.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Whether a text is a moment: FHIR writes RFC 3339 in capitals, and no offset beyond fourteen hours.
fn is_moment(text: &str) -> bool {
    let offset = text.get(text.len().saturating_sub(5)..).unwrap_or_default();
    is_rfc3339(text) && !text.contains(['t', 'z']) && (text.ends_with('Z') || offset <= "14:00")
}

/// Whether a text has the form of a base64 text.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(is_digit)
}

/// Whether a type is written as a JSON number.
fn is_number(kind: &str) -> bool {
    matches!(kind, "decimal" | "integer" | "positiveInt" | "unsignedInt")
}

/// Whether a number has the form and the bounds of its type. FHIR's decimals have the form of JSON's numbers.
fn number_fits(kind: &str, text: &str) -> bool {
    if kind == "decimal" {
        // FHIR asks for eighteen digits; beyond them others read another number.
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default().trim_start_matches(['-', '0', '.']);
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        return digits <= 18 && is_finite;
    }
    let Some(number) = text.parse::<i64>().ok().filter(|_| text != "-0") else { return false };
    let least = match kind {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i64::from(i32::MIN),
    };
    (least..=i64::from(i32::MAX)).contains(&number)
}

impl Copy {
    /// A flat value as an element; `None` if it is none of this type.
    pub(crate) fn write(&self, value: &Node) -> Option<Node> {
        let kind = self.kind.as_str();
        match value {
            Node::Bool(_) if kind == "boolean" => Some(value.clone()),
            Node::Number(text) if is_number(kind) => {
                let text =
                    if self.map.is_empty() { shifted(text, self.shift)? } else { self.map.get(text.as_str())?.into() };
                let is_in = self.is_between(&text) && number_fits(kind, &text);
                is_in.then_some(Node::Number(text))
            }
            Node::Text(text) => {
                let text = if self.map.is_empty() { text.as_str() } else { self.map.get(text.as_str())? };
                let text = match kind {
                    "date" if has_form("dateTime", text) => Cow::Borrowed(text.get(..10).unwrap_or(text)),
                    "time" if text.len() == 5 => Cow::Owned(format!("{text}:00")),
                    _ => Cow::Borrowed(text),
                };
                let is_known = (self.options.is_empty() || self.options.iter().any(|known| *known == text))
                    && self.codes.as_deref().is_none_or(|list| table().knows(list, &text))
                    && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&text));
                (is_known && has_form(kind, &text)).then(|| Node::text(text))
            }
            _ => None,
        }
    }

    /// An element as a flat value; `None` where it is no primitive, or none that the flat record knows.
    pub(crate) fn read(&self, element: &Node) -> Option<Node> {
        match element {
            Node::Bool(_) => Some(element.clone()),
            Node::Number(text) => {
                let text = if self.map.is_empty() {
                    shifted(text, -self.shift)?
                } else {
                    self.map.iter().find(|(_, written)| *written == text)?.0.into()
                };
                Some(Node::Number(text))
            }
            Node::Text(text) => {
                let text = if self.map.is_empty() {
                    self.from.get(text.as_str()).map_or(text.as_str(), String::as_str)
                } else {
                    self.map.iter().find(|(_, written)| *written == text)?.0
                };
                let is_known = self.options.is_empty() || self.options.iter().any(|known| known == text);
                is_known.then(|| Node::text(text))
            }
            Node::Null | Node::List(_) | Node::Object(_) => None,
        }
    }

    fn is_between(&self, text: &str) -> bool {
        let number: f64 = text.parse().unwrap_or(f64::NAN);
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }
}

/// A number with its decimal point moved to the right, in its text: no digit is lost.
fn shifted(text: &str, by: i32) -> Option<CompactString> {
    if by == 0 {
        return Some(text.into());
    }
    if text.contains(['e', 'E']) {
        return None;
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + by;
    let moved = if point <= 0 {
        format!("0.{}{all}", "0".repeat(usize::try_from(-point).ok()?))
    } else {
        let point = usize::try_from(point).ok()?;
        let padded = format!("{all:0<point$}");
        let (whole, fraction) = padded.split_at(point);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    };
    // Zeros at the end of a whole number are no decimals: 100 percent are 1, and 25.0 are 0.250.
    let moved = if text.contains('.') { moved.as_str() } else { shortest(&moved) };
    Some(format_compact!("{sign}{moved}"))
}

/// A number without zeros that say nothing.
fn shortest(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Whether a text is a URL, or a URN whose form is right.
pub(crate) fn is_absolute(text: &str) -> bool {
    if text.contains([' ', '\t', '\r', '\n']) {
        return false;
    }
    if let Some(uuid) = text.strip_prefix("urn:uuid:") {
        let groups: Vec<_> = uuid.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        return groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex);
    }
    if let Some(oid) = text.strip_prefix("urn:oid:") {
        return oid.contains('.')
            && oid.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()));
    }
    ["http://", "https://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_the_specification() {
        for (kind, text) in [
            ("date", "1985"),
            ("date", "1985-03"),
            ("date", "1985-03-31"),
            ("dateTime", "2024-02-29T23:59:60.123+14:00"),
            ("instant", "2024-02-29T10:00:00Z"),
            ("time", "10:00:00.5"),
            ("code", "a b"),
            ("id", "a.-b"),
            ("base64Binary", "QUJD"),
            ("base64Binary", "QQ=="),
            ("dateTime", "0001"),
            ("dateTime", "2024-02"),
            ("dateTime", "2024-02-29T00:00:00-13:59"),
            ("dateTime", "2024-02-29T00:00:00.5-14:00"),
            ("instant", "2024-02-29T10:00:00.1234567890123Z"),
            ("string", "x  y"),
        ] {
            assert!(has_form(kind, text), "{kind} {text}");
        }
        for (kind, text) in [
            ("date", "1985-02-30"),
            ("date", "0000"),
            ("dateTime", "2024-01-01T10:00:00"),
            ("dateTime", "2024-01-01T10:00Z"),
            ("instant", "2024-01-01"),
            ("time", "24:00:00"),
            ("time", "10:00:00."),
            ("time", "10:00:61"),
            ("date", "2024-1-01"),
            ("date", "2024-"),
            ("date", "2024-13"),
            ("date", "2024-01-01T"),
            ("dateTime", "2024-02T10:00:00Z"),
            ("dateTime", "2024-02-29T10:00:00+14:01"),
            ("dateTime", "2024-02-29T10:00:00Z0"),
            ("dateTime", "2024-02-29t10:00:00Z"),
            ("instant", "2024-02-29T10:00:00z"),
            ("instant", "2024-02-29T10:00:00+15:00"),
            ("instant", "2024-02-29T10:00:00-23:59"),
            ("base64Binary", "QQ="),
            ("base64Binary", "Q==="),
            ("code", " a"),
            ("code", "a  b"),
            ("id", "a_b"),
            ("uri", "a b"),
            ("string", ""),
            ("string", " x"),
            ("string", "a\u{a0}b"),
            ("string", "\u{1}"),
        ] {
            assert!(!has_form(kind, text), "{kind} {text:?}");
        }
    }

    #[test]
    fn a_decimal_point_moves_without_losing_a_digit() {
        for (text, by, moved) in [
            ("0.25", 2, "25"),
            ("0.5", 2, "50"),
            ("1", 2, "100"),
            ("0.005", 2, "0.5"),
            ("25", -2, "0.25"),
            ("25.0", -2, "0.250"),
            ("0.250", 2, "25.0"),
            ("100", -2, "1"),
            ("-0.10", 2, "-10"),
            ("0", 2, "0"),
        ] {
            assert_eq!(shifted(text, by).as_deref(), Some(moved), "{text}");
        }
    }
}
