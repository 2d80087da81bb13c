//! The string formats of the schemas, as the contract reads them.

use jiff::civil::Date;

/// A string format.
#[derive(Debug)]
pub(crate) struct Format {
    /// What the schemas' `format` calls it.
    name: &'static str,
    pub(crate) matches: fn(&str) -> bool,
}

static FORMATS: [Format; 5] = [
    // RFC 3339 with any offset, or a FHIR date.
    Format { name: "fhir-date-time", matches: |text| is_rfc3339(text) || is_date(text) },
    Format { name: "fhir-date", matches: is_date },
    // `HH:mm` or `HH:mm:ss`.
    Format { name: "fhir-time", matches: is_time },
    // Something before and after an `@`, no white space.
    Format { name: "email", matches: is_email },
    // A scheme, a colon and something after it, no white space.
    Format { name: "uri", matches: is_uri },
];

impl Format {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// What messages call it.
    pub(crate) fn label(&self) -> &'static str {
        self.name.trim_start_matches("fhir-")
    }
}

/// The number that the first `N` digits are, and what follows them.
fn digits<const N: usize>(text: &[u8]) -> Option<(i16, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    let number = digits
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i16::from(byte - b'0')))?;
    Some((number, rest))
}

/// Whether the text is `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, and a real one.
#[must_use]
pub fn is_date(text: &str) -> bool {
    read_date(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

/// Reads a date and returns what follows.
fn read_date(text: &[u8]) -> Option<&[u8]> {
    // No date of FHIR has the year 0000.
    let (year @ 1.., rest) = digits::<4>(text)? else { return None };
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(rest) };
    let (month @ 1..=12, rest) = digits::<2>(rest)? else { return None };
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(rest) };
    let (day, rest) = digits::<2>(rest)?;
    let is_real = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).is_ok();
    is_real.then_some(rest)
}

fn is_time(text: &str) -> bool {
    let Some(rest) = read_minutes(text.as_bytes()) else { return false };
    match rest.strip_prefix(b":") {
        Some(rest) => matches!(digits::<2>(rest), Some((..60, []))),
        None => rest.is_empty(),
    }
}

/// Reads `HH:mm` and returns what follows.
fn read_minutes(text: &[u8]) -> Option<&[u8]> {
    let (..24, rest) = digits::<2>(text)? else { return None };
    let (..60, rest) = digits::<2>(rest.strip_prefix(b":")?)? else { return None };
    Some(rest)
}

/// Whether the text is `HH:mm:ss`, perhaps with a fraction.
#[must_use]
pub fn is_clock(text: &str) -> bool {
    read_clock(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

/// Reads a time of a clock and returns what follows.
fn read_clock(text: &[u8]) -> Option<&[u8]> {
    // A leap second is 60 (RFC 3339, section 5.6).
    let (..=60, rest) = digits::<2>(read_minutes(text)?.strip_prefix(b":")?)? else { return None };
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    fraction.get(length..).filter(|_| length > 0)
}

/// Whether the text is a moment as RFC 3339 writes it, with any offset, and a real one.
#[must_use]
pub fn is_rfc3339(text: &str) -> bool {
    read_rfc3339(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

fn read_rfc3339(text: &[u8]) -> Option<&[u8]> {
    let (date, rest) = text.split_at_checked(10)?;
    if !read_date(date)?.is_empty() {
        return None;
    }
    let ([b'T' | b't'], rest) = rest.split_first_chunk::<1>()? else { return None };
    match read_clock(rest)?.split_first()? {
        (b'Z' | b'z', rest) => Some(rest),
        (b'+' | b'-', offset) => read_minutes(offset),
        _ => None,
    }
}

fn is_email(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, good: &[&str], bad: &[&str]) {
        let format = Format::find(name).unwrap();
        for text in good {
            assert!((format.matches)(text), "{name} takes {text}");
        }
        for text in bad {
            assert!(!(format.matches)(text), "{name} refuses {text}");
        }
    }

    #[test]
    fn dates_are_real_ones() {
        check(
            "fhir-date",
            &["0001", "1980", "1980-02", "1980-02-29", "2000-02-29", "2024-12-31"],
            &[
                "",
                "80",
                "0000",
                "0000-01",
                "0000-01-01",
                "1980-",
                "1980-13",
                "1980-00",
                "1980-2-3",
                "1900-02-29",
                "2023-02-29",
                "2023-04-31",
                "2023-04-00",
                "2023-04-01-",
                "2023-04-01T00:00:00Z",
                "+980-01-01",
            ],
        );
    }

    #[test]
    fn date_times_are_rfc_3339_or_a_date() {
        check(
            "fhir-date-time",
            &[
                "2025",
                "2025-01",
                "2025-01-31",
                "2025-01-31T10:20:30Z",
                "2025-01-31t10:20:30z",
                "2025-01-31T10:20:30.5Z",
                "2025-01-31T10:20:30.123456789+05:30",
                "2025-01-31T10:20:30-00:00",
                "2016-12-31T23:59:60Z",
            ],
            &[
                "",
                "0000",
                "0000-01-01T00:00:00Z",
                "2025-01T10:20:30Z",
                "2025-01-31T10:20Z",
                "2025-01-31T10:20:30",
                "2025-01-31T10:20:30.Z",
                "2025-01-31T24:00:00Z",
                "2025-02-30T10:20:30Z",
                "2025-01-31T10:20:61Z",
                "2025-01-31T10:20:30+5:30",
                "2025-01-31T10:20:30+05:60",
                "2025-01-31 10:20:30Z",
                "2025-01-31T10:20:30+05:30:00",
                "2025-01-31T1\u{e9}:20:3Z",
            ],
        );
    }

    #[test]
    fn times_have_minutes_and_perhaps_seconds() {
        check(
            "fhir-time",
            &["00:00", "23:59", "23:59:59"],
            &["", "24:00", "1:00", "10:60", "10:00:60", "10:00:00.5", "10", "10:00:"],
        );
    }

    #[test]
    fn emails_and_uris_are_taken_leniently() {
        check("email", &["a@b", "first.last+tag@example.org"], &["", "a", "@b", "a@", "a b@c", "a@b\n"]);
        check(
            "uri",
            &["https://example.org/a?b=c", "urn:oid:1.2", "mailto:a@b"],
            &["", "photo.jpg", ":x", "http:", "1http://x", "ht tp://x"],
        );
    }
}
