//! A batch as large as batches may be, through every stage, while its processors are killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use over_http::{Client, setting, sweep_until};
use serde_json::json;

/// Ten thousand records of about 10 KB: near the most bytes and exactly the most lines of a batch.
const RECORDS: usize = 10_000;

fn record(number: usize) -> String {
    let note = format!("{number:08} {}", "of a long letter, as people write them; ".repeat(250));
    format!(r#"{{"id":"big-{number}","firstName":"J","lastName":"{number}","note":"{note}"}}"#)
}

/// The processes that run a function of this stack now.
fn processes_of(function: &str) -> Vec<String> {
    let endpoint = format!("AWS_ENDPOINT_URL={}", setting("AWS_ENDPOINT_URL"));
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_one = |entry: &std::fs::DirEntry| {
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { return false };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables: Vec<_> = environment.split('\0').collect();
        let runs = |variable: &&str| variable.starts_with("AWS_LAMBDA_FUNCTION_NAME=") && variable.ends_with(function);
        variables.contains(&endpoint.as_str()) && variables.iter().any(runs)
    };
    processes.filter(is_one).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Kills whatever processes run the function, `times` times, some seconds after each other.
fn kill_again_and_again(function: &'static str, times: usize, killed: &AtomicUsize, stop: &AtomicBool) {
    for _ in 0..times {
        for _ in 0..25 {
            std::thread::sleep(Duration::from_millis(100));
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
        for process in processes_of(function) {
            if Command::new("kill").args(["-9", &process]).status().is_ok_and(|status| status.success()) {
                killed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Lets `work` run while processors of `function` are killed.
fn while_killing<T>(function: &'static str, times: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let (stop, killed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| sweep_until(&stop));
        scope.spawn(|| kill_again_and_again(function, times, &killed, &stop));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    });
    (done, killed.into_inner())
}

#[test]
fn the_largest_batch_survives_the_death_of_its_processors() {
    let client = Client::of_new_tenant("large", &["--plan", "pro"]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut size = 0;
    for number in 0..RECORDS {
        let line = record(number) + "\n";
        size += line.len();
        encoder.write_all(line.as_bytes()).unwrap();
    }
    assert!((100_000_000..104_857_600).contains(&size), "{size}");
    let upload = client.uploaded(&encoder.finish().unwrap());

    let body = json!({"resourceType": "Patient", "uploadId": upload["uploadId"]});
    let (job, killed) =
        while_killing("-run-import", 2, || client.ended(&client.post("/v1/bulk/import", &body).job_id()));
    assert_eq!((&job["status"], &job["succeededRecords"]), (&json!("completed"), &json!(RECORDS)), "{job}");
    assert_eq!(job["failedRecords"], 0);
    println!("import of {size} bytes: {killed} processors killed");

    let ((job, file), killed) = while_killing("-run-export", 3, || client.exported(&["Patient"], None));
    println!("export of {} bytes: {killed} processors killed", file.len());
    if cfg!(target_os = "linux") {
        assert!(killed > 0, "a processor was killed while it worked");
    }
    let totals = [&job["totalRecords"], &job["processedRecords"]].map(|total| total.as_u64().unwrap());
    assert_eq!(totals, [RECORDS as u64; 2]);
    let lines: BTreeMap<_, _> = file.lines().map(|line| (line.split('"').nth(7).unwrap(), line)).collect();
    assert_eq!((lines.len(), file.lines().count()), (RECORDS, RECORDS), "every record once");
    for number in 0..RECORDS {
        let (line, sent) = (lines[format!("big-{number}").as_str()], record(number));
        let (_, kept) = sent.split_once(r#","firstName""#).unwrap();
        assert!(line.ends_with(kept), "record {number} is not as it was sent");
    }
}
