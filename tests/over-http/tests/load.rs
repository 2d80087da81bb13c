//! Load on the running stack, bounded and on loopback: run by `make soak`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use over_http::{Answer, Client};
use serde_json::Value;

fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"p-{n}\",\"firstName\":\"J\",\"lastName\":\"D\"}}\n")).collect()
}

/// A 503 is documented and says when to come again; any other 5xx is none of the contract's.
fn accepted(call: impl Fn() -> Answer, busy: &AtomicUsize) -> Answer {
    for _ in 0..60 {
        let answer = call();
        match answer.status {
            200 | 202 => return answer,
            503 => {
                busy.fetch_add(1, Ordering::Relaxed);
                let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
                std::thread::sleep(Duration::from_secs(seconds));
            }
            status => panic!("{status}: {answer:?}"),
        }
    }
    panic!("the service is busy for ever");
}

/// Polls as `Retry-After` asks for.
fn ended(client: &Client, id: &str, busy: &AtomicUsize) -> Value {
    loop {
        let answer = accepted(|| client.job(id), busy);
        let job = answer.data();
        if matches!(job["status"].as_str().unwrap(), "completed" | "failed") {
            return job;
        }
        std::thread::sleep(Duration::from_secs(answer.headers["retry-after"].parse().unwrap()));
    }
}

#[test]
#[ignore = "two minutes of load; make soak runs it"]
fn fifty_clients_start_poll_and_download_for_two_minutes() {
    const CLIENTS: usize = 50;
    let (rounds, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (rounds, busy) = (&rounds, &busy);
            scope.spawn(move || {
                let limits = ["--plan", "enterprise", "--bulk-operations-per-hour", "1000"];
                let client = Client::of_new_tenant(&format!("load-{number}"), &limits);
                let data = patients(100 + number);
                while began.elapsed() < Duration::from_mins(2) {
                    let import = accepted(|| client.import("Patient", &data), busy).job_id();
                    let job = ended(&client, &import, busy);
                    assert_eq!(job["succeededRecords"], 100 + number, "{job}");
                    let export = accepted(|| client.export(&["Patient"], None), busy).job_id();
                    let job = ended(&client, &export, busy);
                    assert_eq!(job["processedRecords"], 100 + number, "{job}");
                    let file = client.fetch(job["downloadUrl"].as_str().unwrap());
                    assert_eq!(file.text.lines().count(), 100 + number);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (rounds, busy) = (rounds.into_inner(), busy.into_inner());
    println!(
        "50 clients: {rounds} imports and as many exports in {} s, {busy} answers of 503",
        began.elapsed().as_secs()
    );
    assert!(rounds >= CLIENTS);
}

#[test]
#[ignore = "some minutes of load; make soak runs it"]
fn two_hundred_tenants_with_one_job_each_at_once() {
    const TENANTS: usize = 200;
    let limits = ["--plan", "pro"];
    let clients: Vec<_> = (0..TENANTS).map(|n| Client::of_new_tenant(&format!("crowd-{n}"), &limits)).collect();
    let busy = AtomicUsize::new(0);
    let began = Instant::now();
    let mut waits: Vec<_> = std::thread::scope(|scope| {
        let jobs: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| {
                let busy = &busy;
                scope.spawn(move || {
                    let data = patients(50 + number);
                    let import = accepted(|| client.import("Patient", &data), busy).job_id();
                    let job = ended(client, &import, busy);
                    assert_eq!(job["status"], "completed", "{job}");
                    assert_eq!(job["succeededRecords"], 50 + number, "{job}");
                    began.elapsed()
                })
            })
            .collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    waits.sort();
    println!(
        "200 tenants: the first job had ended after {:.1} s, half of them after {:.1} s, the last after {:.1} s; {} answers of 503",
        waits[0].as_secs_f64(),
        waits[TENANTS / 2].as_secs_f64(),
        waits[TENANTS - 1].as_secs_f64(),
        busy.into_inner(),
    );
}
