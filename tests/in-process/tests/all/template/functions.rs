//! Functions: what they run on, where they log, what Lambda is told about them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::yaml::{Template, alias, arn, document, reference, texts};

const PROCESSORS: [&str; 2] = ["RunExportFunction", "RunImportFunction"];

pub(crate) fn all(template: &Template) -> Vec<&str> {
    template.of_type("AWS::Serverless::Function").into_keys().collect()
}

pub(crate) fn is_api(name: &str) -> bool {
    !PROCESSORS.contains(&name) && name != "SweepJobsFunction"
}

#[test]
fn every_function_of_the_workspace_is_deployed() {
    let template = Template::new();
    let binary = |name: &str| {
        let metadata = &template.resource(name)["Metadata"];
        assert_eq!(metadata["BuildMethod"], "rust-cargolambda", "{name}");
        metadata["BuildProperties"]["Binary"].as_str().unwrap().to_owned()
    };
    let deployed: BTreeSet<_> = all(&template).into_iter().map(binary).collect();
    let packages = std::fs::read_dir(in_process::root().join("functions")).unwrap().map(|entry| entry.unwrap().path());
    let packages = packages.filter(|path| path.join("Cargo.toml").exists());
    let packages: BTreeSet<_> = packages.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(deployed, packages);
    for name in all(&template) {
        let full = json!({"Fn::Sub": format!("${{AWS::StackName}}-{}", binary(name))});
        assert_eq!(template.properties(name)["FunctionName"], full, "{name}");
    }
}

#[test]
fn functions_run_on_the_architecture_that_was_built() {
    for architecture in ["arm64", "x86_64"] {
        let template = Template::with(&[("Architecture", architecture)]);
        assert_eq!(template.globals["Architectures"], json!([architecture]));
        assert!(all(&template).iter().all(|name| template.properties(name)["Architectures"].is_null()));
    }
    assert_eq!(Template::new().globals["Architectures"], json!(["arm64"]));
}

#[test]
fn no_level_of_lambda_drops_metrics_and_audits() {
    assert!(!texts(&document()).contains(&"ApplicationLogLevel"));
    let template = Template::with(&[("LogLevel", "ERROR")]);
    assert_eq!(template.globals["Environment"]["Variables"]["LOG_LEVEL"], "ERROR");
    for name in all(&template) {
        assert_eq!(template.of_function(name, "LoggingConfig")["LogFormat"], "JSON", "{name}");
        assert_eq!(template.properties(name)["Environment"]["Variables"]["LOG_LEVEL"], Value::Null, "{name}");
    }
}

#[test]
fn functions_of_a_kind_share_a_log_group() {
    let template = Template::new();
    for name in all(&template) {
        let group = match name {
            "SweepJobsFunction" => "SweeperLogs",
            name if PROCESSORS.contains(&name) => "ProcessorLogs",
            _ => "ApiLogs",
        };
        assert_eq!(template.of_function(name, "LoggingConfig")["LogGroup"], reference(group), "{name}");
    }
}

#[test]
fn only_processors_may_send_themselves_messages_for_ever() {
    let template = Template::new();
    for name in all(&template) {
        let expected = if PROCESSORS.contains(&name) { json!("Allow") } else { Value::Null };
        assert_eq!(template.of_function(name, "RecursiveLoop"), &expected, "{name}");
    }
}

#[test]
fn a_processor_takes_one_message_at_a_time_and_reports_what_failed() {
    let template = Template::with(&[("ImportConcurrency", "3"), ("ExportConcurrency", "4")]);
    for (kind, concurrency) in [("Import", "3"), ("Export", "4")] {
        let source = template.properties(&format!("Run{kind}Source"));
        assert_eq!(source["EventSourceArn"], arn(&format!("{kind}Queue")), "{kind}");
        assert_eq!(source["FunctionName"], alias(&format!("Run{kind}Function")), "{kind}");
        assert_eq!(source["BatchSize"], 1, "{kind}");
        assert_eq!(source["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{kind}");
        assert_eq!(source["ScalingConfig"], json!({"MaximumConcurrency": concurrency}), "{kind}");
    }
}

#[test]
fn the_sweeper_runs_every_minute() {
    let template = Template::new();
    let schedule = template.properties("SweepJobsSchedule");
    assert_eq!((&schedule["ScheduleExpression"], &schedule["State"]), (&json!("rate(1 minute)"), &json!("ENABLED")));
    assert_eq!(schedule["Targets"], json!([{"Id": "sweep-jobs", "Arn": alias("SweepJobsFunction")}]));
    let permission = json!({
        "FunctionName": alias("SweepJobsFunction"), "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com", "SourceArn": arn("SweepJobsSchedule"),
    });
    assert_eq!(template.properties("SweepJobsPermission"), &permission);
    // A sweep that comes late, or again, would only run beside the next minute's.
    let once = json!({"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0});
    assert_eq!(template.of_function("SweepJobsFunction", "EventInvokeConfig"), &once);
}

#[test]
fn concurrency_can_be_reserved_for_the_api() {
    let reserved = |template: &Template, name: &str| template.of_function(name, "ReservedConcurrentExecutions").clone();
    let (off, on) = (Template::new(), Template::with(&[("ApiReservedConcurrency", "7")]));
    for name in all(&off) {
        assert_eq!(reserved(&off, name), Value::Null, "{name}");
        let expected = match name {
            // The sweeper has to run when processors use up the quota, and never twice at once.
            "SweepJobsFunction" => json!(1),
            name if is_api(name) => json!("7"),
            _ => Value::Null,
        };
        assert_eq!(reserved(&on, name), expected, "{name}");
    }
}

#[test]
fn the_gateway_gives_up_after_every_api_function() {
    let template = Template::new();
    for name in all(&template) {
        let timeout = template.of_function(name, "Timeout").as_i64().unwrap();
        // The gateway waits for 30 seconds, the schedule for a minute.
        let most = match name {
            "SweepJobsFunction" => 59,
            name if is_api(name) => 29,
            _ => 900,
        };
        assert!((1..=most).contains(&timeout), "{name}: {timeout}");
    }
}
