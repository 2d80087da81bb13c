//! What an operator does: looks at a job, sends it again, deletes a record, forgets a tenant; and what is left on record.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use over_http::{Client, admin, boto3, evidence, setting};
use serde_json::{Value, json};

/// The command line where it refuses: what it says.
fn refused(arguments: &[&str]) -> String {
    let done = Command::new(setting("CLINIK_BULK_ADMIN")).args(arguments).output().unwrap();
    assert!(!done.status.success(), "{arguments:?}");
    String::from_utf8(done.stderr).unwrap()
}

fn tenant(name: &str) -> String {
    let id = format!("{name}-{:x}", std::process::id());
    let _created = admin(&["tenant", "create", &id, "--plan", "pro", "--bulk-operations-per-hour", "1000"]);
    id
}

fn client(tenant: &str, environment: &str) -> Client {
    let key = admin(&["key", "create", tenant, "--environment", environment]);
    Client::with_key(key["key"].as_str().unwrap())
}

fn patients(count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"p-{n}\",\"firstName\":\"Secret\",\"lastName\":\"D\"}}\n")).collect()
}

#[test]
fn a_job_is_shown_and_redriven() {
    let tenant = tenant("ops-jobs");
    let client = client(&tenant, "live");
    let import = client.imported("Patient", &patients(50));
    let (export, _) = client.exported(&["Patient"], None);
    let show = |id: &Value| admin(&["job", "show", &tenant, id.as_str().unwrap(), "--environment", "live"]);
    let shown = show(&import["id"]);
    let told = |shown: &Value, name: &str| shown[name].clone();
    assert_eq!((told(&shown, "status"), told(&shown, "succeeded")), (json!("completed"), json!(50)), "{shown}");
    let shown = show(&export["id"]);
    assert_eq!((told(&shown, "processed"), told(&shown, "files")), (json!(50), json!(1)), "{shown}");
    assert!(!shown.to_string().contains("Secret") && !shown.to_string().contains("p-1"));
    let id = import["id"].as_str().unwrap();
    assert!(refused(&["job", "redrive", &tenant, id, "--environment", "live"]).contains("has ended"));
    assert!(refused(&["job", "show", &tenant, id, "--environment", "test"]).contains("has no job"));

    // Messages that nobody has got yet are thrown away; the operator does not wait for the sweeper.
    boto3("import boto3, os
functions = boto3.client('lambda')
[source] = [s for s in functions.list_event_source_mappings()['EventSourceMappings'] if 'ExportQueue' in s['EventSourceArn']]
functions.update_event_source_mapping(UUID=source['UUID'], Enabled=False)");
    std::thread::sleep(Duration::from_secs(2));
    let id = client.export(&["Patient"], None).job_id();
    boto3("import boto3, os
boto3.client('sqs').purge_queue(QueueUrl=os.environ['EXPORT_QUEUE_URL'])
functions = boto3.client('lambda')
[source] = [s for s in functions.list_event_source_mappings()['EventSourceMappings'] if 'ExportQueue' in s['EventSourceArn']]
functions.update_event_source_mapping(UUID=source['UUID'], Enabled=True)");
    assert_eq!(client.job(&id).data()["status"], "pending");
    let waiting = admin(&["job", "show", &tenant, &id, "--environment", "live"]);
    let judged = waiting["now"].as_str().unwrap();
    assert!(judged.starts_with("nobody holds it") && judged.contains("the sweeper sends it"), "{judged}");
    let listed = admin(&["job", "list", &tenant, "--environment", "live"]);
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id.as_str(), export["id"].as_str().unwrap(), import["id"].as_str().unwrap()], "newest first");
    assert_eq!(listed[1]["now"], "it has ended");
    let newest = admin(&["job", "list", &tenant, "--environment", "live", "--count", "1"]);
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert!(admin(&["tenant", "list"]).as_array().unwrap().iter().any(|listed| listed["id"] == tenant.as_str()));
    let shown = admin(&["job", "redrive", &tenant, &id, "--environment", "live"]);
    assert_eq!(told(&shown, "status"), "pending");
    assert_eq!(client.ended(&id)["status"], "completed");
}

