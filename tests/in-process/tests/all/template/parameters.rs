//! Parameters: each is used, described and documented, and the settings of `sam deploy` name no other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::yaml::{Template, document, texts};

const DEPLOYING: &str = include_str!("../../../../../docs/deploying.md");
const SAMCONFIG: &str = include_str!("../../../../../samconfig.toml");

/// All names that a part of the template refers to.
pub(crate) fn referred(part: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(part, &mut names);
    // `Fn::Sub` refers to names as well.
    for text in texts(part) {
        let inserted = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
        names.extend(inserted.map(|name| name.split('.').next().unwrap().to_owned()));
    }
    names
}

fn collect(part: &Value, names: &mut BTreeSet<String>) {
    match part {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("Ref" | "Condition", Value::String(referred)) => names.extend([referred.clone()]),
                    ("Fn::If", Value::Array(arguments)) => names.extend(arguments[0].as_str().map(str::to_owned)),
                    _ => {}
                }
                collect(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[test]
fn every_parameter_and_condition_is_used() {
    let document = document();
    let by_resources: BTreeSet<_> =
        ["Globals", "Resources", "Outputs"].into_iter().flat_map(|part| referred(&document[part])).collect();
    for condition in document["Conditions"].as_object().unwrap().keys() {
        assert!(by_resources.contains(condition), "no resource depends on {condition}");
    }
    let by_conditions = referred(&document["Conditions"]);
    for parameter in document["Parameters"].as_object().unwrap().keys() {
        assert!(by_resources.contains(parameter) || by_conditions.contains(parameter), "nothing uses {parameter}");
    }
}

#[test]
fn every_parameter_is_documented_with_its_default() {
    let template = Template::new();
    for (name, parameter) in &template.parameters {
        let description = parameter["Description"].as_str().unwrap();
        assert!(description.ends_with('.') && description.len() > 20, "{name}");
        let row = DEPLOYING.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/deploying.md: no row of {name}"));
        let default = match &parameter["Default"] {
            Value::String(empty) if empty.is_empty() => "none".to_owned(),
            Value::String(text) => format!("`{text}`"),
            number => format!("`{number}`"),
        };
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], default, "docs/deploying.md: default of {name}");
    }
    let rows = DEPLOYING.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    assert_eq!(rows.count(), template.parameters.len(), "docs/deploying.md documents a parameter that does not exist");
}

#[test]
fn the_settings_of_sam_deploy_name_parameters_that_exist() {
    let template = Template::new();
    let mut named = BTreeSet::new();
    for line in SAMCONFIG.lines().map(str::trim) {
        let Some((name, value)) = line.trim_matches(['"', ',']).split_once('=') else { continue };
        if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            let parameter =
                template.parameters.get(name).unwrap_or_else(|| panic!("samconfig.toml: no parameter {name}"));
            if let Some(allowed) = parameter["AllowedValues"].as_array() {
                let is_allowed = |one: &Value| one.as_str().map_or_else(|| one.to_string(), str::to_owned) == value;
                assert!(allowed.iter().any(is_allowed), "samconfig.toml: {name} may not be {value}");
            }
            named.insert(name);
        }
    }
    assert!(named.contains("StageName") && named.contains("DeletionProtection"), "{named:?}");
}

#[test]
fn the_template_goes_through_a_bucket() {
    // CloudFormation takes 51,200 bytes in a call and 1,000,000 through a bucket.
    let template = include_str!("../../../../../template.yaml");
    assert!(template.len() < 500_000);
    assert!(SAMCONFIG.contains("resolve_s3 = true"));
}
