//! Every command, its output and its exit codes.

use std::os::unix::fs::PermissionsExt;

use crate::stub::{KEY, LIVE_KEY, Reply};
use crate::{Bench, bare, patients, run};

#[test]
fn types_and_templates_need_no_service() {
    let bench = Bench::new();
    let types = run(bare(bench.folder.path(), &["types"]));
    assert_eq!(types.ends(0).out.lines().count(), 62);
    let patient = run(bare(bench.folder.path(), &["types", "Patient"]));
    assert!(patient.ends(0).out.contains("birthDate") && patient.out.contains("male, female, other, unknown"));
    let fields = run(bare(bench.folder.path(), &["types", "Patient", "--output", "json"])).json();
    assert!(fields.as_array().unwrap().iter().any(|field| field["path"] == "firstName" && field["required"] == true));
    let template = run(bare(bench.folder.path(), &["template", "Patient"]));
    assert!(template.ends(0).out.starts_with("id,firstName,lastName,"), "{}", template.out);
    run(bare(bench.folder.path(), &["types", "patient"])).ends(2).says("did you mean Patient?");
    assert_eq!(bench.stub.state().requests.len(), 0);
}

#[test]
fn help_and_version_go_to_stdout_and_mistakes_to_stderr() {
    let bench = Bench::new();
    let help = run(bare(bench.folder.path(), &["--help"]));
    assert!(help.ends(0).out.contains("Exit codes") && help.err.is_empty());
    assert!(run(bare(bench.folder.path(), &["--version"])).ends(0).out.starts_with("clinik-bulk "));
    let wrong = run(bare(bench.folder.path(), &["nonsense"]));
    assert!(wrong.ends(2).out.is_empty());
    run(bare(bench.folder.path(), &[])).ends(2);
}

#[test]
fn completions_and_manual_pages_are_written() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(bare(bench.folder.path(), &["completions", shell])).ends(0).out.clone();
        assert!(["clinik-bulk", "Patient", "VisionPrescription"].iter().all(|word| script.contains(word)), "{shell}");
    }
    run(bare(bench.folder.path(), &["man", "pages"])).ends(0);
    for page in ["clinik-bulk.1", "clinik-bulk-import.1", "clinik-bulk-jobs-watch.1"] {
        assert!(bench.read(&format!("pages/{page}")).contains(".TH"), "{page}");
    }
}

#[test]
fn limits_are_shown() {
    let bench = Bench::new();
    let limits = bench.run(&["limits"]);
    assert!(limits.ends(0).out.contains("5 left of 5") && limits.out.contains("clinic"), "{}", limits.out);
    assert_eq!(bench.run(&["limits", "--output", "json"]).json()["plan"], "pro");
}

#[test]
fn a_key_comes_from_a_file_or_stdin_then_the_environment_then_the_profile() {
    let bench = Bench::new();
    let url = bench.stub.url.clone();
    let without = |arguments: &[&str]| {
        let mut command = bare(bench.folder.path(), arguments);
        command.env("CLINIKAPI_BASE_URL", &url);
        command
    };
    run(without(&["limits"])).ends(4).says("clinik-bulk login");
    bench.write("key", format!("{KEY}\n"));
    run(without(&["limits", "--key-file", "key"])).ends(0);
    let mut stdin = without(&["limits", "--key-file", "-"]);
    stdin.write_stdin(KEY);
    run(stdin).ends(0);
    bench.write("bad", "clk_test_secretsecret-x");
    let malformed = run(without(&["limits", "--key-file", "bad"]));
    assert!(!malformed.ends(4).err.contains("secretsecret"));
    let mut unknown = without(&["limits"]);
    unknown.env("CLINIKAPI_SECRET_KEY", "clk_test_unknown");
    let unknown = run(unknown);
    unknown.ends(4).says("INVALID_KEY").says("req_stub");
    assert!(!unknown.err.contains("clk_test_unknown"));
    let mut readonly = without(&["jobs", "cancel", "job_1"]);
    readonly.env("CLINIKAPI_SECRET_KEY", "clk_test_readonly");
    run(readonly).ends(4).says("INSUFFICIENT_SCOPE");
}