/// What the functions have logged of some jobs, once it tells how each of them began and ended: an
/// invocation's lines come together, after its end.
fn logged_of(jobs: [&str; 2]) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let lines: Vec<_> = evidence(&["logs"])
            .into_iter()
            .filter(|found| jobs.iter().any(|job| found.text.contains(job)))
            .filter_map(|found| serde_json::from_str::<Value>(found.text.trim()).ok())
            .collect();
        let has = |job, metric| lines.iter().any(|line| line["JobId"] == job && line.get(metric).is_some());
        if jobs.into_iter().all(|job| has(job, "JobsStarted") && has(job, "JobsCompleted")) {
            return lines;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the jobs' beginnings and ends are not on record: {lines:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn who_started_and_who_got_links_is_on_record_and_all_is_counted() {
    let tenant = tenant("ops-record");
    let key = admin(&["key", "create", &tenant, "--environment", "live"]);
    let client = Client::with_key(key["key"].as_str().unwrap());
    let accepted = client.import("Patient", &(patients(30) + "{}\n"));
    let (request, import) = (accepted.headers["x-request-id"].clone(), accepted.job_id());
    let _job = client.ended(&import);
    let (export, _) = client.exported(&["Patient", "Task"], None);
    let export = export["id"].as_str().unwrap();
    let log = logged_of([&import, export]);

    let audited = |job: &str, event: &str| {
        let of_event = |fields: &&Value| fields["audit"] == event && fields["job_id"] == job;
        let found: Vec<_> = log.iter().map(|line| &line["fields"]).filter(of_event).collect();
        assert!(!found.is_empty(), "{event} of {job} is not on record");
        for &fields in &found {
            assert_eq!((&fields["key_id"], &fields["tenant"]), (&key["id"], &json!(tenant)), "{fields}");
            assert_eq!(fields["environment"], "live", "{fields}");
        }
        found
    };
    let [started] = &audited(&import, "job.started")[..] else { panic!("one start") };
    assert_eq!((&started["request_id"], &started["records"]), (&json!(request), &json!(31)), "{started}");
    assert_eq!((&started["job_type"], &started["types"]), (&json!("import"), &json!("Patient")), "{started}");
    assert_eq!(audited(&import, "links.issued")[0]["links"], "errors.ndjson,rejected.ndjson,results.ndjson");
    assert_eq!(audited(export, "job.started")[0]["types"], "Patient,Task");
    assert_eq!(audited(export, "links.issued")[0]["records"], 30);

    let counted = |job: &str, metric: &str| {
        let found: Vec<_> = log.iter().filter(|line| line["JobId"] == job && line.get(metric).is_some()).collect();
        let [line] = found[..] else { panic!("{metric} of {job} is counted once: {found:?}") };
        let told = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert!(told.as_array().unwrap().iter().any(|told| told["Name"] == metric), "{line}");
        line[metric].clone()
    };
    for job in [&import, export] {
        assert_eq!((counted(job, "JobsStarted"), counted(job, "JobsCompleted")), (json!(1), json!(1)));
    }
    assert_eq!((counted(&import, "Records"), counted(&import, "RecordsRejected")), (json!(31), json!(1)));
    assert_eq!((counted(export, "Records"), counted(export, "RecordsRejected")), (json!(30), json!(0)));
    assert!(counted(&import, "ImportedBytes").as_u64() > Some(0) && counted(export, "FileBytes").as_u64() > Some(0));
}

