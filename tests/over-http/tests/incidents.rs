//! Incidents that are made on the running stack: each is told by the metric that an alarm reads, while it lasts.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use over_http::{Client, boto3, evidence, sweep_until};
use serde_json::Value;

/// Has the processors look for the records in another table, as if theirs were gone.
fn records_table(suffix: &str) {
    boto3(&format!(
        "import boto3, os
from local.reconfigure import reconfigure
functions = boto3.client('lambda')
for name in ('clinik-bulk-run-import', 'clinik-bulk-run-export'):
    variables = functions.get_function_configuration(FunctionName=name)['Environment']['Variables']
    variables['RECORDS_TABLE'] = os.environ['RECORDS_TABLE'] + '{suffix}'
    reconfigure(functions, name, Environment={{'Variables': variables}})"
    ));
}

/// The lines of a metric that name a job.
fn metrics_of(job: &str, metric: &str) -> Vec<Value> {
    let lines = evidence(&["logs"]).into_iter().map(|found| found.text);
    let of_job = lines.filter(|line| line.contains(job) && line.contains("\"_aws\""));
    let values = of_job.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    values.filter(|value| value.get(metric).is_some()).collect()
}

#[test]
fn a_table_that_is_away_is_told_within_the_minute() {
    let client = Client::of_new_tenant("incident-table", &["--plan", "enterprise"]);
    let line = "{\"id\":\"p-1\",\"firstName\":\"Jane\",\"lastName\":\"Doe\"}\n";
    records_table("-away");
    let began = Instant::now();
    let jobs = [client.import("Patient", line).job_id(), client.export(&["Patient"], None).job_id()];
    let mut heard = BTreeSet::new();
    while heard.len() < jobs.len() {
        assert!(began.elapsed() < Duration::from_mins(1), "heard of {heard:?} only, of {jobs:?}");
        std::thread::sleep(Duration::from_secs(1));
        for job in &jobs {
            let told = metrics_of(job, "JobsDeferred");
            if told.iter().any(|line| line["Cause"] == "refused" && line["ServiceDefects"] == 1) {
                heard.insert(job.clone());
            }
        }
    }
    // What the alarm reads of it: by the stack alone.
    let told = &metrics_of(&jobs[0], "JobsDeferred")[0];
    let described = &told["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&described["Namespace"], &told["Stack"]), (&"ClinikBulk".into(), &"clinik-bulk".into()));
    assert!(described["Dimensions"].as_array().unwrap().contains(&serde_json::json!(["Stack"])));
    let names: Vec<_> = described["Metrics"].as_array().unwrap().iter().map(|metric| &metric["Name"]).collect();
    for name in ["JobsDeferred", "DeferralsInARow", "ServiceDefects"] {
        assert!(names.contains(&&Value::from(name)), "{name}: {names:?}");
    }
    records_table("");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| sweep_until(&stop));
        for job in &jobs {
            assert_eq!(client.ended(job)["status"], "completed", "nothing is lost");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_message_that_cannot_be_read_is_told() {
    // Not of this service: it comes again until it is in the dead-letter queue, and Lambda counts no error.
    boto3(
        "import boto3, os
queues = boto3.client('sqs')
queues.send_message(QueueUrl=os.environ['IMPORT_QUEUE_URL'], MessageBody='not ours', MessageGroupId='incident')",
    );
    let began = Instant::now();
    loop {
        let told = evidence(&["logs"]).into_iter().find(|found| found.text.contains("\"DeliveriesRefused\""));
        if let Some(found) = told {
            let line: Value = serde_json::from_str(&found.text).unwrap();
            assert_eq!((&line["DeliveriesRefused"], &line["Stack"]), (&1.into(), &"clinik-bulk".into()));
            let dimensions = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
            assert!(dimensions.as_array().unwrap().contains(&serde_json::json!(["Stack"])), "{line}");
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "nobody has told it");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn the_sweeper_tells_how_old_the_oldest_job_is() {
    // It runs every minute on the stack under test, too.
    let began = Instant::now();
    loop {
        let told = evidence(&["logs"]).into_iter().find(|found| found.text.contains("\"OldestJobMs\""));
        if let Some(found) = told {
            let line: Value = serde_json::from_str(&found.text).unwrap();
            assert!(line["OldestJobMs"].is_u64(), "{line}");
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "no sweep has told it");
        std::thread::sleep(Duration::from_secs(2));
    }
}
