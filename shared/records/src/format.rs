//! The string formats of the schemas, as the contract reads them.

/// A string format, named by the schemas' `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `fhir-date-time`: RFC 3339 with any offset, or a FHIR date.
    DateTime,
    /// `fhir-date`: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, and a real one.
    Date,
    /// `fhir-time`: `HH:mm` or `HH:mm:ss`.
    Time,
    /// `email`: something before and after an `@`, no white space.
    Email,
    /// `uri`: a scheme, a colon and something after it, no white space.
    Uri,
}

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "fhir-date-time" => Self::DateTime,
            "fhir-date" => Self::Date,
            "fhir-time" => Self::Time,
            "email" => Self::Email,
            "uri" => Self::Uri,
            _ => return None,
        })
    }

    /// What messages call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Time => "time",
            Self::Email => "email",
            Self::Uri => "uri",
        }
    }

    pub(crate) fn matches(self, text: &str) -> bool {
        match self {
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text),
            Self::Time => is_time(text),
            Self::Email => is_email(text),
            Self::Uri => is_uri(text),
        }
    }
}

/// The number that the first `N` digits are, and what follows them.
fn digits<const N: usize>(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    let number = digits
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))?;
    Some((number, rest))
}

fn is_date(text: &str) -> bool {
    read_date(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

/// Reads `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, a real one, and returns what follows.
fn read_date(text: &[u8]) -> Option<&[u8]> {
    // No date of FHIR has the year 0000.
    let (year @ 1.., rest) = digits::<4>(text)? else { return None };
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(rest) };
    let (month @ 1..=12, rest) = digits::<2>(rest)? else { return None };
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(rest) };
    let (day, rest) = digits::<2>(rest)?;
    (1..=days_in(year, month)).contains(&day).then_some(rest)
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
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

fn is_date_time(text: &str) -> bool {
    is_rfc3339(text) || is_date(text)
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
    // A leap second is 60 (RFC 3339, section 5.6).
    let (..=60, mut rest) = digits::<2>(read_minutes(rest)?.strip_prefix(b":")?)? else { return None };
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = fraction.get(length..).filter(|_| length > 0)?;
    }
    match rest.split_first()? {
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

    fn check(format: Format, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(format.matches(text), "{format:?} takes {text}");
        }
        for text in bad {
            assert!(!format.matches(text), "{format:?} refuses {text}");
        }
    }

    #[test]
    fn dates_are_real_ones() {
        check(
            Format::Date,
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
            Format::DateTime,
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
            Format::Time,
            &["00:00", "23:59", "23:59:59"],
            &["", "24:00", "1:00", "10:60", "10:00:60", "10:00:00.5", "10", "10:00:"],
        );
    }

    #[test]
    fn emails_and_uris_are_taken_leniently() {
        check(Format::Email, &["a@b", "first.last+tag@example.org"], &["", "a", "@b", "a@", "a b@c", "a@b\n"]);
        check(
            Format::Uri,
            &["https://example.org/a?b=c", "urn:oid:1.2", "mailto:a@b"],
            &["", "photo.jpg", ":x", "http:", "1http://x", "ht tp://x"],
        );
    }
}