#[test]
fn a_purge_takes_one_partition_and_nothing_else() {
    let (tenant, other) = (tenant("ops-purge"), tenant("ops-purge-2"));
    let (test, live, stranger) = (client(&tenant, "test"), client(&tenant, "live"), client(&other, "test"));
    for client in [&test, &live, &stranger] {
        assert_eq!(client.imported("Patient", &patients(60))["succeededRecords"], 60);
    }
    let _place = test.uploaded(b"{}\n");
    let (export, _) = test.exported(&["Patient"], None);
    let link = export["downloadUrl"].as_str().unwrap();

    let purge =
        |confirm: &str| ["tenant", "purge", &tenant, "--environment", "test", "--confirm", confirm].map(str::to_owned);
    let purge = |confirm: &str| -> Vec<String> { purge(confirm).to_vec() };
    let arguments = purge(&other);
    assert!(refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).contains("nothing was deleted"));
    assert_eq!(test.fetch(link).status, 200);

    let arguments = purge(&tenant);
    let purged = admin(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(purged["records"], 60, "{purged}");
    let again_after: Timestamp = purged["againAfter"].as_str().expect("a URL still works").parse().unwrap();
    assert!(again_after > Timestamp::now() + SignedDuration::from_mins(50), "{purged}");
    assert!(purged["jobs"].as_u64().unwrap() >= 2 && purged["files"].as_u64().unwrap() >= 4, "{purged}");
    assert_eq!(test.fetch(link).status, 404);
    assert_eq!(test.job(export["id"].as_str().unwrap()).status, 404);
    assert_eq!(test.exported(&["Patient"], None).1, "");
    for client in [&live, &stranger] {
        assert_eq!(client.exported(&["Patient"], None).1.lines().count(), 60);
    }

    let key = admin(&["key", "list", &other]).as_array().unwrap()[0]["id"].as_str().unwrap().to_owned();
    let _revoked = admin(&["key", "revoke", &other, &key]);
    let purged = admin(&["tenant", "purge", &other, "--environment", "test", "--confirm", &other]);
    let again_after: Timestamp = purged["againAfter"].as_str().expect("functions remember the key").parse().unwrap();
    assert!(again_after < Timestamp::now() + SignedDuration::from_mins(11), "{purged}");
}

