//! Jobs in their owners' hands: list, cancel, delete, files by their links, validation, limits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use over_http::{Client, setting};
use serde_json::{Value, json};

fn pro(name: &str) -> Client {
    Client::of_new_tenant(name, &["--plan", "pro", "--bulk-operations-per-hour", "1000"])
}

fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"p{n}\",\"firstName\":\"J\",\"lastName\":\"D\"}}\n")).collect()
}

/// A folder of a test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// What a shell prints in a folder; the command has to succeed.
fn shell(folder: &Path, command: &str, key: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).current_dir(folder);
    let done = bash.env("KEY", key).env("CURL_CA_BUNDLE", setting("SSL_CERT_FILE")).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).replace(key, "…");
    assert!(done.status.success(), "{command}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn files_of_each_type_come_by_their_links_and_pass_sha256sum() {
    let client = pro("files");
    assert_eq!(client.imported("Patient", &patients(300))["outcome"], "succeeded");
    let task = json!({"id": "t1", "status": "requested", "intent": "order"});
    assert_eq!(client.imported("Task", &task.to_string())["status"], "completed");
    let started = client.post(
        "/v1/bulk/export",
        &json!({
            "resourceTypes": ["Patient", "Task", "Encounter"], "files": "perType", "compression": "gzip", "label": "nightly"
        }),
    );
    let job = client.ended(&started.job_id());
    assert_eq!((&job["outcome"], &job["label"]), (&json!("succeeded"), &json!("nightly")), "{job}");
    assert!(job["downloadUrl"].is_null(), "{job}");
    let files = job["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| (&file["name"], &file["resourceType"], &file["records"])).collect();
    let expected = [("Patient", 300), ("Task", 1)];
    let expected = expected.map(|(of, records)| (json!(format!("{of}.ndjson.gz")), json!(of), json!(records)));
    assert_eq!(names, expected.iter().map(|(name, of, records)| (name, of, records)).collect::<Vec<_>>());

    let (folder, api) = (Folder::new("clinik-files"), setting("API_URL"));
    for url in files.iter().map(|file| file["url"].as_str().unwrap()) {
        let curl = format!("curl -sS --fail -L -O -H \"Authorization: Bearer $KEY\" '{api}{url}'");
        shell(&folder.0, &curl, client.key());
    }
    let id = job["id"].as_str().unwrap();
    let hashes =
        format!("curl -sS --fail -H \"Authorization: Bearer $KEY\" '{api}/v1/bulk/jobs/{id}/files/SHA256SUMS'");
    let checked = shell(&folder.0, &format!("{hashes} > SHA256SUMS && sha256sum -c SHA256SUMS"), client.key());
    assert_eq!(checked, "Patient.ndjson.gz: OK\nTask.ndjson.gz: OK\n");
    assert_eq!(shell(&folder.0, "zcat Patient.ndjson.gz | wc -l", client.key()).trim(), "300");
    for (file, told) in [("Patient.ndjson.gz", &files[0]["bytes"]), ("Task.ndjson.gz", &files[1]["bytes"])] {
        assert_eq!(std::fs::metadata(folder.0.join(file)).unwrap().len(), told.as_u64().unwrap());
    }

    let link = client.get(files[0]["url"].as_str().unwrap());
    assert_eq!((link.status, link.text.as_str(), link.headers["cache-control"].as_str()), (307, "", "no-store"));
    assert!(link.headers["location"].contains("X-Amz-Expires=900"), "a quarter of an hour");
    for nowhere in ["Encounter.ndjson.gz", "Patient.ndjson", "..%2FPatient.ndjson.gz", "%2e%2e", "SHA256SUMS%00"] {
        assert_eq!(client.get(&format!("/v1/bulk/jobs/{id}/files/{nowhere}")).code(), "NOT_FOUND", "{nowhere}");
    }
    assert_eq!(pro("files-other").get(files[0]["url"].as_str().unwrap()).code(), "NOT_FOUND");
}

#[test]
fn jobs_are_listed_page_by_page_and_cursors_stay_at_home() {
    let (client, other) = (pro("list"), pro("list-other"));
    let mut started: Vec<_> = (0..5).map(|n| client.imported("Patient", &patients(n + 1))["id"].clone()).collect();
    started.push(client.ended(&client.export(&["Patient"], None).job_id())["id"].clone());
    started.reverse();
    let first = client.get("/v1/bulk/jobs?count=4").data();
    assert_eq!((first["data"].as_array().unwrap().len(), &first["hasMore"]), (4, &json!(true)));
    let cursor = first["cursor"].as_str().unwrap();
    let second = client.get(&format!("/v1/bulk/jobs?count=4&cursor={cursor}")).data();
    assert_eq!(second["hasMore"], false);
    let ids = |page: &Value| page["data"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
    assert_eq!([ids(&first), ids(&second)].concat(), started);
    assert!(first["data"][0]["errors"].is_null() && first["data"][0]["downloadUrl"].is_null(), "{first}");
    for (filter, found) in [
        ("type=export&status=completed,failed&resourceType=Patient", 1),
        ("status=failed,completed", 6),
        ("status=failed%2Ccompleted", 6),
        ("status=failed&status=completed", 6),
        ("type=export,import", 6),
        ("resourceType=Encounter,Patient", 6),
        ("resourceType=Encounter", 0),
        ("type=", 6),
    ] {
        assert_eq!(ids(&client.get(&format!("/v1/bulk/jobs?{filter}")).data()).len(), found, "{filter}");
    }
    assert_eq!(other.get("/v1/bulk/jobs").data()["data"], json!([]));
    let refused = other.get(&format!("/v1/bulk/jobs?cursor={cursor}"));
    assert_eq!((refused.status, refused.code().as_str()), (422, "VALIDATION_ERROR"));
}

#[test]
fn a_job_is_cancelled_once_and_deleted_for_good() {
    let client = pro("cancel");
    let id = client.import("Patient", &patients(10_000)).job_id();
    let cancelled = client.cancel(&id);
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let job = client.ended(&id);
    // It may have been faster.
    assert!(["cancelled", "succeeded"].contains(&job["outcome"].as_str().unwrap()), "{job}");
    assert_eq!(cancelled.data()["outcome"], job["outcome"]);
    assert_eq!(client.cancel(&id).data()["outcome"], job["outcome"], "it stays as it is");
    let export = client.export(&["Patient"], None).job_id();
    let early = client.delete(&export);
    // An export of a few records may have ended already.
    assert!(early.status == 204 || early.code() == "JOB_NOT_FINISHED", "{early:?}");
    let third = client.ended(&client.export(&["Patient"], None).job_id());
    let third = third["id"].as_str().unwrap();
    let link = client.job(third).data()["downloadUrl"].as_str().unwrap().to_owned();
    assert_eq!(client.fetch(&link).status, 200);
    for id in [&id, third] {
        let deleted = client.delete(id);
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""), "{deleted:?}");
        assert_eq!((client.job(id).status, client.delete(id).status, client.cancel(id).status), (404, 404, 404));
    }
    assert_eq!(client.fetch(&link).status, 404, "its file is gone");
    for id in ["job_nonsense", "job_00000000000000000000000000"] {
        assert_eq!((client.cancel(id).code(), client.delete(id).code()), ("NOT_FOUND".into(), "NOT_FOUND".into()));
    }
}

