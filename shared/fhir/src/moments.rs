//! Which of two FHIR date-times is earlier.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Whether the one ends before the other begins. Those of different precision may be the same moment.
pub(crate) fn is_before(one: &str, other: &str) -> bool {
    match (range(one), range(other)) {
        (Some((_, end)), Some((start, _))) => end < start,
        _ => false,
    }
}

/// The first and the last moment that a date-time may be, each in some zone of the world.
fn range(text: &str) -> Option<(Timestamp, Timestamp)> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some((moment, moment));
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let year: i16 = text.get(..4)?.parse().ok()?;
    let (first, last) = match (text.len(), number(5..7), number(8..10)) {
        (4, ..) => (Date::new(year, 1, 1).ok()?, Date::new(year, 12, 31).ok()?),
        (7, Some(month), _) => {
            let first = Date::new(year, month, 1).ok()?;
            (first, first.last_of_month())
        }
        (10, Some(month), Some(day)) => {
            let day = Date::new(year, month, day).ok()?;
            (day, day)
        }
        _ => return None,
    };
    let start = TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).ok()?;
    let end = TimeZone::UTC.to_timestamp(last.at(23, 59, 59, 0)).ok()?;
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_same_moment_is_not_before() {
        assert!(
            is_before("2023", "2024")
                && is_before("2024-01-31", "2024-02")
                && is_before("2024-01-01T10:00:00Z", "2024-01-01T12:00:00+01:00")
        );
        assert!(
            !is_before("2024", "2024-06")
                && !is_before("2024-06", "2024")
                && !is_before("2024-01-01", "2024-01-01T00:00:00Z")
        );
        assert!(!is_before("x", "2024"));
    }
}