#[test]
fn a_record_that_was_deleted_is_named_by_exports_with_since() {
    let tenant = tenant("ops-erase");
    let (test, live) = (client(&tenant, "test"), client(&tenant, "live"));
    for client in [&test, &live] {
        let _imported = client.imported("Patient", &patients(40));
        let _imported = client.imported("Practitioner", &patients(1));
    }
    let (whole, _) = live.exported(&["Patient"], None);
    let since = whole["transactionTime"].as_str().unwrap();
    let names = |job: &Value| {
        let files = job["files"].as_array().unwrap().iter();
        files.map(|file| file["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (job, _) = live.exported(&["Patient"], Some(since));
    assert_eq!(names(&job).len(), 1, "nothing was deleted: {job}");

    let delete = |resource_type, id| ["record", "delete", &tenant, "live", resource_type, id, "--wait", "0"];
    let said = refused(&delete("Patient", "p-99"));
    assert!(said.contains("has no Patient of this id") && !said.contains("p-99"), "{said}");
    assert!(refused(&delete("Patients", "p-1")).contains("no such resource type"));
    for id in ["p-1", "p-2"] {
        let deleted = admin(&delete("Patient", id));
        assert_eq!(deleted["secondLook"], "gone", "{deleted}");
        let held: Vec<_> = deleted["held"].as_array().unwrap().iter().map(|held| held["what"].to_string()).collect();
        // Two of the type in this environment are exports, one is an import; the other type's is none of them.
        assert_eq!(held.len(), 4, "{deleted}");
        assert!(held.iter().any(|what| what.contains(whole["id"].as_str().unwrap())), "{deleted}");
    }
    assert!(refused(&delete("Patient", "p-1")).contains("has no Patient"), "it is gone");
    // Stored again: it is a record like any other.
    let _back = live.imported("Patient", "{\"id\":\"p-2\",\"firstName\":\"Back\",\"lastName\":\"D\"}\n");

    for (per_type, gzip) in [(false, false), (true, false), (false, true)] {
        let mut body = json!({"resourceTypes": ["Patient", "Practitioner"], "since": since});
        if per_type {
            body["files"] = json!("perType");
        }
        if gzip {
            body["compression"] = json!("gzip");
        }
        let job = live.ended(&live.post("/v1/bulk/export", &body).job_id());
        assert_eq!((&job["totalRecords"], &job["processedRecords"]), (&json!(40), &json!(40)), "{job}");
        let files = job["files"].as_array().unwrap();
        let link = job["downloadUrl"].as_str();
        assert_eq!(link.is_some(), !per_type, "{job}");
        if let Some(link) = link.filter(|_| !gzip) {
            assert_eq!(live.fetch(link).text.lines().count(), 40, "it is the file of the records");
        }
        let [deleted] = &files.iter().filter(|file| file["name"] == "deleted.ndjson").collect::<Vec<_>>()[..] else {
            panic!("{job}")
        };
        assert_eq!((&deleted["records"], deleted.get("resourceType")), (&json!(1), None), "{job}");
        let content = live.get(deleted["url"].as_str().unwrap());
        let content = live.fetch(&content.headers["location"]).text;
        let line: Value = serde_json::from_str(content.trim_end()).unwrap();
        assert_eq!((&line["resourceType"], &line["id"]), (&json!("Patient"), &json!("p-1")));
        assert!(line["deletedAt"].as_str().unwrap() > since && content.ends_with("Z\"}\n"), "{content}");
        let sums = live.get(&format!("/v1/bulk/jobs/{}/files/SHA256SUMS", job["id"].as_str().unwrap())).text;
        assert!(sums.contains(&format!("{}  deleted.ndjson", deleted["sha256"].as_str().unwrap())), "{sums}");
    }
    // Of a whole export, of another type, and of the other environment there is nothing to tell.
    assert_eq!(names(&live.exported(&["Patient"], None).0).len(), 1);
    assert_eq!(names(&live.exported(&["Practitioner"], Some(since)).0).len(), 1);
    let (job, lines) = test.exported(&["Patient"], Some(since));
    assert_eq!((names(&job).len(), lines.lines().count()), (1, 40));
}

#[test]
fn a_tenant_is_deleted_once_nothing_of_it_is_left() {
    let id = tenant("ops-gone");
    let delete = ["tenant", "delete", &id, "--confirm", &id];
    let key = admin(&["key", "create", &id, "--environment", "live"]);
    let client = Client::with_key(key["key"].as_str().unwrap());
    assert_eq!(client.imported("Patient", &patients(3))["succeededRecords"], 3);
    assert!(refused(&delete).contains("open still"));
    // As long after its revocation as everybody has forgotten it.
    boto3(&format!(
        "import boto3, os
table = boto3.resource('dynamodb').Table(os.environ['API_KEYS_TABLE'])
for item in table.scan(ConsistentRead=True)['Items']:
    if '{id}' in str(item):
        table.delete_item(Key={{key['AttributeName']: item[key['AttributeName']] for key in table.key_schema}})"
    ));
    assert!(
        refused(&delete).contains(&format!("purge it first: clinik-bulk-admin tenant purge {id} --environment live"))
    );
    let _purged = admin(&["tenant", "purge", &id, "--environment", "live", "--confirm", &id]);
    assert!(refused(&["tenant", "delete", &id, "--confirm", "another"]).contains("nothing was deleted"));
    assert_eq!(admin(&delete)["id"], id.as_str());
    assert!(refused(&["tenant", "show", &id]).contains("there is no tenant"));
    let audit = admin(&["audit", "--tenant", &id]);
    assert_eq!(audit.as_array().unwrap().last().unwrap()["action"], "tenant.deleted");
}

#[test]
fn what_operators_change_is_on_record() {
    let tenant = tenant("ops-audit");
    let key = admin(&["key", "create", &tenant]);
    let _done = admin(&["tenant", "set", &tenant, "--overage", "on"]);
    let _done = admin(&["key", "revoke", &tenant, key["id"].as_str().unwrap()]);
    let _done = admin(&["tenant", "purge", &tenant, "--environment", "test", "--confirm", &tenant]);
    // What only looks is not on record.
    let _done = admin(&["tenant", "show", &tenant]);
    let audit = admin(&["audit", "--tenant", &tenant]);
    let audit = audit.as_array().unwrap();
    let actions: Vec<_> = audit.iter().map(|action| action["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["tenant.created", "key.created", "tenant.changed", "key.revoked", "tenant.purged"]);
    for action in audit {
        assert!(action["who"].as_str().unwrap().starts_with("arn:aws:"), "{action}");
        assert_eq!(action["tenant"], tenant.as_str());
    }
    assert_eq!(audit[3]["subject"], key["id"]);
    assert!(audit[2]["details"].as_str().unwrap().contains("\"overage\":true"), "{}", audit[2]);
    let told = serde_json::to_string(audit).unwrap();
    assert!(!told.contains(key["key"].as_str().unwrap()), "a secret is on record");
    let last = audit[4]["at"].as_str().unwrap();
    assert_eq!(admin(&["audit", "--tenant", &tenant, "--since", last]).as_array().unwrap().len(), 1);

    // Who cannot be told, or not be written down, changes nothing.
    let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
    command.env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "nothing");
    let done = command.args(["tenant", "create", "of-nobody"]).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && said.contains("nothing was changed"), "{said}");
    assert!(refused(&["tenant", "show", "of-nobody"]).contains("there is no tenant"));
}

/// Whether the command succeeds with its output going there, and what it says beside it.
fn printing_to(stdout: impl Into<Stdio>, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
    let done = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let done = done.wait_with_output().unwrap();
    (done.status.success(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn no_key_opens_anything_that_could_not_be_shown() {
    let tenant = tenant("ops-output");
    let closed_pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for arguments in [["key", "create", &tenant], ["key", "list", &tenant], ["tenant", "show", &tenant]] {
        assert_eq!(printing_to(closed_pipe(), &arguments), (true, String::new()), "{arguments:?} ends quietly");
        if cfg!(target_os = "linux") {
            let full_disk = File::options().write(true).open("/dev/full").unwrap();
            let (succeeded, said) = printing_to(full_disk, &arguments);
            assert!(!succeeded && said.contains("write output") && !said.contains("panicked"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(admin(&["key", "list", &tenant]), json!([]));
}

#[test]
fn a_stack_names_its_parts() {
    let tenant = tenant("ops-stack");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
        for part in ["JOBS_TABLE", "RECORDS_TABLE", "API_KEYS_TABLE", "USAGE_TABLE", "BUCKET"] {
            command.env_remove(part);
        }
        let done = command.args(arguments).args(["tenant", "show", &tenant]).output().unwrap();
        (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let (found, shown) = run(&["--stack", &setting("STACK")]);
    assert!(found && shown.contains(&tenant), "{shown}");
    let (found, said) = run(&[]);
    assert!(!found && said.contains("--stack") && said.contains("USAGE_TABLE is not set"), "{said}");
    let (found, said) = run(&["--stack", "no-such-stack"]);
    assert!(!found && said.contains("read the outputs of stack no-such-stack"), "{said}");
}

/// Operators who change the same tenant at once each keep what the others set, and of those who create it one does.
#[test]
fn operators_at_once_lose_nothing() {
    let tenant = format!("races-{:x}", std::process::id());
    let at_once = |arguments: &[&[&str]]| -> Vec<bool> {
        std::thread::scope(|scope| {
            let commands: Vec<_> = arguments
                .iter()
                .map(|arguments| {
                    scope.spawn(|| {
                        let mut command = Command::new(setting("CLINIK_BULK_ADMIN"));
                        command.args(*arguments).stdout(Stdio::null()).stderr(Stdio::null());
                        command.status().unwrap().success()
                    })
                })
                .collect();
            commands.into_iter().map(|command| command.join().unwrap()).collect()
        })
    };
    let create = ["tenant", "create", tenant.as_str()];
    let created = at_once(&[create.as_slice(); 8]);
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "{created:?}");
    for round in 1..=8_u32 {
        let operations = (10 + round).to_string();
        let plan = if round % 2 == 0 { "pro" } else { "starter" };
        let overage = if round % 2 == 0 { "on" } else { "off" };
        let set = |name, value| ["tenant", "set", tenant.as_str(), name, value];
        let commands = [set("--plan", plan), set("--bulk-operations-per-hour", &operations), set("--overage", overage)];
        let done = at_once(&commands.each_ref().map(<[&str; 5]>::as_slice));
        assert_eq!(done, [true; 3], "round {round}");
        let shown = admin(&["tenant", "show", &tenant]);
        assert_eq!(
            (&shown["plan"], &shown["overage"]),
            (&json!(plan), &json!(overage == "on")),
            "round {round}: {shown}"
        );
        assert_eq!(shown["bulkOperationsPerHour"], 10 + round, "{shown}");
    }
}
