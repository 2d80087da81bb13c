//! Trouble at every request of every command: the answer is lost or somebody else's, before or after the service has done
//! what was asked, once or for nine seconds, or once and then the process is killed. Whatever is told as success is true,
//! and every record is stored once.
//!
//! A fair sample by default; all with `OUTAGES=all`.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stub::{Phase, Reply, Request, error, success};
use crate::{Bench, Victim, kill, patients};

/// Cases that run side by side: most of their time is waiting.
const LANES: usize = 12;
/// Of so many cases one is in the sample.
const SAMPLE: usize = 23;
/// A command that has been repeated so often and has not succeeded never will.
const TRIES: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Dropped,
    /// A page of a proxy.
    Html404,
    /// An empty answer of somebody on the way.
    Empty204,
    /// An answer without the members that it should have.
    NoMembers,
    Unprocessable,
    Limited,
    Unavailable,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Dropped,
        Self::Html404,
        Self::Empty204,
        Self::NoMembers,
        Self::Unprocessable,
        Self::Limited,
        Self::Unavailable,
    ];

    fn reply(self) -> Reply {
        match self {
            Self::Dropped => Reply::dropped(),
            Self::Html404 => Reply::bytes(404, b"<html>".to_vec()),
            Self::Empty204 => Reply::bytes(204, Vec::new()),
            Self::NoMembers => success(200, &json!({})),
            Self::Unprocessable => error(422, "VALIDATION_ERROR", "Validation failed", &["uploadId: Unknown upload"]),
            Self::Limited => error(429, "RATE_LIMITED", "Limit reached", &[]).with("retry-after", "1"),
            Self::Unavailable => error(503, "UNAVAILABLE", "Later", &[]).with("retry-after", "1"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Once,
    NineSeconds,
    OnceAndKilled,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    scene: usize,
    request: usize,
    trouble: Trouble,
    phase: Phase,
    length: Length,
}

/// What goes on with a command, once its folder is there.
type Resume = fn(&Bench) -> Option<Vec<String>>;

/// A command that is disturbed.
struct Scene {
    /// What is there before.
    prepare: fn(&Bench),
    command: &'static [&'static str],
    /// How it is gone on with, once the command's folder is there.
    resume: Option<Resume>,
    /// What it says when all is well.
    code: i32,
    /// What must be true when success is told.
    check: fn(&Bench, &str),
}

const SCENES: [Scene; 7] = [
    Scene {
        prepare: |bench| {
            bench.write("in/Patient.ndjson", patients(3) + "{\"firstName\":\"RejectThis\",\"lastName\":\"x\"}\n");
            bench.write("in/Organization.ndjson", "{\"name\":\"North\"}\n");
        },
        command: &["import", "in", "--state", "state"],
        resume: Some(resume_import),
        code: 3,
        check: |bench, case| {
            check_stored(bench, 4, case);
            check_summary(bench, "state", 5, case);
            assert_eq!(bench.read("state/rejected.ndjson").lines().count(), 1, "{case}");
            assert_eq!(bench.read("state/ids.ndjson").lines().count(), 4, "{case}");
        },
    },
    // Two batches with the same records, of two exports of a chain: the later one must come behind the earlier one.
    Scene {
        prepare: |bench| {
            for n in 0..3 {
                bench.stub.put("Patient", &format!("p-{n}"), "old");
            }
            bench.run(&["export", "Patient", "--out", "out"]).ends(0);
            "2026-01-16T09:00:00Z".clone_into(&mut bench.stub.state().transaction_time);
            for n in 0..2 {
                bench.stub.put("Patient", &format!("p-{n}"), "new");
            }
            bench.run(&["export", "Patient", "--out", "out", "--since-last"]).ends(0);
            bench.stub.state().records.clear();
        },
        command: &["import", "out", "--state", "state"],
        resume: Some(resume_import),
        code: 0,
        check: |bench, case| {
            check_summary(bench, "state", 6, case);
            let state = bench.stub.state();
            let record = |n: usize| &state.records[&("Patient".to_owned(), format!("p-{n}"))].0;
            assert!(record(0).contains("new") && record(1).contains("new") && record(2).contains("old"), "{case}");
        },
    },
    Scene {
        prepare: |bench| {
            bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
            bench.run(&["import", "Patient", "p.ndjson", "--state", "first"]).ends(3);
            bench.write("first/rejected.ndjson", patients(2));
        },
        command: &["retry", "first", "--state", "state"],
        resume: Some(resume_import),
        code: 0,
        check: |bench, case| {
            check_stored(bench, 2, case);
            check_summary(bench, "state", 2, case);
        },
    },
    Scene {
        prepare: put_patients,
        command: &["export", "Patient", "--out", "out"],
        resume: Some(|bench| {
            let mut folders = std::fs::read_dir(bench.path("out")).ok()?.map(|entry| entry.unwrap().path());
            let begun = folders.find(|folder| folder.join("export.json").exists())?;
            Some(vec!["resume".to_owned(), begun.to_str().unwrap().to_owned()])
        }),
        code: 0,
        check: |bench, case| {
            let folders = std::fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap().path());
            let whole: Vec<_> = folders.filter(|folder| folder.join("manifest.json").exists()).collect();
            assert_eq!(whole.len(), 1, "{case}");
            let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&whole[0]).status();
            assert!(sums.unwrap().success(), "{case}");
            assert_eq!(bench.stub.state().jobs.len(), 1, "{case}: no operation is wasted");
        },
    },
    Scene {
        prepare: |bench| {
            put_patients(bench);
            bench.run(&["export", "Patient", "--out", "out"]).ends(0);
        },
        command: &["download", "job_000001", "--out", "files"],
        resume: None,
        code: 0,
        check: |bench, case| {
            let whole = bench.stub.state().jobs[0].files["job_000001.ndjson"].clone();
            assert_eq!(bench.read("files/job_000001.ndjson").into_bytes(), whole, "{case}");
        },
    },
    Scene {
        prepare: |bench| {
            put_patients(bench);
            bench.run(&["export", "Patient", "--out", "out"]).ends(0);
        },
        command: &["jobs", "delete", "job_000001"],
        resume: None,
        code: 0,
        check: |bench, case| assert_eq!(bench.stub.state().jobs.len(), 0, "{case}"),
    },
    Scene {
        prepare: |bench| {
            bench.write("p.ndjson", patients(1));
            bench.stub.state().polls = 1000;
            bench.run(&["import", "Patient", "p.ndjson", "--state", "state", "--no-wait"]).ends(6);
        },
        command: &["jobs", "cancel", "job_000002"],
        resume: None,
        code: 0,
        check: |bench, case| assert_eq!(bench.stub.state().jobs[0].ended, Some("failed"), "{case}"),
    },
];

