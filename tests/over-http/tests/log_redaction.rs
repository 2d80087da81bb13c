//! Marked values go everywhere that a client can put one, valid and invalid, down every path of errors; then
//! all that the stack has logged, stored, sent and answered is searched for the marks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use over_http::{Answer, Client, Evidence, evidence, setting};
use records::ResourceType;
use serde_json::{Map, Value, json};

/// In texts. Valid base64, and short enough for most.
const TEXT: &str = "cnry7Mk0";
/// In dates and times.
const DATE: &str = "1817-03-29";
/// In numbers.
const NUMBER: u64 = 734_021_877;
/// In ids of records, which one more report may tell.
const ID: &str = "cnryid55";

const MARKS: [&str; 4] = [TEXT, DATE, "734021877", ID];

/// A value that the fact allows, with a mark wherever there is room for one.
fn marked(fact: &Value) -> Value {
    let fact = fact.get("oneOf").map_or(fact, |branches| &branches[0]);
    let longest = fact["maxLength"].as_u64().unwrap_or(u64::MAX);
    match (fact["type"].as_str(), fact["enum"].as_array(), fact["format"].as_str()) {
        (Some("string"), Some(options), _) => options[0].clone(),
        (Some("string"), None, Some("date-time")) => format!("{DATE}T10:20:30Z").into(),
        (Some("string"), None, Some("date")) => DATE.into(),
        (Some("string"), None, Some("time")) => "10:20".into(),
        (Some("string"), None, Some("email")) => format!("{TEXT}@example.org").into(),
        (Some("string"), None, Some("uri")) => format!("urn:{TEXT}").into(),
        (Some("string"), None, _) if longest < TEXT.len() as u64 => "x".into(),
        (Some("string"), None, _) => TEXT.into(),
        (Some("integer" | "number"), ..) if fact.get("maximum").is_none() => NUMBER.into(),
        (Some("integer" | "number"), ..) => fact.get("minimum").cloned().unwrap_or(json!(1)),
        (Some("boolean"), ..) => true.into(),
        (Some("array"), ..) => json!([marked(&fact["items"])]),
        _ => {
            let members = fact["properties"].as_object().into_iter().flatten();
            members.map(|(name, member)| (name.clone(), marked(member))).collect::<Map<_, _>>().into()
        }
    }
}

/// A value that the fact does not allow, with a mark.
fn wrong(fact: &Value) -> Value {
    match (fact["type"].as_str(), fact.get("enum"), fact.get("format")) {
        (Some("string"), None, None) => NUMBER.into(),
        _ => TEXT.into(),
    }
}

/// Valid records, one wrong member after the other, and lines that are no records.
fn lines(resource_type: ResourceType, fact: &Value) -> String {
    let mut record = marked(fact);
    record["id"] = format!("{ID}-{}", resource_type.as_str().to_lowercase()).into();
    record["meta"] = json!({"source": TEXT, "tag": [{"system": TEXT, "code": TEXT}]});
    record["note-of-our-own"] = TEXT.into();
    let mut lines = vec![record.to_string()];
    for (name, member) in fact["properties"].as_object().unwrap() {
        for value in [wrong(member), TEXT.repeat(700).into(), json!([[NUMBER]]), json!({"x": DATE}), Value::Null] {
            let mut broken = record.clone();
            broken[name] = value;
            lines.push(broken.to_string());
        }
    }
    let text = record.to_string();
    lines.push(text.replacen('{', &format!("{{\"resourceType\":\"{TEXT}\","), 1));
    lines.push(text.replacen('{', &format!("{{\"id\":\"{TEXT}/{ID}\","), 1));
    lines.push(text[..text.len() - 1].to_owned());
    lines.push(format!("{{\"a\":\"{TEXT}\\u{{}}\"}}"));
    lines.push(format!("\"{TEXT}\""));
    lines.push(format!("{{\"{DATE}\" \"{TEXT}\"}}"));
    lines.push(format!("{}\"{TEXT}\"{}", "[".repeat(200), "]".repeat(200)));
    lines.join("\n") + "\n"
}

fn quiet(what: &str, answer: &Answer) {
    for mark in MARKS {
        assert!(!answer.text.contains(mark), "{what}: the answer tells {mark}: {}", answer.text);
        assert!(!answer.headers.values().any(|value| value.contains(mark)), "{what}: a header tells {mark}");
    }
}

