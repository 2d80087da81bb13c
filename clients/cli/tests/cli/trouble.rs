//! Networks, disks and pipes that do not do what they should.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use crate::stub::{KEY, Phase, Reply, error};
use crate::{Bench, bare, patients, run};

/// A command whose stdout is this.
fn with_stdout(bench: &Bench, arguments: &[&str], stdout: impl Into<Stdio>) -> (i32, String) {
    let output = bench.process(arguments).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_full_disk_is_an_error_and_never_a_panic() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{}\n".repeat(10_000));
    for n in 0..3 {
        bench.stub.put("Patient", &format!("p-{n}"), "x");
    }
    for arguments in [
        &["types"] as &[&str],
        &["template", "Patient"],
        &["limits", "--output", "json"],
        &["jobs", "list"],
        &["completions", "bash"],
        &["validate", "Patient", "p.ndjson"],
        &["validate", "Patient", "p.ndjson", "--output", "ndjson"],
        &["export", "Patient", "--out", "-"],
        &["import", "Patient", "p.ndjson", "--output", "ndjson"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, err) = with_stdout(&bench, arguments, full);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains("No space left on device") && !err.contains("panicked"), "{arguments:?}: {err}");
    }
}

#[test]
fn a_closed_pipe_is_an_error_and_never_a_panic() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{}\n".repeat(10_000));
    for arguments in [&["types"] as &[&str], &["validate", "Patient", "p.ndjson"], &["limits"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, err) = with_stdout(&bench, arguments, writer);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains("nobody reads the output") && !err.contains("panicked"), "{err}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_it() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    bench.write("file", "x");
    bench.run(&["import", "Patient", "p.ndjson", "--state", "file/state"]).ends(1).says("file/state");
    bench.run(&["export", "Patient", "--out", "file/out"]).ends(1).says("file/out");
    assert_eq!(bench.stub.state().jobs.len(), 0);
}

#[test]
fn what_passes_is_tried_again_and_keeps_its_idempotency_key() {
    for trouble in [
        Reply::dropped(),
        error(503, "UNAVAILABLE", "Later", &[]).with("retry-after", "1"),
        error(500, "INTERNAL_ERROR", "x", &[]),
        Reply::bytes(408, Vec::new()),
    ] {
        let bench = Bench::new();
        bench.write("p.ndjson", patients(1));
        let mut lost = 0;
        bench.stub.on_request(move |request, phase| {
            // The import is accepted, and its answer is lost.
            let loses = phase == Phase::After && request.path.ends_with("/import") && lost < 1;
            lost += i32::from(loses);
            loses.then(|| trouble.clone())
        });
        bench.import(&["Patient", "p.ndjson"]).ends(0);
        let state = bench.stub.state();
        let starts: Vec<_> = state.requests.iter().filter(|request| request.path.ends_with("/import")).collect();
        assert_eq!(starts.len(), 2);
        assert_eq!(starts[0].header("idempotency-key"), starts[1].header("idempotency-key"));
        assert_eq!((state.jobs.len(), state.records.len()), (1, 1));
    }
}

#[test]
fn an_upload_that_breaks_off_is_made_again() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let mut lost = false;
    bench.stub.on_request(move |request, phase| {
        let loses = phase == Phase::Before && request.method == "PUT" && !lost;
        lost |= loses;
        loses.then(Reply::dropped)
    });
    bench.import(&["Patient", "p.ndjson"]).ends(0);
    let state = bench.stub.state();
    assert_eq!((state.uploads.len(), state.jobs.len(), state.records.len()), (1, 1, 1));
}

#[test]
fn a_network_that_is_gone_for_a_while_is_waited_for() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let mut lost = 0;
    bench.stub.on_request(move |request, phase| {
        // More than one call is tried; the first of all is answered.
        let loses = phase == Phase::Before && request.path.ends_with("/uploads") && lost < 6;
        lost += i32::from(loses);
        loses.then(Reply::dropped)
    });
    bench.import(&["Patient", "p.ndjson"]).ends(0).says("trying again in 2 s");
    assert_eq!(bench.stub.state().records.len(), 1);
}

#[test]
fn a_state_folder_on_a_full_disk_is_an_error_and_what_was_done_counts() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(20_000));
    // A limit of the size of files fails as a full disk does: while it is written.
    let limited = |blocks: u32, rest: &str| {
        let program = env!("CARGO_BIN_EXE_clinik-bulk");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {rest}");
        let mut command = Command::new("bash");
        command.env_clear().env("HOME", bench.folder.path()).env("CLINIKAPI_BASE_URL", &bench.stub.url);
        command.env("CLINIKAPI_SECRET_KEY", KEY).current_dir(bench.folder.path()).args(["-c", &script]);
        let output = command.output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = limited(8, "import Patient p.ndjson --state state");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("File too large") && !err.contains("panicked"), "{err}");
    assert_eq!(bench.stub.count("POST", ""), 0);
    // Room for the batches, and not for the reports of 10,000 records.
    let (code, err) = limited(300, "resume state");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("File too large") && err.contains("clinik-bulk resume"), "{err}");
    bench.run(&["resume", "state"]).ends(0).says("20000 read = 20000 stored");
    let state = bench.stub.state();
    assert_eq!(state.jobs.len(), 2);
    assert!(state.records.len() == 20_000 && state.records.values().all(|(_, writes)| *writes == 1));
}

#[test]
fn an_unreachable_service_is_said_so_without_its_urls() {
    let bench = Bench::new();
    let mut command = bare(bench.folder.path(), &["limits"]);
    command.env("CLINIKAPI_BASE_URL", "http://127.0.0.1:1/base").env("CLINIKAPI_SECRET_KEY", KEY);
    run(command).ends(1).says("cannot reach the service");
}

#[test]
fn a_proxy_that_is_nonsense_is_refused() {
    let bench = Bench::new();
    let mut command = bench.command(&["limits"]);
    command.env("http_proxy", "socks5://user:hunter2@127.0.0.1:1");
    let said = run(command);
    said.ends(2).says("SOCKS");
    assert!(!said.err.contains("hunter2"));
    let mut direct = bench.command(&["limits"]);
    direct.env("http_proxy", "http://127.0.0.1:1").env("no_proxy", "127.0.0.1");
    run(direct).ends(0);
}

#[test]
fn authorities_of_one_file_are_trusted_and_a_bad_file_is_told() {
    let bench = Bench::new();
    bench.write("ca.pem", "no certificate");
    let mut command = bench.command(&["limits"]);
    command.env("SSL_CERT_FILE", bench.path("ca.pem"));
    run(command).ends(1).says("SSL_CERT_FILE holds no certificate");
}

#[test]
fn quiet_prints_errors_only_and_colours_are_for_terminals() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(1));
    let quiet = bench.run(&["import", "Patient", "p.ndjson", "--state", "state", "--quiet"]);
    assert!(quiet.ends(0).err.is_empty() && quiet.out.is_empty());
    let failed = bench.run(&["resume", "nowhere", "-q"]);
    assert!(failed.ends(2).err.starts_with("error: "), "{}", failed.err);
    assert!(!bench.run(&["jobs", "list", "--no-color"]).ends(0).out.contains('\u{1b}'));
}