#[test]
fn a_batch_is_validated_without_a_job() {
    let client = pro("validate");
    let data = patients(3) + "{}\nnonsense\n";
    let answer = client.post("/v1/bulk/validate", &json!({"resourceType": "Patient", "data": data}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let imported = client.imported("Patient", &data);
    let validated = answer.data();
    assert_eq!(validated["errors"], imported["errors"]);
    assert_eq!((&validated["validRecords"], &validated["invalidRecords"]), (&json!(3), &json!(2)));
    assert_eq!(imported["outcome"], "partial");
    let listed = client.get("/v1/bulk/jobs").data();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "validation starts no job");
}

#[test]
fn limits_tell_what_is_left() {
    let client = Client::of_new_tenant("limits", &["--plan", "starter"]);
    let _exported = client.ended(&client.export(&["Patient"], None).job_id());
    let answer = client.get("/v1/bulk/limits");
    let limits = answer.data();
    assert_eq!((&limits["plan"], &limits["environment"]), (&json!("starter"), &json!("test")));
    assert_eq!(limits["tenantId"], json!(format!("limits-{:x}", std::process::id())));
    assert_eq!((&limits["bulkOperations"]["limit"], &limits["bulkOperations"]["remaining"]), (&json!(5), &json!(4)));
    assert_eq!(limits["requestsPerMonth"]["used"].to_string(), answer.headers["x-sandbox-used"]);
    assert_eq!(limits["requestsPerMinute"]["remaining"].to_string(), answer.headers["x-ratelimit-remaining"]);
    let batch = json!({"maxRecords": 10_000, "maxBodyBytes": 4_500_000, "maxUploadBytes": 104_857_600});
    assert_eq!(limits["batch"], batch);
}