/// Every refusal that a call can meet, with marks in all it brings.
fn refusals(client: &Client) {
    let json = ("content-type", "application/json");
    let post = |path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = client.post_with(path, headers, body.as_bytes());
        assert!((400..500).contains(&answer.status), "{path} {headers:?}: {answer:?}");
        quiet(&format!("{path} {headers:?}"), &answer);
    };
    for route in ["/v1/bulk/import", "/v1/bulk/export"] {
        for body in [
            TEXT.to_owned(),
            format!("{{\"{TEXT}\":"),
            json!({"resourceType": TEXT, "resourceTypes": [TEXT, NUMBER], "data": {"x": TEXT}, "since": TEXT}).to_string(),
            json!({"resourceType": [TEXT], "resourceTypes": TEXT, "uploadId": TEXT, "since": NUMBER}).to_string(),
            json!({"resourceType": "Patient", "uploadId": TEXT, "data": TEXT, "resourceTypes": ["Patient"], "since": DATE}).to_string(),
            json!({"resourceType": "Patient", "uploadId": TEXT, "resourceTypes": []}).to_string(),
        ] {
            post(route, &[json], &body);
        }
        let good = json!({"resourceType": "Patient", "data": "{}", "resourceTypes": ["Patient"]}).to_string();
        post(route, &[("content-type", TEXT)], &good);
        post(route, &[json, ("content-encoding", TEXT)], &good);
        post(route, &[json, ("idempotency-key", &TEXT.repeat(100))], &good);
        post(route, &[json, ("x-http-method-override", TEXT)], &good);
        post(&format!("/v1/bulk/{TEXT}?{TEXT}={TEXT}"), &[json], &good);
    }
    for path in
        [format!("/v1/bulk/jobs/{TEXT}"), format!("/v1/bulk/jobs/job_{}?x={TEXT}", TEXT.repeat(3)), format!("/{TEXT}")]
    {
        quiet(&path, &client.get(&path));
    }
    for key in [TEXT.to_owned(), format!("clk_test_{TEXT}{TEXT}"), format!("clk_live_{}", TEXT.repeat(40))] {
        let answer = Client::with_key(&key).export(&["Patient"], None);
        assert_eq!(answer.status, 401);
        quiet("a key", &answer);
    }
    // The same key with another body: a conflict, whose key is stored by its hash.
    let again = |types: &[&str]| {
        let body = json!({"resourceTypes": types}).to_string();
        client.post_with("/v1/bulk/export", &[json, ("idempotency-key", TEXT)], body.as_bytes())
    };
    let _accepted = client.ended(&again(&["Patient"]).job_id());
    quiet("a conflict", &again(&["Task"]));
}

/// Uploads that fail their jobs, and one that nobody ever imports.
fn uploads(client: &Client) {
    let import = |bytes: &[u8]| {
        let upload = client.uploaded(bytes);
        let body = json!({"resourceType": "Patient", "uploadId": upload["uploadId"]});
        let job = client.ended(&client.post("/v1/bulk/import", &body).job_id());
        (job["status"].as_str().unwrap().to_owned(), client.job(job["id"].as_str().unwrap()))
    };
    let not_gzip = [&[0x1F, 0x8B][..], TEXT.as_bytes()].concat();
    let not_text = [format!("{{\"firstName\":\"{TEXT}").as_bytes(), &[0xFF, 0xFE], b"\"}\n"].concat();
    let too_many = format!("\"{TEXT}\"\n").repeat(10_001);
    for (bytes, status) in [(&not_gzip[..], "failed"), (&not_text, "completed"), (too_many.as_bytes(), "failed")] {
        let (ended, answer) = import(bytes);
        assert_eq!(ended, status);
        quiet("an upload", &answer);
    }
}

#[test]
fn nothing_of_a_record_a_key_or_a_body_is_told_where_it_does_not_belong() {
    let client = Client::of_new_tenant("silence", &["--plan", "enterprise", "--bulk-operations-per-hour", "1000"]);
    let facts: Value = serde_json::from_str(include_str!("../../../shared/records/tests/facts.json")).unwrap();
    for resource_type in ResourceType::ALL {
        let name = resource_type.as_str();
        let lines = lines(*resource_type, &facts[name]);
        let id = client.import(name, &lines).job_id();
        let job = client.ended(&id);
        assert_eq!(job["status"], "completed", "{name}");
        assert!(job["succeededRecords"].as_u64().unwrap() > 0, "{name}: a marked record is stored: {job}");
        assert!(job["failedRecords"].as_u64().unwrap() > 0, "{name}: a marked record is rejected: {job}");
        quiet(name, &client.job(&id));
        let errors = client.fetch(job["errorsUrl"].as_str().unwrap());
        quiet(name, &errors);
    }
    let types: Vec<_> = ResourceType::ALL.iter().map(|resource_type| resource_type.as_str()).collect();
    let (_, file) = client.exported(&types, None);
    for mark in MARKS {
        assert!(file.contains(mark), "{mark} went in, and comes out where it belongs");
    }
    let (_, _) = client.exported(&types, Some("2025-01-01T00:00:00Z"));
    refusals(&client);
    uploads(&client);

    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for Evidence { whence, text } in evidence(&[]) {
        *kinds.entry(whence.split(['/', ' ']).next().unwrap().to_owned()).or_default() += 1;
        let belongs = |mark: &str| {
            whence == format!("table {}", setting("RECORDS_TABLE"))
                || whence.starts_with("file imports/")
                || whence.starts_with("file exports/")
                || whence.starts_with("file chunks/")
                || whence.starts_with("file uploads/")
                || (whence.starts_with("file reports/") && whence.ends_with("/rejected.ndjson"))
                || (whence.starts_with("file reports/") && whence.ends_with("/results.ndjson") && mark == ID)
        };
        for mark in MARKS {
            assert!(belongs(mark) || !text.contains(mark), "{whence} tells {mark}: {text:.400}");
        }
        let key = client.key();
        assert!(!text.contains(key), "{whence} tells a key");
    }
    for kind in ["log", "table", "file", "name"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 50), "too little evidence: {kinds:?}");
    }
}
