//! The arguments' values.

use std::time::Duration;

use records::ResourceType;

/// A resource type, by its name; an unknown one names the nearest.
pub(crate) fn resource_type(name: &str) -> Result<ResourceType, String> {
    name.parse().map_err(|_| match nearest(name, ResourceType::ALL.iter().map(|known| known.as_str())) {
        Some(near) => format!("unknown resource type; did you mean {near}?"),
        None => "unknown resource type; `clinik-bulk types` lists them".to_owned(),
    })
}

/// The name most like this one, if any is.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn is_label(text: &str, most: usize) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" ._:-".contains(&byte);
    if (1..=most).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {most} of A-Za-z0-9 ._:-"))
    }
}

/// A run's label leaves room for the run's and the batch's name.
pub(super) fn label(text: &str) -> Result<String, String> {
    is_label(text, 44)
}

pub(super) fn export_label(text: &str) -> Result<String, String> {
    is_label(text, 64)
}

pub(super) fn since(text: &str) -> Result<String, String> {
    if records::is_rfc3339(text) {
        Ok(text.to_owned())
    } else {
        Err("must be a moment as 2026-01-15T00:00:00Z".to_owned())
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("must be a number with s, m, h or d, as 90m or 6h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must be a number with s, m, h or d, as 90m or 6h".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_mins(90)));
        assert!(duration("90").is_err() && duration("h").is_err() && duration("99999999999999999999d").is_err());
    }

    #[test]
    fn an_unknown_type_names_the_nearest() {
        assert!(resource_type("patient").unwrap_err().contains("Patient"));
        assert!(resource_type("zzz").unwrap_err().contains("types"));
    }
}
