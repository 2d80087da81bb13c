//! `clinik-bulk` against the deployed service: a migration that is killed and resumed, chains of backups, a restore
//! into another tenant, jobs in the user's hands.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use over_http::{Client, setting};
use serde_json::Value;

const MANY: &[&str] = &["--plan", "pro", "--bulk-operations-per-hour", "1000"];

/// Somebody with a key and a folder.
struct User {
    folder: PathBuf,
    key: String,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {} {}", self.out, self.err))
    }
}

impl User {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("command-line-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, key: Client::of_new_tenant(name, MANY).key().to_owned() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(setting("CLINIK_BULK"));
        command
            .env_clear()
            .env("HOME", &self.folder)
            .env("SSL_CERT_FILE", setting("SSL_CERT_FILE"))
            .env("CLINIKAPI_BASE_URL", setting("API_URL"))
            .env("CLINIKAPI_SECRET_KEY", &self.key)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// All patients that are stored, sorted, without what the server writes.
    fn stored(&self) -> Vec<Value> {
        let said = self.run(&["export", "Patient", "--out", "-"]).ends(0);
        let mut records: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for record in &mut records {
            record.as_object_mut().unwrap().remove("meta");
        }
        records.sort_by_key(|record| record["id"].as_str().unwrap().to_owned());
        records
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Names that tell the records apart; ids come from the service.
fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"firstName\":\"Given{n}\",\"lastName\":\"Family\"}}\n")).collect()
}

fn given_names(records: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = records.iter().map(|record| record["firstName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn journal_lines(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("journal.ndjson")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_migration_from_the_template_to_a_restore_in_another_tenant() {
    let clinic = User::new("cli-migration");
    let mut login = clinic.command(&["login"]);
    login.env_remove("CLINIKAPI_SECRET_KEY").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut login = login.spawn().unwrap();
    std::io::Write::write_all(&mut login.stdin.take().unwrap(), clinic.key.as_bytes()).unwrap();
    assert!(login.wait().unwrap().success());

    let template = clinic.run(&["template", "Patient"]).ends(0).out;
    assert!(template.starts_with("id,firstName,lastName,"));
    clinic.write(
        "map.toml",
        "type = \"Patient\"\n[columns]\n\"MRN\" = { to = \"id\", prefix = \"mrn-\" }\n\
         \"First\" = { to = \"firstName\" }\n\"Last\" = { to = \"lastName\" }\n\
         \"DOB\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }\n",
    );
    let rows: String = (0..500).map(|n| format!("{n:05};Given{n};Family;1/{}/1990\r\n", n % 40)).collect();
    clinic.write("p.csv", &format!("\u{feff}MRN;First;Last;DOB\r\n{rows}"));
    // Days 32 to 39 and 0 are none: 9 of 40.
    let valid = (0..500).filter(|n| (1..=31).contains(&(n % 40))).count();
    let checked = clinic.run(&["validate", "Patient", "p.csv", "--map", "map.toml", "--output", "json"]).ends(3).json();
    assert_eq!(checked["validRecords"], valid);

    let mut import =
        clinic.spawn(&["import", "Patient", "p.csv", "--map", "map.toml", "--state", "run", "--label", "old system"]);
    let start = Instant::now();
    while journal_lines(&clinic.folder.join("run")) < 4 && import.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_mins(1));
    }
    import.kill().unwrap();
    import.wait().unwrap();
    let summary = clinic.run(&["resume", "run", "--output", "json"]).ends(3).json();
    assert_eq!((&summary["read"], &summary["stored"]), (&Value::from(500), &Value::from(valid)));
    assert_eq!(summary["rejected"], 500 - valid);
    assert_eq!(clinic.read("run/ids.ndjson").lines().count(), valid);
    let jobs = clinic.run(&["jobs", "list", "--type", "import", "--output", "json"]).ends(0).json();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "no operation is wasted: {jobs}");
    assert!(jobs[0]["label"].as_str().unwrap().starts_with("old system "));

    clinic.run(&["export", "Patient", "--out", "backup", "--since-last"]).ends(0);
    clinic.write("new.ndjson", "{\"id\":\"mrn-00001\",\"firstName\":\"Changed\",\"lastName\":\"Family\"}\n");
    clinic.run(&["import", "Patient", "new.ndjson", "--state", "second"]).ends(0);
    let second =
        clinic.run(&["export", "Patient", "--out", "backup", "--since-last", "--gzip", "--output", "json"]).ends(0);
    assert!(second.json()["since"].is_string());
    for folder in std::fs::read_dir(clinic.folder.join("backup")).unwrap() {
        let folder = folder.unwrap().path();
        let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
        assert!(sums.unwrap().success(), "{}", folder.display());
    }

    let other = User::new("cli-restore");
    let backup = clinic.folder.join("backup");
    assert!(
        other.run(&["import", backup.to_str().unwrap(), "--state", "restore"]).ends(2).err.contains("--other-tenant")
    );
    other.run(&["import", backup.to_str().unwrap(), "--state", "restore", "--other-tenant"]).ends(0);
    let (original, restored) = (clinic.stored(), other.stored());
    assert_eq!(original.len(), valid);
    assert!(given_names(&original).contains(&"Changed".to_owned()));
    assert_eq!(original, restored, "a restore is exact");
}

