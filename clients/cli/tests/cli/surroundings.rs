//! Homes, profiles, proxies, signals: what lies around a command.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use crate::stub::{KEY, Reply};
use crate::{Bench, bare, patients, run};

#[test]
fn no_home_does_not_matter_while_url_and_key_are_given() {
    let bench = Bench::new();
    bench.write(".config/clinik-bulk/profiles.toml", "what is this");
    bench.run(&["limits"]).ends(0);
    for home in [None, Some("/dev/null")] {
        let mut command = bench.command(&["limits"]);
        match home {
            None => command.env_remove("HOME"),
            Some(home) => command.env("HOME", home),
        };
        run(command).ends(0);
    }
    let mut command = bare(bench.folder.path(), &["limits"]);
    command.env("CLINIKAPI_BASE_URL", &bench.stub.url);
    run(command).ends(2).says("profiles.toml is no file of profiles");
}

#[test]
fn an_address_is_told_with_where_it_is_from() {
    let bench = Bench::new();
    let config = format!("[other]\nurl = \"http://127.0.0.1:9\"\nkey = \"{KEY}\"\n");
    let path = bench.write(".config/clinik-bulk/profiles.toml", config);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said = run(bare(bench.folder.path(), &["--profile", "other", "limits"]));
    said.ends(1).says("http://127.0.0.1:9 (from profile other): cannot reach the service");
    // Another service, or a path that is wrong, is none.
    bench.stub.on_request(|_, _| Some(Reply::bytes(404, b"<html>".to_vec())));
    let mut login = bare(bench.folder.path(), &["login", "--url", &bench.stub.url]);
    login.write_stdin(KEY);
    run(login).ends(1).says("there is no bulk API at").says("(from --url)");
}

#[test]
fn a_profile_file_that_is_a_link_stays_one_and_comments_stay() {
    let bench = Bench::new();
    let content = "# kept by the team\n[other]\nurl = \"https://other.example\" # theirs\n";
    let kept = bench.write("dotfiles/profiles.toml", content);
    std::fs::create_dir_all(bench.path(".config/clinik-bulk")).unwrap();
    let link = bench.path(".config/clinik-bulk/profiles.toml");
    std::os::unix::fs::symlink(&kept, &link).unwrap();
    let mut login = bare(bench.folder.path(), &["login", "--url", &bench.stub.url]);
    login.write_stdin(KEY);
    run(login).ends(0).says("and tenant clinic");
    assert!(link.is_symlink());
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.starts_with(content) && text.contains("[default]"), "{text}");
    run(bare(bench.folder.path(), &["limits"])).ends(0);
}

#[test]
fn an_interrupt_says_how_to_go_on_with_the_options_that_it_needs() {
    let bench = Bench::new();
    bench.write("p.ndjson", patients(3));
    bench.write("key", KEY);
    // The job never ends.
    bench.stub.state().polls = u32::MAX;
    let mut command = bench.process(&["--key-file", "key", "import", "Patient", "p.ndjson", "--state", "state"]);
    command.env_remove("CLINIKAPI_SECRET_KEY");
    let (code, said) = interrupted(&mut command, || bench.stub.count("POST", "/v1/bulk/import") > 0);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted; go on with: clinik-bulk --key-file key resume state"), "{said}");
    bench.stub.state().jobs.iter_mut().for_each(|job| job.polls_left = 0);
    bench.run(&["resume", "state"]).ends(0).says("3 read = 3 stored");
}

/// Sends SIGINT once `is_due`, and returns the exit code and what was said.
fn interrupted(command: &mut std::process::Command, is_due: impl Fn() -> bool) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..1000 {
        if is_due() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (code, said)
}

#[test]
fn an_interrupt_before_anything_was_sent_says_so() {
    let bench = Bench::new();
    // Nobody ever writes to it.
    std::process::Command::new("mkfifo").arg(bench.path("pipe")).status().unwrap();
    let mut command = bench.process(&["import", "Patient", "pipe", "--format", "csv", "--state", "my state"]);
    let is_planned = || {
        std::thread::sleep(Duration::from_millis(200));
        bench.path("my state/run.json").exists()
    };
    let (code, said) = interrupted(&mut command, is_planned);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted; nothing was sent; go on with: clinik-bulk resume 'my state'"), "{said}");
}

#[test]
fn an_interrupted_export_to_stdout_says_where_its_records_are() {
    let bench = Bench::new();
    bench.stub.state().polls = u32::MAX;
    let mut command = bench.process(&["export", "Patient", "--out", "-"]);
    let (code, said) = interrupted(&mut command, || bench.stub.count("GET", "/jobs/") > 1);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the export goes on") && said.contains("clinik-bulk download job_000001 --out"), "{said}");
}
