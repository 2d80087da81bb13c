//! The command line as its users call it, against a small bulk API in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

mod answers;
mod cells;
mod commands;
mod drafts;
mod exports;
mod fhir;
mod folders;
mod imports;
mod incremental;
mod kills;
mod looks;
mod maps;
mod migrating;
mod outages;
mod promises;
mod restores;
mod retries;
mod starts;
mod stub;
mod surroundings;
mod tables;
mod trouble;

use stub::{KEY, Reply, Stub};

/// A folder to work in, and a service.
struct Bench {
    stub: Stub,
    folder: TempDir,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// The one document of `--output json`.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {} {}", self.out, self.err))
    }

    /// The events of `--output ndjson`.
    fn events(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "no {text:?} in {}", self.err);
        self
    }

    #[track_caller]
    fn prints(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "no {text:?} in {}", self.out);
        self
    }
}

/// Runs a prepared command.
fn run(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

impl Bench {
    fn new() -> Self {
        Self { stub: Stub::start(), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn read_json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The command in the folder, with a key and the stub's address, and nothing else of this environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(self.folder.path(), arguments);
        command.env("CLINIKAPI_BASE_URL", &self.stub.url).env("CLINIKAPI_SECRET_KEY", KEY);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        run(self.command(arguments))
    }

    /// The same as a process of its own, for tests that watch it, kill it, or go away. It says nothing to anybody.
    fn process(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clinik-bulk"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path()).args(arguments);
        command.env("CLINIKAPI_BASE_URL", &self.stub.url).env("CLINIKAPI_SECRET_KEY", KEY);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Imports with a state folder `state`.
    fn import(&self, arguments: &[&str]) -> Said {
        self.run(&[&["import"], arguments, &["--state", "state"]].concat())
    }
}

/// A process that a request may kill, once it has been spawned.
type Victim = Arc<Mutex<Option<Child>>>;

/// Kills it, in place of an answer.
fn kill(victim: &Victim) -> Reply {
    loop {
        if let Some(child) = victim.lock().unwrap().as_mut() {
            child.kill().unwrap();
            child.wait().unwrap();
            return Reply::dropped();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clinik-bulk"));
    command.env_clear().env("HOME", folder).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(folder).args(arguments);
    command
}

/// Patients without ids, one a line.
fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"firstName\":\"Given{n}\",\"lastName\":\"Family{n}\"}}\n")).collect()
}

/// Patients with ids, one a line.
fn patients_with_ids(range: std::ops::Range<usize>, name: &str) -> String {
    range.map(|n| format!("{{\"id\":\"p-{n}\",\"firstName\":\"{name}\",\"lastName\":\"Family{n}\"}}\n")).collect()
}
