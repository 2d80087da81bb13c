//! Alarms and dashboard: each alarm is explained, every function is watched, one alarm pages.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::yaml::{Template, document, reference, texts};

const RUNBOOK: &str = include_str!("../../../../../RUNBOOK.md");

fn alarms(template: &Template) -> BTreeSet<&str> {
    let kinds = ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"];
    kinds.into_iter().flat_map(|kind| template.of_type(kind).into_keys()).collect()
}

/// The metrics that an alarm reads.
fn metrics(alarm: &Value) -> Vec<&Value> {
    let Some(queries) = alarm["Metrics"].as_array() else { return vec![alarm] };
    queries.iter().map(|query| &query["MetricStat"]["Metric"]).filter(|metric| !metric.is_null()).collect()
}

#[test]
fn the_runbook_knows_every_alarm() {
    let template = Template::new();
    let headings: BTreeSet<_> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let of_alarms = headings.into_iter().flat_map(|heading| heading.split(", "));
    let explained: BTreeSet<_> = of_alarms.filter(|name| name.ends_with("Alarm")).collect();
    assert_eq!(explained, alarms(&template));
}

#[test]
fn each_alarm_that_cannot_wait_notifies_when_it_begins_and_when_it_is_over() {
    let topic = "arn:aws:sns:eu-west-1:123456789012:pager";
    let template = Template::with(&[("AlarmTopicArn", topic)]);
    let mailed = Template::with(&[("AlarmEmail", "pager@example.com")]);
    let silent = Template::new();
    // A composite sends once, and is silent for a second cause.
    let page = template.properties("PageAlarm");
    assert!(page["AlarmActions"].is_null());
    assert!(silent.of_type("AWS::SNS::Topic").is_empty());
    assert_eq!(mailed.properties("AlarmTopic")["Subscription"][0]["Endpoint"], "pager@example.com");
    let rule = page["AlarmRule"]["Fn::Sub"].as_str().unwrap();
    let expected = [
        "ApiErrorsAlarm",
        "FailedJobsAlarm",
        "QueueAgeAlarm",
        "QuietQueueAgeAlarm",
        "SweeperAlarm",
        "ServiceDefectsAlarm",
        "DeferralsAlarm",
        "OldestJobAlarm",
    ];
    assert_eq!(rule, expected.map(|name| format!("ALARM(\"${{{name}}}\")")).join(" OR "));
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        assert!(!alarm["TreatMissingData"].is_null(), "{name}");
        for actions in ["AlarmActions", "OKActions"] {
            let pages = expected.contains(&name);
            assert_eq!(alarm[actions] == json!([topic]), pages, "{name}: {actions}");
            assert!(silent.properties(name)[actions].is_null(), "{name}: {actions}");
            assert_eq!(
                mailed.properties(name)[actions] == json!([reference("AlarmTopic")]),
                pages,
                "{name}: {actions}"
            );
        }
    }
}

#[test]
fn every_function_is_watched() {
    let template = Template::new();
    for metric in ["Errors", "Throttles"] {
        let mut watched = Vec::new();
        for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
            let of_functions = metrics(alarm).into_iter().filter(|read| read["MetricName"] == metric);
            let of_lambda: Vec<_> = of_functions.filter(|read| read["Namespace"] == "AWS/Lambda").collect();
            if of_lambda.is_empty() {
                continue;
            }
            assert_eq!(alarm["Metrics"][0]["Expression"], "SUM(METRICS())", "{name}");
            assert_eq!(of_lambda.len() + 1, alarm["Metrics"].as_array().unwrap().len(), "{name}: other metrics");
            watched.extend(of_lambda.into_iter().map(|read| read["Dimensions"][0]["Value"]["Ref"].as_str().unwrap()));
        }
        watched.sort_unstable();
        assert_eq!(watched, template.of_type("AWS::Serverless::Function").into_keys().collect::<Vec<_>>(), "{metric}");
    }
}

