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
    known
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
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