fn put_patients(bench: &Bench) {
    for n in 0..20 {
        bench.stub.put("Patient", &format!("p-{n}"), "x");
    }
}

fn resume_import(bench: &Bench) -> Option<Vec<String>> {
    bench.path("state/run.json").exists().then(|| vec!["resume".to_owned(), "state".to_owned()])
}

/// Every record without an id is stored, and once.
fn check_stored(bench: &Bench, records: usize, case: &str) {
    let state = bench.stub.state();
    assert_eq!(state.records.len(), records, "{case}: every record is stored");
    assert!(state.records.values().all(|(_, writes)| *writes == 1), "{case}: every record is stored once");
}

fn check_summary(bench: &Bench, folder: &str, read: u64, case: &str) {
    let summary = bench.read_json(&format!("{folder}/summary.json"));
    let figure = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((figure("read"), figure("open")), (read, 0), "{case}");
    assert_eq!(figure("stored") + figure("rejected") + figure("leftOut"), read, "{case}");
    // Neither records nor half-written files stay behind.
    for inner in ["batches", "results", "held"] {
        for entry in std::fs::read_dir(bench.path(folder).join(inner)).unwrap() {
            let path = entry.unwrap().path();
            let is_left = path.extension().is_some_and(|extension| extension == "gz" || extension == "partial");
            assert!(!is_left, "{case}: {}", path.display());
        }
    }
}

/// Answers as the case says, and says whether it has.
struct Disturber {
    case: Case,
    seen: usize,
    began: Option<(Instant, String)>,
    has_killed: bool,
    victim: Victim,
}

