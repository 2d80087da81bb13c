//! Map files: which column is which member, and how its text is translated.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use records::ResourceType;
use serde::Deserialize;

use crate::unusable::unusable;

/// A map file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map file as `clinik-bulk validate --help` shows it")]
pub struct Map {
    /// The type that the map is for.
    #[serde(rename = "type")]
    resource_type: Option<ResourceType>,
    /// By the header's text.
    #[serde(default)]
    pub columns: BTreeMap<String, Rule>,
}

/// What becomes of a column.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "what becomes of a column, as { to = \"birthDate\", format = \"%m/%d/%Y\" }")]
pub struct Rule {
    /// The member, as `contact[0].phone`; the header itself unless given.
    pub to: Option<String>,
    /// Goes before the text.
    pub prefix: Option<String>,
    /// How a date is written, as `%m/%d/%Y`.
    pub format: Option<String>,
    /// What each text stands for. Any other is an error.
    pub values: Option<BTreeMap<String, String>>,
    /// Leave the column out.
    #[serde(default)]
    pub drop: bool,
}

impl Map {
    /// Reads a map file for records of this type.
    pub fn load(path: &Path, resource_type: ResourceType) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read map file {}", path.display()))?;
        // A map file holds no patients' data: the parser may quote it.
        let map: Self = toml::from_str(&text).map_err(|error| unusable(format!("{}: {error}", path.display())))?;
        map.check(resource_type).map_err(|problem| unusable(format!("{}: {problem}", path.display())))?;
        Ok(map)
    }

    fn check(&self, resource_type: ResourceType) -> Result<(), String> {
        if let Some(other) = self.resource_type.filter(|mapped| *mapped != resource_type) {
            return Err(format!("the map is for {other}, not for {resource_type}"));
        }
        for (column, rule) in &self.columns {
            let translates =
                rule.to.is_some() || rule.prefix.is_some() || rule.format.is_some() || rule.values.is_some();
            if rule.drop && translates {
                return Err(format!("column \"{column}\": drop stands alone"));
            }
            if rule.values.is_some() && rule.format.is_some() {
                return Err(format!("column \"{column}\": values and format exclude each other"));
            }
        }
        Ok(())
    }
}
