//! `openapi.yaml`, the code and the template agree: routes, error codes, the fields of a job.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeSet;

use http::ErrorCode;
use in_process::root;
use records::ResourceType;
use serde_json::Value;

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The lines below a heading that are indented further, without that indentation.
fn below(document: &str, heading: &str) -> Vec<String> {
    let indent = heading.len() - heading.trim_start().len();
    let rest = document.lines().skip_while(|line| *line != heading).skip(1);
    let inner: Vec<_> = rest
        .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() > indent)
        .map(str::to_owned)
        .collect();
    assert!(!inner.is_empty(), "openapi.yaml has {heading:?}");
    inner
}

/// The keys of the mapping below a heading.
fn keys(document: &str, heading: &str) -> BTreeSet<String> {
    let inner = below(document, heading);
    let indent = inner[0].len() - inner[0].trim_start().len();
    inner
        .iter()
        .filter(|line| line.len() > indent && line.len() - line.trim_start().len() == indent)
        .filter_map(|line| line.trim().split_once(':').map(|(key, _)| key.to_owned()))
        .collect()
}

/// A route's key, which ends at the next member.
fn route_key(text: &str) -> String {
    text.split(", Target").next().unwrap_or_default().trim().trim_matches('"').to_owned()
}

#[test]
fn routes_are_the_template_s() {
    let openapi = file("openapi.yaml");
    let described: BTreeSet<_> = keys(&openapi, "paths:")
        .into_iter()
        .flat_map(|path| {
            let methods = keys(&openapi, &format!("  {path}:"));
            methods.into_iter().map(move |method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect();
    let template = file("template.yaml");
    let mut deployed: BTreeSet<_> =
        template.lines().filter_map(|line| Some(route_key(line.split_once("RouteKey: ")?.1))).collect();
    assert!(deployed.remove("$default") && deployed.remove("ANY /health"));
    deployed.insert("GET /health".to_owned());
    assert_eq!(described, deployed);
}

#[test]
fn error_codes_are_the_code_s() {
    let openapi = file("openapi.yaml");
    let described: BTreeSet<_> = below(&openapi, "    ErrorCode:")
        .iter()
        .filter_map(|line| line.trim().strip_prefix("- ").map(str::to_owned))
        .collect();
    let known: BTreeSet<_> =
        ErrorCode::ALL.iter().map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned()).collect();
    assert_eq!(described, known);
    // Each stands with the answers of its status.
    let responses = below(&openapi, "  responses:").join("\n");
    for code in known {
        assert!(responses.contains(&format!("`{code}`")), "{code}");
    }
}

#[test]
fn every_record_type_is_described_by_its_schema() {
    let openapi = file("openapi.yaml");
    for resource_type in ResourceType::ALL {
        let reference = format!("    {resource_type}: {{ $ref: \"shared/records/schemas/{resource_type}.json\" }}");
        assert!(openapi.contains(&reference), "{resource_type}");
    }
    let names = below(&openapi, "    ResourceType:").join(" ");
    let names: BTreeSet<_> =
        names.split(['[', ']', ',', ' ']).filter(|name| name.parse::<ResourceType>().is_ok()).collect();
    assert_eq!(names.len(), ResourceType::ALL.len());
}

#[test]
fn the_fields_of_a_job_are_those_of_the_answers() {
    let openapi = file("openapi.yaml");
    let listed = below(&openapi, "    ListedJob:").join("\n");
    let more = below(&openapi, "    Job:").join("\n");
    let described: BTreeSet<_> =
        keys(&listed, "      properties:").into_iter().chain(keys(&more, "          properties:")).collect();
    let snapshots = root().join("functions/get-job/tests/snapshots");
    let mut answered = BTreeSet::new();
    for entry in std::fs::read_dir(snapshots).unwrap() {
        let snapshot = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let answer = snapshot.splitn(3, "---\n").nth(2).unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        answered.extend(answer["body"]["data"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    }
    assert_eq!(described, answered);
}

/// Learns a type's members from how serde asks for them.
struct Members(BTreeSet<String>);

impl<'de> serde::Deserializer<'de> for &mut Members {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields.iter().map(|field| (*field).to_owned()));
        Err(serde::de::Error::custom("seen enough"))
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("no structure"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn members_of<'de, T: serde::Deserialize<'de>>() -> BTreeSet<String> {
    let mut members = Members(BTreeSet::new());
    assert!(T::deserialize(&mut members).is_err() && !members.0.is_empty());
    members.0
}

#[test]
fn the_rust_client_reads_what_is_described() {
    let openapi = file("openapi.yaml");
    let described = |schema: &str, heading: &str| keys(&below(&openapi, &format!("    {schema}:")).join("\n"), heading);
    let (plain, nested) = ("      properties:", "          properties:");
    let mut job = described("ListedJob", plain);
    job.extend(described("Job", nested));
    let month = below(&openapi, "            requestsPerMonth:").join("\n");
    for (read, described) in [
        (members_of::<clinikapi::Job>(), job),
        (members_of::<clinikapi::JobFile>(), described("JobFile", plain)),
        (members_of::<clinikapi::JobError>(), described("JobError", plain)),
        (members_of::<clinikapi::Upload>(), described("CreatedUpload", nested)),
        (members_of::<clinikapi::Limits>(), described("LimitsAnswer", nested)),
        (members_of::<clinikapi::Operations>(), described("RateLimit", plain)),
        (members_of::<clinikapi::Month>(), keys(&month, "              properties:")),
    ] {
        assert!(read.is_subset(&described), "{read:?} is not of {described:?}");
    }
    let names = |line: &str| {
        let (_, names) = line.split_once('[').unwrap();
        names.trim_end_matches([']', '}', ' ']).split(", ").map(|name| Value::from(name.trim())).collect::<Vec<_>>()
    };
    let line = |begins: &str| openapi.lines().find(|line| line.trim_start().starts_with(begins)).unwrap();
    for status in names(line("status: { enum:")) {
        assert!(serde_json::from_value::<clinikapi::JobStatus>(status.clone()).is_ok(), "{status}");
    }
    let outcomes = below(&openapi, "    JobOutcome:");
    for outcome in names(&outcomes[0]) {
        assert!(serde_json::from_value::<clinikapi::Outcome>(outcome.clone()).is_ok(), "{outcome}");
    }
}