#[test]
fn killed_at_its_entries_an_import_stores_each_record_once() {
    for wanted in 1..=5 {
        let user = User::new(&format!("cli-kill-{wanted}"));
        user.write("in/Patient.ndjson", &patients(30));
        let mut import = user.spawn(&["import", "in", "--state", "run"]);
        let start = Instant::now();
        while journal_lines(&user.folder.join("run")) < wanted && import.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_mins(1));
        }
        import.kill().unwrap();
        import.wait().unwrap();
        let summary = user.run(&["resume", "run", "--output", "json"]).ends(0).json();
        assert_eq!((&summary["stored"], &summary["open"]), (&Value::from(30), &Value::from(0)), "{wanted}");
        let records = user.stored();
        assert_eq!(records.len(), 30, "killed at entry {wanted}");
        let mut names = given_names(&records);
        names.dedup();
        assert_eq!(names.len(), 30, "killed at entry {wanted}");
    }
}

#[test]
fn a_start_whose_key_is_forgotten_is_found_by_its_upload() {
    let user = User::new("cli-forgotten");
    user.write("p.ndjson", &patients(5));
    user.run(&["import", "Patient", "p.ndjson", "--state", "run"]).ends(0);
    // As if the process had died right after the start, and the service had forgotten its key since.
    let journal = user.read("run/journal.ndjson");
    let begun: String = journal
        .lines()
        .take(2)
        .map(|line| {
            let mut entry: Value = serde_json::from_str(line).unwrap();
            if entry["step"] == "starting" {
                entry["key"] = "another-key".into();
            }
            format!("{entry}\n")
        })
        .collect();
    assert!(begun.contains("another-key"));
    user.write("run/journal.ndjson", &begun);
    std::fs::remove_file(user.folder.join("run/summary.json")).unwrap();
    // The batch is gone by then only because this run had ended; what was sent is what it held.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, patients(5).as_bytes()).unwrap();
    std::fs::write(user.folder.join("run/batches/0001.ndjson.gz"), gzip.finish().unwrap()).unwrap();
    user.run(&["resume", "run"]).ends(0);
    let jobs = user.run(&["jobs", "list", "--type", "import", "--output", "json"]).ends(0).json();
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    assert_eq!(user.stored().len(), 5);
}

#[test]
fn limits_jobs_and_files_are_in_the_users_hands() {
    let user = User::new("cli-jobs");
    user.write("p.ndjson", &(patients(3) + "{\"firstName\":\"x\"}\n"));
    user.run(&["import", "Patient", "p.ndjson", "--state", "run"]).ends(3);
    assert!(user.run(&["limits"]).ends(0).out.contains("of 1000"));
    let jobs = user.run(&["jobs", "list", "--output", "json"]).ends(0).json();
    let job = jobs[0]["id"].as_str().unwrap().to_owned();
    assert!(user.run(&["jobs", "watch", &job]).ends(0).out.contains("completed"));
    user.run(&["download", &job, "--out", "files"]).ends(0);
    assert_eq!(user.read("files/results.ndjson").lines().count(), 3);
    let exported =
        user.run(&["export", "Patient,Person", "--out", "out", "--per-type", "--label", "x", "--output", "json"]);
    let manifest = exported.ends(0).json();
    assert_eq!(manifest["files"][0]["name"], "Patient.ndjson");
    let export = manifest["jobId"].as_str().unwrap();
    assert_eq!(user.run(&["jobs", "cancel", export, "--output", "json"]).ends(0).json()["status"], "completed");
    user.run(&["jobs", "delete", export]).ends(0);
    user.run(&["jobs", "show", export]).ends(1);
    let mut wrong = user.command(&["limits"]);
    wrong.env("CLINIKAPI_SECRET_KEY", "clk_test_0000000000000000");
    assert_eq!(wrong.output().unwrap().status.code(), Some(4));
}

/// What README of the Rust client shows, and the way of large batches.
#[test]
fn the_rust_client_imports_and_exports() {
    use clinikapi::{Client, Download, Job, JobStatus, Key, base_url, new_key};
    use serde_json::json;

    let user = User::new("rust-client");
    let client = Client::new(&setting("API_URL"), Key::parse(&user.key).unwrap(), "over-http/1.0").unwrap();
    let end_of = |job_id: &str| -> Job {
        loop {
            let polled = client.job(job_id).unwrap();
            if polled.job.has_ended() {
                return polled.job;
            }
            std::thread::sleep(polled.retry_after);
        }
    };
    let lines = "{\"firstName\":\"Jane\",\"lastName\":\"Doe\"}\n".repeat(3);
    std::fs::write(user.folder.join("patients.ndjson"), &lines).unwrap();
    let file = std::fs::File::open(user.folder.join("patients.ndjson")).unwrap();
    let upload = client.create_upload(lines.len() as u64).unwrap();
    client.put(&upload.upload_url, &file).unwrap();
    let body = json!({"resourceType": "Patient", "uploadId": upload.upload_id});
    let key = new_key().unwrap();
    let job_id = client.start("/v1/bulk/import", &body, &key).unwrap();
    assert_eq!(client.start("/v1/bulk/import", &body, &key).unwrap(), job_id, "the same key, the same job");
    assert_eq!(end_of(&job_id).succeeded_records, 3);

    let body = json!({"resourceTypes": ["Patient"]});
    let job = end_of(&client.start("/v1/bulk/export", &body, &new_key().unwrap()).unwrap());
    assert_eq!((job.status, job.files.len()), (JobStatus::Completed, 1));
    let mut content = String::new();
    std::io::Read::read_to_string(&mut Download::new(&client, &job.id, &job.files[0]), &mut content).unwrap();
    assert_eq!(content.lines().count(), 3);
    let mut wrong = job.files[0].clone();
    wrong.sha256 = "00".repeat(32);
    let read = std::io::Read::read_to_string(&mut Download::new(&client, &job.id, &wrong), &mut content);
    assert!(read.unwrap_err().to_string().contains("hash"));
    assert!(client.limits().unwrap().0.bulk_operations.remaining.is_some());
    assert!(client.job("job_unknown").unwrap_err().is_not_found());
    assert!(base_url("http://elsewhere.example").is_err());
}
