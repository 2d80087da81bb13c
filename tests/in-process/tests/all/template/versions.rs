//! Versions: what calls a function calls its alias, and each change of a function publishes a version.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::functions::{all, is_api};
use super::parameters::referred;
use super::roles::allowed;
use super::yaml::{Template, arn, document, reference, texts};

#[test]
fn whatever_calls_a_function_calls_its_alias() {
    let template = Template::new();
    let kinds = [
        "AWS::ApiGatewayV2::Integration",
        "AWS::Lambda::Permission",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Events::Rule",
    ];
    let functions: BTreeSet<_> = all(&template).into_iter().collect();
    let mut called = BTreeSet::new();
    for (name, properties) in kinds.into_iter().flat_map(|kind| template.of_type(kind)) {
        for text in texts(properties) {
            let inserted =
                text.split("${").skip(1).any(|rest| functions.contains(rest.split(['.', '}']).next().unwrap()));
            assert!(!functions.contains(text) && !inserted, "{name}: {text} is no alias");
            called.extend(text.strip_suffix(".Alias"));
        }
    }
    assert_eq!(called, functions);
}

#[test]
fn every_function_publishes_versions_and_keeps_the_earlier_ones() {
    let template = Template::new();
    for name in all(&template) {
        let resource = template.resource(name);
        assert_eq!(template.of_function(name, "AutoPublishAlias"), "live", "{name}");
        assert_eq!(template.of_function(name, "AutoPublishAliasAllProperties"), true, "{name}");
        // SAM gives both to the versions. It retains those that are gone from a template, unless it is told otherwise;
        // those that are replaced are deleted by default.
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
        assert_eq!(resource["DeletionPolicy"], Value::Null, "{name}: it would stay when the stack is deleted");
        assert_eq!(template.of_function(name, "VersionDeletionPolicy"), &Value::Null, "{name}");
    }
}

/// The parameters on which a part depends, also by the name of a resource.
fn parameters(document: &Value, part: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in referred(part) {
        if document["Parameters"][&name].is_object() {
            found.insert(name);
        } else if document["Conditions"][&name].is_object() {
            found.extend(parameters(document, &document["Conditions"][&name]));
        } else {
            let properties = &document["Resources"][&name]["Properties"];
            for named in ["TableName", "BucketName", "QueueName", "LogGroupName"] {
                found.extend(parameters(document, &properties[named]));
            }
        }
    }
    found
}

/// What a function is made of: its own properties over those of all functions; variables are of both.
fn properties(document: &Value, name: &str) -> serde_json::Map<String, Value> {
    let mut properties = document["Globals"]["Function"].as_object().unwrap().clone();
    let shared = properties["Environment"].clone();
    properties.extend(document["Resources"][name]["Properties"].as_object().unwrap().clone());
    properties.insert("SharedEnvironment".to_owned(), shared);
    properties
}

#[test]
fn a_changed_parameter_publishes_a_version() {
    // Lambda publishes none for these: they are no part of a version.
    let of_the_function = ["Tags", "ReservedConcurrentExecutions"];
    let no_setting = ["DeploymentPreference", "Description", "VersionDescription", "FunctionName", "Role"];
    let document = document();
    for name in all(&Template::new()) {
        let (mut versioned, mut others) = (BTreeSet::new(), BTreeSet::new());
        let properties = properties(&document, name);
        for (property, value) in &properties {
            if of_the_function.contains(&property.as_str()) {
                others.extend(parameters(&document, value));
            } else if !no_setting.contains(&property.as_str()) {
                versioned.extend(parameters(&document, value));
            }
        }
        let described = |property: &str| parameters(&document, &properties[property]);
        assert_eq!(described("VersionDescription"), versioned, "{name}: its VersionDescription has to name them");
        assert!(described("Description").is_superset(&others), "{name}: its Description has to name {others:?}");
        assert!(described("Description").is_disjoint(&versioned), "{name}");
        // The longest that Lambda takes.
        let text = properties["VersionDescription"]["Fn::Sub"].as_str().unwrap();
        let values: usize = versioned.iter().map(|parameter| longest(&document["Parameters"][parameter])).sum();
        let names: usize = versioned.iter().map(|parameter| parameter.len() + "${}".len()).sum();
        assert!(text.len() - names + values <= 256, "{name}: its VersionDescription may be too long");
    }
}

