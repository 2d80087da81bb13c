//! What each function does with its permissions, and what operators do with theirs: run by `local/permissions.py`, which
//! takes one permission away after the other and expects the scenario to fail. With all permissions each of them passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use over_http::{Client, Evidence, boto3, evidence, setting};
use serde_json::{Value, json};

mod scenes;

use scenes::{
    Hurried, LINES, completed, deleted, ended, ended_within, exhausted, export, import, leave_files, lost,
    no_file_is_left, no_item_is_left, no_upload_is_left, patients, send, tenant, twice, unfinished, upload,
};

#[test]
#[ignore = "run by local/permissions.py"]
fn start_import() {
    let (client, _) = tenant("perm");
    let started = twice(&client, "/v1/bulk/import", &json!({"resourceType": "Patient", "data": LINES}));
    let _job = completed(&client, &started);
    let place = upload(&client);
    let import = || client.post("/v1/bulk/import", &json!({"resourceType": "Patient", "uploadId": place["uploadId"]}));
    assert_eq!(import().code(), "VALIDATION_ERROR", "nothing is there yet");
    assert_eq!(client.put(place["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
    let _job = completed(&client, &import());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn start_export() {
    let (client, _) = tenant("perm");
    let _job = completed(&client, &twice(&client, "/v1/bulk/export", &json!({"resourceTypes": ["Patient"]})));
}

#[test]
#[ignore = "run by local/permissions.py"]
fn create_upload() {
    let (client, _) = tenant("perm");
    assert_eq!(client.put(upload(&client)["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn get_job() {
    let (client, _) = tenant("perm");
    let import = completed(&client, &client.import("Patient", LINES));
    for link in ["errorsUrl", "rejectedUrl", "resultsUrl"] {
        assert_eq!(client.fetch(import[link].as_str().unwrap()).status, 200, "{link}");
    }
    let export = completed(&client, &client.export(&["Patient"], None));
    assert_eq!(client.fetch(export["downloadUrl"].as_str().unwrap()).text.lines().count(), 1);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn list_jobs() {
    let (client, _) = tenant("perm");
    let job = completed(&client, &client.export(&["Patient"], None));
    assert_eq!(client.get("/v1/bulk/jobs").data()["data"][0]["id"], job["id"]);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn cancel_job() {
    let (client, partition) = tenant("perm");
    // Nobody looks after them: the call gives the requests back, and clears their files away.
    for (request, kind) in [(import(), "reports"), (export(), "exports")] {
        let id = lost(&partition, request, 0);
        leave_files(kind, &partition, id.as_str());
        let cancelled = client.cancel(id.as_str());
        assert_eq!((cancelled.status, &cancelled.data()["outcome"]), (200, &json!("cancelled")), "{cancelled:?}");
        no_file_is_left(kind, &partition, id.as_str());
        leave_files(kind, &partition, id.as_str());
        assert_eq!(client.delete(id.as_str()).status, 204);
        no_file_is_left(kind, &partition, id.as_str());
        no_file_is_left("imports", &partition, id.as_str());
    }
    let place = client.uploaded(LINES.as_bytes());
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let job = completed(&client, &client.post("/v1/bulk/import", &body));
    assert_eq!(client.delete(job["id"].as_str().unwrap()).status, 204);
    boto3(&format!(
        "import boto3, os
left = boto3.client('s3').list_objects_v2(Bucket=os.environ['BUCKET'], Prefix='uploads/{}/')
assert not left.get('Contents'), 'what was uploaded is left'",
        partition.tenant
    ));
    assert_eq!(client.job(job["id"].as_str().unwrap()).status, 404);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn validate_records() {
    let (client, _) = tenant("perm");
    let validated = client.post("/v1/bulk/validate", &json!({"resourceType": "Patient", "data": LINES}));
    assert_eq!((validated.status, &validated.data()["validRecords"]), (200, &json!(1)));
    assert_eq!(validated.headers["x-quota-billable"], "true");
}

#[test]
#[ignore = "run by local/permissions.py"]
fn get_limits() {
    let (client, _) = tenant("perm");
    assert_eq!(client.get("/v1/bulk/limits").status, 200);
}

#[test]
#[ignore = "run by local/permissions.py"]
fn run_import() {
    let (client, partition) = tenant("perm");
    let job = completed(&client, &client.import("Patient", LINES));
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(1), &json!(1)));
    let place = upload(&client);
    assert_eq!(client.put(place["uploadUrl"].as_str().unwrap(), LINES.as_bytes()), 200);
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let _job = completed(&client, &client.post("/v1/bulk/import", &body));

    // What was to be imported has gone: that is told, and not taken for a bucket that refuses.
    let id = lost(&partition, import(), 0);
    boto3(&format!(
        "import boto3, os
boto3.client('s3').delete_object(Bucket=os.environ['BUCKET'], Key='imports/{}/test/{id}.ndjson')",
        partition.tenant
    ));
    leave_files("reports", &partition, id.as_str());
    send("IMPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["errors"][0]["code"], "source_missing");
    no_file_is_left("reports", &partition, id.as_str());

    // One that an invocation has no time for goes on in the next. What it leaves is cleared away later.
    let rejected = format!("{}\n", "x".repeat(60_000)).repeat(100);
    // What is left of an invocation's time must do to read all of it once more and to end.
    let place = client.uploaded((rejected + &patients(2_500)).as_bytes());
    let _hurried = Hurried::new("run-import", 4);
    let body = json!({"resourceType": "Patient", "uploadId": place["uploadId"]});
    let id = client.post("/v1/bulk/import", &body).job_id();
    let job = ended_within(&client, &id, Duration::from_secs(40));
    assert_eq!((&job["succeededRecords"], &job["failedRecords"]), (&json!(2_500), &json!(100)), "{job}");
    let yielded = |line: &Evidence| line.text.contains(&id) && line.text.contains("yielded");
    assert!(evidence(&["logs"]).iter().any(yielded), "one invocation was enough");

    // What is left of a deleted job is cleared away later, and its item goes with it.
    let id = deleted(&partition, import());
    leave_files("reports", &partition, id.as_str());
    send("IMPORT_QUEUE_URL", &partition, &id);
    no_item_is_left(&partition, &id);
    no_file_is_left("reports", &partition, id.as_str());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn run_export() {
    let (client, partition) = tenant("perm");
    let _job = completed(&client, &client.import("Patient", LINES));
    let recently = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    for since in [None, Some(recently.as_str())] {
        let job = completed(&client, &client.export(&["Patient"], since));
        assert_eq!(job["processedRecords"], 1, "{job}");
    }
    no_upload_is_left("exports", &partition);

    // One that fails gives its request back, and leaves no file behind.
    let id = exhausted(&partition);
    leave_files("exports", &partition, id.as_str());
    send("EXPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["errors"][0]["code"], "attempts_exhausted");
    no_file_is_left("exports", &partition, id.as_str());

    // An upload that has ended is one that was completed, if the file is there; else the file is put together anew. One
    // record alone is no file of several chunks.
    let more: String = (0..5).map(|n| format!("{{\"firstName\":\"J\",\"lastName\":\"{n}\"}}\n")).collect();
    let _job = completed(&client, &client.import("Patient", &more));
    let id = unfinished(&partition);
    boto3(&format!(
        "import boto3, os
s3, bucket = boto3.client('s3'), os.environ['BUCKET']
[upload] = s3.list_multipart_uploads(Bucket=bucket, Prefix='exports/{}/')['Uploads']
s3.abort_multipart_upload(Bucket=bucket, Key=upload['Key'], UploadId=upload['UploadId'])",
        partition.tenant
    ));
    send("EXPORT_QUEUE_URL", &partition, &id);
    assert_eq!(ended(&client, id.as_str())["processedRecords"], 6);

    // A file of more than one chunk of the deployed size.
    let body = json!({"resourceType": "Patient", "uploadId": client.uploaded(patients(1_000).as_bytes())["uploadId"]});
    let job = ended_within(&client, &client.post("/v1/bulk/import", &body).job_id(), Duration::from_secs(40));
    assert_eq!(job["succeededRecords"], 1_000, "{job}");
    let job = ended_within(&client, &client.export(&["Patient"], None).job_id(), Duration::from_secs(40));
    assert!(job["files"][0]["bytes"].as_u64() > Some(8 << 20), "{job}");

    // What is left of a deleted job is cleared away later, and its item goes with it.
    let id = deleted(&partition, export());
    leave_files("exports", &partition, id.as_str());
    send("EXPORT_QUEUE_URL", &partition, &id);
    no_item_is_left(&partition, &id);
    no_file_is_left("exports", &partition, id.as_str());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn sweep_jobs() {
    let (client, partition) = tenant("perm");
    let old = lost(&partition, import(), 25 * 60);
    let (import, export) = (lost(&partition, import(), 1), lost(&partition, export(), 1));
    boto3(
        "import boto3, os
name = os.environ['STACK'] + '-sweep-jobs'
answer = boto3.client('lambda').invoke(FunctionName=name, Qualifier='live', Payload=b'{}')
assert 'FunctionError' not in answer, answer['Payload'].read()",
    );
    for id in [&import, &export] {
        assert_eq!(ended(&client, id.as_str())["status"], "completed");
    }
    assert_eq!(ended(&client, old.as_str())["errors"][0]["code"], "too_old");
}

/// What somebody does who has one of the operators' policies and nothing else.
fn done(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
    command.env("AWS_ACCESS_KEY_ID", setting("OPERATOR_KEY_ID"));
    command.env("AWS_SECRET_ACCESS_KEY", setting("OPERATOR_SECRET_KEY"));
    command.args(["--output", "json", "--stack", &setting("STACK")]).args(arguments).output().unwrap()
}

fn operator(arguments: &[&str]) -> Value {
    let done = done(arguments);
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
#[ignore = "run by local/permissions.py"]
fn look_and_redrive() {
    let (client, partition) = tenant("perm");
    let id = partition.tenant.as_str();
    assert_eq!(operator(&["tenant", "show", id])["plan"], "pro");
    assert_eq!(operator(&["key", "list", id]).as_array().unwrap().len(), 1);
    assert!(operator(&["tenant", "list"]).as_array().unwrap().iter().any(|tenant| tenant["id"] == id));
    for request in [import(), export()] {
        let job = lost(&partition, request, 0);
        operator(&["job", "redrive", id, job.as_str(), "--environment", "test"]);
        assert_eq!(ended(&client, job.as_str())["status"], "completed");
        let shown = operator(&["job", "show", id, job.as_str(), "--environment", "test"]);
        assert_eq!(shown["status"], "completed");
    }
    assert_eq!(operator(&["job", "list", id]).as_array().unwrap().len(), 2);
    assert_eq!(operator(&["audit", "--tenant", id]).as_array().unwrap().len(), 4);
    // The emulator switches no time to live on: that is found, once all has been looked at.
    let checked = done(&["check"]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains(" findings"), "{checked:?}");
}

#[test]
#[ignore = "run by local/permissions.py"]
fn tenants_and_keys() {
    let id = format!("perm-{:x}", std::process::id());
    operator(&["tenant", "create", &id, "--plan", "pro"]);
    assert_eq!(operator(&["tenant", "set", &id, "--overage", "on"])["overage"], true);
    let key = operator(&["key", "create", &id, "--environment", "test"]);
    let client = Client::with_key(key["key"].as_str().unwrap());
    assert_eq!(client.exported(&["Patient"], None).1, "");
    let revoked = operator(&["key", "revoke", &id, key["id"].as_str().unwrap()]);
    assert!(revoked["revokedAt"].is_string());
}

#[test]
#[ignore = "run by local/permissions.py"]
fn erase() {
    let (client, partition) = tenant("perm");
    let id = partition.tenant.as_str();
    let patients = "{\"id\":\"p-1\",\"firstName\":\"A\",\"lastName\":\"B\"}\n{\"id\":\"p-2\",\"firstName\":\"A\",\"lastName\":\"B\"}\n";
    let imported = completed(&client, &client.import("Patient", patients));
    let job = imported["id"].as_str().unwrap();
    let deleted = operator(&["record", "delete", id, "test", "Patient", "p-1", "--wait", "0"]);
    assert_eq!(deleted["secondLook"], "gone");
    assert_eq!(client.exported(&["Patient"], None).1.lines().count(), 1);

    let _open = upload(&client);
    leave_files("exports", &partition, job);
    let purged = operator(&["tenant", "purge", id, "--environment", "test", "--confirm", id]);
    assert_eq!((&purged["records"], &purged["jobs"]), (&json!(1), &json!(2)), "{purged}");
    no_file_is_left("exports", &partition, job);
    assert_eq!(client.exported(&["Patient"], None).1, "");
    // One that has a key is not deleted; one that never had any is.
    assert!(String::from_utf8_lossy(&done(&["tenant", "delete", id, "--confirm", id]).stderr).contains("keys of"));
    let empty = format!("perm-empty-{:x}", std::process::id());
    let _created = over_http::admin(&["tenant", "create", &empty]);
    assert_eq!(operator(&["tenant", "delete", &empty, "--confirm", &empty])["id"], empty.as_str());
}