#[test]
fn an_alarm_takes_ten_metrics_and_watches_one_result() {
    for (name, alarm) in Template::new().of_type("AWS::CloudWatch::Alarm") {
        assert!((1..=10).contains(&metrics(alarm).len()), "{name}");
        let Some(queries) = alarm["Metrics"].as_array() else { continue };
        // An alarm has its metric's fields, or a list of metrics.
        assert!(alarm["MetricName"].is_null() && alarm["Period"].is_null() && alarm["Statistic"].is_null(), "{name}");
        let returned = queries.iter().filter(|query| query["ReturnData"] != false).count();
        assert_eq!(returned, 1, "{name}");
        let ids: BTreeSet<_> = queries.iter().map(|query| query["Id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), queries.len(), "{name}");
        for id in ids {
            assert!(id.starts_with(|letter: char| letter.is_ascii_lowercase()), "{name}: {id}");
        }
    }
}

#[test]
fn the_costs_count_every_metric_of_an_alarm() {
    let template = Template::new();
    let read: usize = template.of_type("AWS::CloudWatch::Alarm").into_values().map(|alarm| metrics(alarm).len()).sum();
    let costs = include_str!("../../../../../docs/costs.md");
    assert!(
        costs.contains(&format!("| {read} metrics × 0.10 + 1 composite")),
        "docs/costs.md: alarms read {read} metrics"
    );
}

#[test]
fn errors_of_the_api_are_a_share_of_its_calls() {
    let template = Template::new();
    let alarm = template.properties("ApiErrorsAlarm");
    assert_eq!(alarm["Metrics"][0]["Expression"], "IF(calls > 0, 100 * errors / calls, 0)");
    let read: Vec<_> = metrics(alarm).iter().map(|metric| metric["MetricName"].as_str().unwrap()).collect();
    assert_eq!(read, ["Count", "5xx"]);
    assert_eq!(metrics(alarm)[0]["Dimensions"], json!([{"Name": "ApiId", "Value": reference("Api")}]));
}

#[test]
fn only_jobs_that_the_service_failed_are_alarming() {
    let template = Template::new();
    assert_eq!(template.properties("FailedJobsAlarm")["MetricName"], "ServiceFaults");
    let dashboard = template.properties("MetricsDashboard").to_string();
    assert!(dashboard.contains("JobsFailed") && dashboard.contains("ServiceFaults"));
}

#[test]
fn alarms_and_dashboard_can_be_left_out() {
    let template = Template::with(&[("Alarms", "false"), ("Dashboard", "false")]);
    assert_eq!(alarms(&template), BTreeSet::new());
    assert!(template.of_type("AWS::CloudWatch::Dashboard").is_empty());
    // What is left out is also not referred to.
    let template = Template::with(&[("Alarms", "false")]);
    assert!(!template.properties("MetricsDashboard").to_string().contains("Alarm.Arn"));
}

#[test]
fn the_dashboard_shows_every_alarm_and_is_json() {
    let template = Template::new();
    let dashboard = template.properties("MetricsDashboard");
    let name = json!({"Fn::Sub": "${AWS::StackName}-${AWS::Region}"});
    assert_eq!(dashboard["DashboardName"], name);
    let body = &dashboard["DashboardBody"]["Fn::Sub"];
    let alarm_widget = &body[1]["AlarmWidgets"]["Fn::Sub"];
    let shown = &alarm_widget[1]["Arns"]["Fn::Join"][1];
    let shown: BTreeSet<_> =
        shown.as_array().unwrap().iter().map(|arn| arn["Fn::GetAtt"][0].as_str().unwrap()).collect();
    assert_eq!(shown, alarms(&template));
    // With alarms and without.
    for first in [alarm_widget[0].as_str().unwrap(), ""] {
        let text = body[0].as_str().unwrap().replace("${AlarmWidgets}", first);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert!(json["widgets"].as_array().unwrap().len() > 8);
    }
}

#[test]
fn the_dashboard_names_every_function_and_searches_for_none() {
    let template = Template::new();
    let dashboard = template.properties("MetricsDashboard");
    let body = dashboard["DashboardBody"]["Fn::Sub"][0].as_str().unwrap();
    assert!(!body.contains("SEARCH("), "a search also finds stacks whose names begin with this one's");
    for metric in ["Errors", "Throttles"] {
        for name in template.of_type("AWS::Serverless::Function").into_keys() {
            let shown = format!(r#"["AWS/Lambda", "{metric}", "FunctionName", "${{{name}}}"]"#);
            assert!(body.contains(&shown), "{shown}");
        }
    }
}

#[test]
fn functions_tell_every_metric_that_is_read() {
    let mut told = String::new();
    for path in
        ["shared", "functions"].into_iter().flat_map(|part| in_process::rust_files(&in_process::root().join(part)))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let metrics = text.split("target: METRICS,").skip(1).filter_map(|call| call.split(");").next());
        metrics.for_each(|call| told.push_str(call));
    }
    let told: BTreeSet<_> = told.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    let document = document();
    let mut read = BTreeSet::new();
    for text in texts(&document["Resources"]["MetricsDashboard"]) {
        read.extend(text.split("[\"ClinikBulk\", \"").skip(1).filter_map(|metric| metric.split('"').next()));
    }
    let template = Template::new();
    let filters = template.of_type("AWS::Logs::MetricFilter").into_values();
    let filtered: Vec<_> = filters.map(|filter| &filter["MetricTransformations"][0]["MetricName"]).collect();
    for alarm in template.of_type("AWS::CloudWatch::Alarm").into_values() {
        let ours = metrics(alarm).into_iter().filter(|metric| metric["Namespace"] == "ClinikBulk");
        for metric in ours {
            match metric["MetricName"].as_str() {
                Some(name) => read.extend([name]),
                // What is counted in a log has the stack in its name.
                None => assert!(filtered.contains(&&metric["MetricName"]), "{metric}"),
            }
        }
    }
    assert!(read.len() > 12, "{read:?}");
    for metric in read.into_iter().filter(|metric| !metric.contains("${")) {
        assert!(told.contains(snake_case(metric).as_str()), "no function tells {metric}");
    }
}

/// `JobsFailed` as the functions say it: `jobs_failed`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
