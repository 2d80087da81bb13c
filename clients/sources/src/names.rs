//! Names that people type, and the nearest of those that there are.

use records::ResourceType;

/// A resource type, by its name; an unknown one names the nearest.
pub fn resource_type(name: &str) -> Result<ResourceType, String> {
    name.parse().map_err(|_| match nearest(name, ResourceType::ALL.iter().map(|known| known.as_str())) {
        Some(near) => format!("unknown resource type; did you mean {near}?"),
        None => "unknown resource type; `clinik-bulk types` lists them".to_owned(),
    })
}

/// The name most like this one, if any is.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    most_like(0.75, known.map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate)))
}

/// The candidate with the highest likeness that is above `least`.
pub fn most_like<'a>(least: f64, candidates: impl Iterator<Item = (f64, &'a str)>) -> Option<&'a str> {
    candidates
        .filter(|(likeness, _)| *likeness > least)
        // Of equal ones the first: it is the shorter way into the record, or the required one.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_names_the_nearest() {
        assert!(resource_type("patient").unwrap_err().contains("Patient"));
        assert!(resource_type("zzz").unwrap_err().contains("types"));
    }
}