#[test]
fn login_keeps_a_checked_key_for_its_owner_alone() {
    let bench = Bench::new();
    let url = bench.stub.url.clone();
    let mut login = bare(bench.folder.path(), &["login", "--url", &url]);
    login.write_stdin("clk_test_wrongkey");
    run(login).ends(4);
    let profiles = bench.path(".config/clinik-bulk/profiles.toml");
    assert!(!profiles.exists(), "a key that is refused is not kept");

    let mut login = bare(bench.folder.path(), &["login", "--url", &url]);
    login.write_stdin(format!("{KEY}\n"));
    let said = run(login);
    said.ends(0).says("test key of plan pro");
    assert!(!said.err.contains(KEY) && said.out.is_empty());
    assert_eq!(std::fs::metadata(&profiles).unwrap().permissions().mode() & 0o777, 0o600);
    run(bare(bench.folder.path(), &["limits"])).ends(0);

    let mut second = bare(bench.folder.path(), &["login", "--profile", "live", "--url", &url]);
    second.write_stdin(LIVE_KEY);
    run(second).ends(0);
    let live = run(bare(bench.folder.path(), &["limits", "--profile", "live", "--output", "json"])).json();
    assert_eq!(live["environment"], "live");
    run(bare(bench.folder.path(), &["limits"])).ends(0);
    run(bare(bench.folder.path(), &["limits", "--profile", "none"])).ends(2).says("no profile none");

    std::fs::set_permissions(&profiles, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(bare(bench.folder.path(), &["limits"])).ends(1).says("chmod 600");
}

#[test]
fn a_profile_may_ask_a_command_for_its_key() {
    let bench = Bench::new();
    let url = &bench.stub.url;
    let profile = format!(
        "[default]\nurl = \"{url}\"\nkey_command = \"echo {KEY}\"\n[bad]\nurl = \"{url}\"\nkey_command = \"false\"\n"
    );
    bench.write(".config/clinik-bulk/profiles.toml", profile);
    run(bare(bench.folder.path(), &["limits"])).ends(0);
    run(bare(bench.folder.path(), &["limits", "--profile", "bad"])).ends(4).says("key_command failed");
}

#[test]
fn a_base_url_is_needed_and_must_be_safe() {
    let bench = Bench::new();
    let with = |url: &str| {
        let mut command = bare(bench.folder.path(), &["limits"]);
        command.env("CLINIKAPI_BASE_URL", url).env("CLINIKAPI_SECRET_KEY", KEY);
        run(command)
    };
    with("").ends(2).says("no base URL");
    with("http://api.example.com").ends(2).says("https");
    let elsewhere = bench.stub.url.replace("/stage/$default", "/other");
    with(&elsewhere).ends(1);
}

#[test]
fn jobs_are_listed_shown_watched_cancelled_and_deleted() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["jobs", "list"]).ends(0).out, "no jobs\n");
    bench.write("a.ndjson", patients(2));
    bench.import(&["Patient", "a.ndjson", "--label", "first run"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    let list = bench.run(&["jobs", "list", "--type", "import", "--resource-type", "Patient"]);
    assert!(list.ends(0).out.contains(&job) && list.out.contains("first run"), "{}", list.out);
    assert_eq!(bench.run(&["jobs", "list", "--output", "json"]).json()[0]["id"], job.as_str());
    assert_eq!(bench.run(&["jobs", "list", "--output", "ndjson"]).events().len(), 1);
    let shown = bench.run(&["jobs", "show", &job]);
    assert!(shown.ends(0).out.contains("succeeded") && !shown.out.contains("signature"));
    assert!(bench.run(&["jobs", "watch", &job]).ends(0).out.contains("completed"));
    assert_eq!(bench.run(&["jobs", "cancel", &job, "--output", "json"]).json()["status"], "completed");
    bench.run(&["jobs", "delete", &job]).ends(0).says("deleted");
    bench.run(&["jobs", "show", &job]).ends(1).says("NOT_FOUND");
    bench.run(&["jobs", "show", "../limits"]).ends(1).says("no such job");
}

#[test]
fn pages_of_jobs_are_put_together() {
    let bench = Bench::new();
    for n in 0..5 {
        bench.run(&["export", "Patient", "--out", &format!("out{n}")]).ends(0);
    }
    let all = bench.run(&["jobs", "list", "--limit", "3", "--output", "json"]).json();
    assert_eq!(all.as_array().unwrap().len(), 3);
    // The stub gives pages of the size that is asked for.
    assert_eq!(bench.run(&["jobs", "list", "--output", "json"]).json().as_array().unwrap().len(), 5);
}

#[test]
fn a_job_that_ends_badly_is_exit_code_5() {
    let bench = Bench::new();
    bench.stub.state().polls = 1;
    bench.stub.state().fail_with = Some("internal".to_owned());
    let said = bench.run(&["export", "Patient", "--out", "out"]);
    said.ends(5).says("internal");
    let job = bench.stub.state().jobs[0].id.clone();
    bench.run(&["jobs", "watch", &job]).ends(5);
    bench.run(&["download", &job, "--out", "files"]).ends(5);
}

#[test]
fn a_deletion_whose_answer_was_lost_has_been_done() {
    let bench = Bench::new();
    bench.run(&["export", "Patient", "--out", "out"]).ends(0);
    let job = bench.stub.state().jobs[0].id.clone();
    let mut lost = false;
    bench.stub.on_request(move |request, phase| {
        let drops = request.method == "DELETE" && phase == crate::stub::Phase::After && !lost;
        lost |= drops;
        drops.then(Reply::dropped)
    });
    bench.run(&["jobs", "delete", &job]).ends(0);
    assert_eq!(bench.stub.count("DELETE", &job), 2);
}

#[test]
fn failures_are_documents_too() {
    let bench = Bench::new();
    let failed = bench.run(&["jobs", "show", "job_none", "--output", "json"]);
    let document = failed.ends(1).json();
    assert_eq!((document["error"]["code"].as_str(), document["exitCode"].as_i64()), (Some("NOT_FOUND"), Some(1)));
    let events = bench.run(&["jobs", "show", "job_none", "--output", "ndjson"]).events();
    assert_eq!(events.last().unwrap()["event"], "error");
}
