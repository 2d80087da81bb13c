//! A process that is killed (SIGKILL) at every request and at every entry of its journal, and resumed.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stub::{OTHER_KEY, Phase};
use crate::{Bench, Victim, kill, patients, run};

/// Two types and so two jobs; of five patients one is rejected here and one by the service.
const RECORDS: usize = 5;

fn prepare() -> Bench {
    let bench = Bench::new();
    let rejected = "{\"firstName\":\"RejectThis\",\"lastName\":\"x\"}\n{\"firstName\":\"only\"}\n";
    bench.write("in/Patient.ndjson", patients(3) + rejected);
    bench.write("in/Organization.ndjson", "{\"name\":\"North\"}\n{\"name\":\"South\"}\n");
    bench
}

/// Goes on, and checks that every record is stored once, no operation was wasted, and the summary adds up.
#[track_caller]
fn resume_and_check(bench: &Bench, what: &str) {
    bench.stub.no_hook();
    let resumed = if bench.path("state/run.json").exists() {
        bench.run(&["resume", "state"])
    } else {
        // Killed before anything was written down: nothing was sent either.
        assert_eq!(bench.stub.count("POST", ""), 0, "{what}");
        let _ = std::fs::remove_dir_all(bench.path("state"));
        bench.run(&["import", "in", "--state", "state"])
    };
    assert_eq!(resumed.code, 3, "{what}: {}", resumed.err);
    let state = bench.stub.state();
    assert_eq!(state.records.len(), RECORDS, "{what}: every record is stored");
    assert!(state.records.values().all(|(_, writes)| *writes == 1), "{what}: every record is stored once");
    assert_eq!(state.jobs.len(), 2, "{what}: no operation is wasted");
    drop(state);
    let summary = bench.read_json("state/summary.json");
    let figure = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(figure("read"), 7, "{what}");
    assert_eq!(figure("stored") + figure("rejected"), 7, "{what}");
    assert_eq!(figure("open"), 0, "{what}");
    let by_file: u64 = summary["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            assert_eq!(
                file["read"].as_u64().unwrap(),
                file["stored"].as_u64().unwrap() + file["rejected"].as_u64().unwrap()
            );
            file["stored"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(by_file, RECORDS as u64, "{what}");
    assert_eq!(bench.read("state/ids.ndjson").lines().count(), RECORDS, "{what}");
    assert_eq!(bench.read("state/rejected.ndjson").lines().count(), 2, "{what}");
    assert_eq!(bench.read("state/errors.ndjson").lines().count(), 2, "{what}");
}

fn journal_lines(bench: &Bench) -> usize {
    std::fs::read_to_string(bench.path("state/journal.ndjson")).map_or(0, |text| text.lines().count())
}

/// How many requests a run makes that nobody disturbs, and how many entries its journal has.
fn undisturbed() -> (usize, usize) {
    let bench = prepare();
    bench.run(&["import", "in", "--state", "state"]).ends(3);
    let requests = bench.stub.state().requests.len();
    resume_and_check(&bench, "undisturbed");
    (requests, journal_lines(&bench))
}

/// Kills the process at its request of this number, and returns how long its journal was.
fn kill_at_request(number: usize, when: Phase) -> usize {
    let bench = prepare();
    let child = Victim::default();
    let (victim, mut seen) = (child.clone(), 0);
    bench.stub.on_request(move |_, phase| {
        if phase != when {
            return None;
        }
        seen += 1;
        (seen == number).then(|| kill(&victim))
    });
    *child.lock().unwrap() = Some(bench.process(&["import", "in", "--state", "state"]).spawn().unwrap());
    let start = Instant::now();
    loop {
        let ended = child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "request {number} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
    let lines = journal_lines(&bench);
    resume_and_check(&bench, &format!("killed {when:?} request {number}, with {lines} entries"));
    lines
}

#[test]
fn killed_at_every_request_a_run_is_resumed_and_stores_each_record_once() {
    let (requests, entries) = undisturbed();
    assert!(requests >= 13, "{requests}");
    let points: Vec<_> = (1..=requests).flat_map(|number| [(number, Phase::Before), (number, Phase::After)]).collect();
    let next = Mutex::new(points.iter());
    let lengths = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((number, when)) = next.lock().unwrap().next().copied() else { return };
                    let lines = kill_at_request(number, when);
                    lengths.lock().unwrap().insert(lines);
                }
            });
        }
    });
    // Entries without a request between them are met by the next test.
    let lengths = lengths.into_inner().unwrap();
    assert!(lengths.contains(&0) && lengths.len() >= entries / 2, "{lengths:?} of {entries}");
}