/// The length of a parameter's longest value.
fn longest(parameter: &Value) -> usize {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string().len(), str::len);
    match (&parameter["AllowedValues"], &parameter["MaxLength"], &parameter["MaxValue"]) {
        (Value::Array(values), _, _) => values.iter().map(plain).max().unwrap(),
        (_, Value::Number(length), _) => usize::try_from(length.as_u64().unwrap()).unwrap(),
        (_, _, Value::Number(most)) => most.to_string().len(),
        _ => panic!("{parameter} has no end: give it a MaxLength"),
    }
}

#[test]
fn calls_move_to_new_versions_at_once_unless_told_otherwise() {
    let template = Template::new();
    assert_eq!(template.parameters["Deployment"]["Default"], "AllAtOnce");
    for name in all(&template) {
        assert_eq!(template.of_function(name, "DeploymentPreference")["Enabled"], false, "{name}");
    }
    assert!(!template.resources.contains_key("DeploymentRole"));
}

#[test]
fn calls_of_the_api_may_move_in_steps_that_alarms_stop() {
    let document = document();
    let kinds = document["Parameters"]["Deployment"]["AllowedValues"].as_array().unwrap();
    let mapped: BTreeSet<_> = document["Mappings"]["Deployments"].as_object().unwrap().keys().collect();
    assert_eq!(
        mapped,
        kinds.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>().iter().collect()
    );
    for kind in kinds.iter().map(|kind| kind.as_str().unwrap()).filter(|kind| *kind != "AllAtOnce") {
        let template = Template::with(&[("Deployment", kind)]);
        for name in all(&template) {
            let preference = template.of_function(name, "DeploymentPreference");
            if !is_api(name) {
                // SAM merges it into what all functions have. A processor has no calls to move in steps.
                assert_eq!(preference, &json!({"Enabled": false}), "{name}");
                continue;
            }
            let alarms = [reference("ApiErrorsAlarm"), reference("ApiFunctionErrorsAlarm")];
            let expected = json!({"Enabled": true, "Type": kind, "Role": arn("DeploymentRole"), "Alarms": alarms});
            assert_eq!(preference, &expected, "{name}: {kind}");
        }
    }
}

#[test]
fn a_deployment_in_steps_without_alarms_is_refused() {
    let document = document();
    let rule = &document["Rules"]["GradualDeployment"];
    assert_eq!(rule["RuleCondition"], document["Conditions"]["IsGradualDeployment"]);
    assert_eq!(rule["Assertions"][0]["Assert"], document["Conditions"]["HasAlarms"]);
    assert!(rule["Assertions"][0]["AssertDescription"].as_str().unwrap().ends_with('.'));
}

#[test]
fn codedeploy_may_move_the_aliases_of_the_api_and_nothing_else() {
    let template = Template::with(&[("Deployment", "Linear10PercentEvery1Minute")]);
    let role = template.properties("DeploymentRole");
    let trusted = &role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"];
    assert_eq!(trusted, &json!({"Service": "codedeploy.amazonaws.com"}));
    let mut expected = BTreeSet::from(["cloudwatch:DescribeAlarms on *".to_owned()]);
    for name in all(&template).into_iter().filter(|name| is_api(name)) {
        for action in ["GetAlias", "UpdateAlias", "GetProvisionedConcurrencyConfig"] {
            expected.extend([format!("lambda:{action} on {name}"), format!("lambda:{action} on {name}:live")]);
        }
    }
    assert_eq!(allowed(&role["Policies"][0]["PolicyDocument"]), expected);
}