impl Disturber {
    fn answer(&mut self, request: &Request, phase: Phase) -> Option<Reply> {
        let Case { length, trouble, .. } = self.case;
        if let Some((at, place)) = &self.began {
            return match length {
                // The same call, again and again.
                Length::NineSeconds if phase == self.case.phase && at.elapsed() < Duration::from_secs(9) => {
                    (*place == place_of(request)).then(|| trouble.reply())
                }
                Length::OnceAndKilled if phase == Phase::Before && !self.has_killed => {
                    self.has_killed = true;
                    Some(kill(&self.victim))
                }
                _ => None,
            };
        }
        if phase != self.case.phase {
            return None;
        }
        self.seen += 1;
        (self.seen == self.case.request).then(|| {
            self.began = Some((Instant::now(), place_of(request)));
            trouble.reply()
        })
    }
}

/// The method and the path, without ids.
fn place_of(request: &Request) -> String {
    let is_id = |part: &&str| !part.contains("_0");
    let path: Vec<_> = request.path.split(['/', '?']).filter(is_id).collect();
    format!("{} {}", request.method, path.join("/"))
}

/// Runs a command to its end, or until it is killed.
fn run_disturbed(bench: &Bench, arguments: &[&str], victim: &Victim) -> Option<i32> {
    let said = std::fs::File::create(bench.path("said")).unwrap();
    // Held while it is spawned: its first request must not meet the one before.
    let mut slot = victim.lock().unwrap();
    *slot = Some(bench.process(arguments).stderr(said).spawn().unwrap());
    drop(slot);
    let start = Instant::now();
    loop {
        if let Some(status) = victim.lock().unwrap().as_mut().unwrap().try_wait().unwrap() {
            // Whoever was killed has none.
            return status.code();
        }
        assert!(start.elapsed() < Duration::from_mins(2), "it does not end: {}", bench.read("said"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn disturb(case: Case) {
    let scene = &SCENES[case.scene];
    let bench = Bench::new();
    (scene.prepare)(&bench);
    let victim = Victim::default();
    let mut disturber = Disturber { case, seen: 0, began: None, has_killed: false, victim: Arc::clone(&victim) };
    bench.stub.on_request(move |request, phase| disturber.answer(request, phase));
    let mut said = Vec::new();
    for _ in 0..TRIES {
        let next = scene.resume.and_then(|resume| resume(&bench));
        let arguments: Vec<_> = match &next {
            Some(next) => next.iter().map(String::as_str).collect(),
            None => scene.command.to_vec(),
        };
        let code = run_disturbed(&bench, &arguments, &victim);
        let text = bench.read("said");
        assert!(code != Some(101) && !text.contains("panicked"), "{case:?}: {text}");
        said.push(format!("{arguments:?}: {code:?} {text}"));
        if code == Some(scene.code) {
            (scene.check)(&bench, &format!("{case:?}: {said:#?}"));
            return;
        }
        if case.length == Length::NineSeconds {
            // Whoever is told of trouble waits a moment.
            std::thread::sleep(Duration::from_secs(3));
        }
        if scene.command[1] == "delete" && text.contains("NOT_FOUND") {
            // Killed, or told of trouble, once it was done.
            return (scene.check)(&bench, &format!("{case:?}: {said:#?}"));
        }
    }
    panic!("{case:?}: it never succeeds: {said:#?}");
}

/// How many requests a scene makes that nobody disturbs.
fn requests_of(scene: &Scene) -> usize {
    let bench = Bench::new();
    (scene.prepare)(&bench);
    bench.stub.clear_requests();
    bench.run(scene.command).ends(scene.code);
    (scene.check)(&bench, "undisturbed");
    bench.stub.state().requests.len()
}

#[test]
fn whatever_happens_to_an_answer_success_is_true_and_every_record_is_stored_once() {
    let mut cases = Vec::new();
    for (scene, of) in SCENES.iter().enumerate() {
        for request in 1..=requests_of(of) {
            for trouble in Trouble::ALL {
                for phase in [Phase::Before, Phase::After] {
                    for length in [Length::Once, Length::NineSeconds, Length::OnceAndKilled] {
                        cases.push(Case { scene, request, trouble, phase, length });
                    }
                }
            }
        }
    }
    if std::env::var("OUTAGES").as_deref() != Ok("all") {
        // A step that shares no factor with what is counted above meets all of it.
        cases = cases.into_iter().step_by(SAMPLE).collect();
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for Case { scene, length, .. } in &cases {
        *kinds.entry(format!("{} {length:?}", SCENES[*scene].command.join(" "))).or_default() += 1;
    }
    println!("{} cases: {kinds:#?}", cases.len());
    let next = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { return };
                    disturb(case);
                }
            });
        }
    });
}