#[test]
fn killed_at_every_entry_of_its_journal_a_run_is_resumed_and_stores_each_record_once() {
    let (_, entries) = undisturbed();
    for wanted in 1..=entries {
        let bench = prepare();
        let mut child = bench.process(&["import", "in", "--state", "state"]).spawn().unwrap();
        let start = Instant::now();
        while journal_lines(&bench) < wanted && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(30));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        resume_and_check(&bench, &format!("killed at entry {wanted}"));
    }
}

#[test]
fn an_entry_that_was_not_written_to_its_end_was_not_taken() {
    // The upload is there and its start is written down, but not whole: the machine lost power.
    let bench = prepare();
    bench.stub.state().operations_left = 0;
    bench.run(&["import", "in", "--state", "state", "--no-wait"]).ends(7);
    let journal = bench.read("state/journal.ndjson");
    assert_eq!(journal.lines().count(), 2);
    for cut in 1..journal.lines().last().unwrap().len() {
        bench.write("state/journal.ndjson", &journal[..journal.len() - cut]);
        let status = bench.run(&["status", "state", "--output", "json"]).json();
        assert_eq!(status["jobs"][0]["state"], "uploaded", "{cut}");
        if cut.is_multiple_of(25) {
            bench.run(&["resume", "state", "--no-wait"]).ends(7);
        }
    }
    bench.stub.state().operations_left = 5;
    resume_and_check(&bench, "torn journal");
}

#[test]
fn killed_while_it_plans_a_run_plans_again() {
    let bench = prepare();
    // A source that does not end: a pipe that somebody holds open.
    let pipe = bench.path("in/Person.ndjson");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = bench.process(&["import", "in", "--state", "state"]).spawn().unwrap();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    std::io::Write::write_all(&mut writer, b"{\"firstName\":\"half a rec").unwrap();
    let start = Instant::now();
    while !bench.path("state/held/Patient.records.ndjson.partial").exists() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("state/plan.json").exists());
    let status = bench.run(&["status", "state"]);
    assert!(status.ends(0).out.contains("nothing was sent"));
    let mut other = bench.command(&["resume", "state"]);
    other.env("CLINIKAPI_SECRET_KEY", OTHER_KEY);
    run(other).ends(2).says("another tenant");
    std::fs::remove_file(bench.path("in/Person.ndjson")).unwrap();
    // A source is gone, and nothing has been sent: that is told, not passed over.
    bench.run(&["resume", "state"]).ends(2).says("Person.ndjson");
    bench.write("in/Person.ndjson", "");
    resume_and_check(&bench, "killed while planning");
}

#[test]
fn an_export_that_is_killed_starts_no_second_job() {
    for (number, when) in (2..=5).flat_map(|number| [(number, Phase::Before), (number, Phase::After)]) {
        let bench = Bench::new();
        for n in 0..20 {
            bench.stub.put("Patient", &format!("p-{n}"), "x");
        }
        let child = Victim::default();
        let (victim, mut seen) = (child.clone(), 0);
        bench.stub.on_request(move |_, phase| {
            seen += usize::from(phase == when);
            (phase == when && seen == number).then(|| kill(&victim))
        });
        *child.lock().unwrap() = Some(bench.process(&["export", "Patient", "--out", "out"]).spawn().unwrap());
        let start = Instant::now();
        let ended = loop {
            let ended = child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            if let Some(ended) = ended {
                break ended;
            }
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        };
        bench.stub.no_hook();
        if ended.success() {
            // On a slow machine the job has ended at the first poll, and there is no fifth request to be killed at.
            assert_eq!(number, 5, "{when:?}: it was to be killed");
            continue;
        }
        let folder = std::fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
        let folder = folder.to_str().unwrap();
        // An export that is not complete is no backup.
        bench.run(&["import", folder, "--dry-run"]).ends(2).says("not complete");
        let resumed = bench.run(&["resume", folder]);
        assert_eq!(resumed.code, 0, "{when:?} {number}: {}", resumed.err);
        assert_eq!(bench.stub.state().jobs.len(), 1, "{when:?} {number}");
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(format!("{folder}/manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["records"], 20);
    }
}
