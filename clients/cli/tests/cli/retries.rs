//! Rejected records are imported again, once, and to the same tenant.

use crate::stub::{LIVE_KEY, OTHER_KEY, Phase, Reply};
use crate::{Bench, run};

#[test]
fn a_retry_is_written_down_before_anything_is_sent_and_done_once() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    let lock = std::fs::File::open(bench.path("state/.clinik-bulk.lock")).unwrap();
    lock.lock().unwrap();
    bench.run(&["retry", "state", "--state", "again"]).ends(1).says("another process");
    lock.unlock().unwrap();
    // A folder that cannot be used is no try.
    bench.write("full/x", "");
    bench.run(&["retry", "state", "--state", "full"]).ends(2).says("not empty");
    // The import is accepted, its answer is lost, and the process gives up.
    bench.stub.on_request(|request, phase| {
        (phase == Phase::After && request.path.ends_with("/import")).then(|| Reply::bytes(400, Vec::new()))
    });
    bench.run(&["retry", "state", "--state", "again", "--no-wait"]).ends(1);
    bench.stub.no_hook();
    bench.run(&["retry", "state", "--state", "third"]).ends(2).says("resume again");
    assert!(!bench.path("third").exists());
    // As if the process had died before it could write down that it has begun.
    let retried = bench.read("state/retried.json");
    bench.write("state/retried.json", retried.replace("true", "false"));
    bench.run(&["resume", "again"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 1);
    // An empty folder is no proof that nothing was sent.
    std::fs::remove_dir_all(bench.path("again")).unwrap();
    std::fs::create_dir(bench.path("again")).unwrap();
    bench.run(&["retry", "state", "--state", "third"]).ends(2).says("what was stored cannot be told");
    // It is one where the import had not begun.
    bench.write("state/retried.json", retried.replace("true", "false"));
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    bench.run(&["retry", "state", "--state", "third"]).ends(0);
}

#[test]
fn a_retry_stays_with_the_service_the_tenant_and_the_environment_of_its_import() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    let retry = ["retry", "state", "--state", "again", "--yes"];
    for (key, told) in [(OTHER_KEY, "another tenant"), (LIVE_KEY, "begun with a test key")] {
        let mut other = bench.command(&retry);
        other.env("CLINIKAPI_SECRET_KEY", key);
        run(other).ends(2).says(told);
    }
    let elsewhere = bench.stub.url.replace("127.0.0.1", "localhost");
    bench.run(&[&retry[..], &["--url", &elsewhere]].concat()).ends(2).says("the import goes to");
    assert!(!bench.path("again").exists() && !bench.path("state/retried.json").exists());
    assert_eq!(bench.stub.count("POST", ""), 0);
    bench.run(&retry).ends(0);
}

#[test]
fn a_retry_is_for_what_has_ended_and_newer_records_stay() {
    // The batch may begin anew: what is retried now would be replaced by it.
    let bench = Bench::new();
    bench.write(
        "p.ndjson",
        "{\"id\":\"a\",\"firstName\":\"v1\",\"lastName\":\"x\"}\n{\"id\":\"a\",\"firstName\":\"v2\"}\n",
    );
    bench.stub.state().fail_with = Some("cancelled".to_owned());
    bench.import(&["Patient", "p.ndjson"]).ends(5);
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\",\"lastName\":\"x\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(2).says("resume it first");
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\"}\n");
    bench.run(&["resume", "state"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"id\":\"a\",\"firstName\":\"v2\",\"lastName\":\"x\"}\n");
    bench.run(&["retry", "state", "--state", "again"]).ends(0).says("1 of the rejected records have ids");
    assert!(bench.stub.state().records[&("Patient".to_owned(), "a".to_owned())].0.contains("v2"));
    // A summary that is older than the last step is not the whole truth.
    let journal = bench.read("again/journal.ndjson");
    bench.write("again/journal.ndjson", journal.replace("\"at\":\"2", "\"at\":\"3"));
    bench.run(&["retry", "again", "--state", "third"]).ends(2).says("resume it first");
}

#[test]
fn an_id_is_of_its_type_also_where_rejected_records_have_one_that_was_stored() {
    let bench = Bench::new();
    bench.write("in/Patient.ndjson", "{\"id\":\"a\",\"firstName\":\"v1\",\"lastName\":\"x\"}\n{\"id\":\"b\"}\n");
    bench.write("in/Person.ndjson", "{\"id\":\"a\",\"active\":7}\n");
    bench.import(&["in"]).ends(3).says("state/rejected/Person.ndjson");
    bench.write("state/rejected/Person.ndjson", "{\"id\":\"a\",\"active\":true}\n");
    let said = bench.run(&["retry", "state", "--state", "again"]);
    assert!(!said.err.contains("have ids under which"), "{}", said.err);
}

#[test]
fn a_retry_goes_on_also_when_the_first_folder_was_emptied() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"B\"}\n");
    bench.import(&["Patient", "p.ndjson"]).ends(3);
    bench.write("state/rejected.ndjson", "{\"firstName\":\"B\",\"lastName\":\"B\"}\n");
    bench.stub.state().polls = 3;
    bench.run(&["retry", "state", "--state", "again", "--no-wait"]).ends(6);
    std::fs::remove_dir_all(bench.path("state")).unwrap();
    std::fs::create_dir(bench.path("state")).unwrap();
    bench.run(&["resume", "again"]).ends(0).says("is gone");
    assert_eq!(bench.stub.state().records.len(), 1);
}
