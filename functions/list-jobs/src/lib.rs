//! `GET /v1/bulk/jobs`: the partition's jobs, newest first, page by page.

use std::collections::BTreeSet;

use api::{JobFilter, JobLister, JobPage, MAX_PAGE, parse_cursor};
use http::{
    ApiError, Billing, Call, Endpoint, Issues, JobReport, Reply, Request, RequestExt, StatusCode, meant_type, shown,
};
use model::{JobState, JobType, Scope};
use records::ResourceType;
use serde::Serialize;

/// The jobs of a page for which nothing else is asked.
const DEFAULT_COUNT: usize = 20;

/// What the list can be asked for.
const PARAMETERS: [&str; 5] = ["count", "cursor", "resourceType", "status", "type"];

/// The endpoint.
pub struct ListJobs {
    pub lister: JobLister,
}

/// The `data` of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Vec<JobReport>,
    /// Where the list goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    has_more: bool,
}

impl Endpoint for ListJobs {
    const SCOPE: Scope = Scope::Read;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let partition = &call.principal.partition;
        let query = request.query_string_parameters_ref();
        let parameter = |name| query.and_then(|query| query.first(name)).filter(|value| !value.is_empty());
        // The gateway joins what is given twice by commas, and the event's reader parts all values at them.
        let all = |name| query.and_then(|query| query.all(name)).unwrap_or_default();
        let mut issues = Issues::default();
        let names: BTreeSet<_> = query.iter().flat_map(|query| query.iter()).map(|(name, _)| name).collect();
        for name in names.into_iter().filter(|name| !PARAMETERS.contains(name)) {
            issues.add(&shown(name), &format!("Unknown parameter; there are {}", PARAMETERS.join(", ")));
        }
        let count = count(parameter("count"), &mut issues);
        let filter = JobFilter {
            statuses: parse_values("status", &all("status"), parse_status, &mut issues),
            job_types: parse_values("type", &all("type"), parse_job_type, &mut issues),
            resource_types: parse_values("resourceType", &all("resourceType"), parse_resource_type, &mut issues),
        };
        let cursor = parameter("cursor");
        let after = cursor.and_then(|cursor| parse_cursor(cursor, partition));
        if cursor.is_some() && after.is_none() {
            issues.add("cursor", "Must be a cursor of this list");
        }
        if !issues.is_empty() {
            return Err(issues.into());
        }
        let JobPage { jobs, next } = self.lister.list(partition, &filter, after, count).await?;
        let page = Page { data: jobs.iter().map(JobReport::in_list).collect(), has_more: next.is_some(), cursor: next };
        Reply::new(StatusCode::OK, page, Billing::Afterwards)
    }
}

/// How many jobs are asked for: out of range the nearest.
fn count(text: Option<&str>, issues: &mut Issues) -> usize {
    let Some(text) = text else { return DEFAULT_COUNT };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        issues.add("count", "Expected integer");
        return DEFAULT_COUNT;
    }
    if text.starts_with('-') { 1 } else { digits.parse().unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE) }
}

/// What any number of values stand for, all of them known; one that is empty is none. `parse` says what a value stands
/// for, or the rule that it breaks.
fn parse_values<T>(
    name: &str,
    values: &[&str],
    parse: impl Fn(&str) -> Result<T, String>,
    issues: &mut Issues,
) -> Vec<T> {
    if values.iter().all(|value| value.is_empty()) {
        return Vec::new();
    }
    let parsed: Result<Vec<_>, _> = values.iter().flat_map(|value| value.split(',')).map(parse).collect();
    parsed.unwrap_or_else(|rule| {
        issues.add(name, &rule);
        Vec::new()
    })
}

fn parse_status(name: &str) -> Result<&'static str, String> {
    let found = JobState::NAMES.into_iter().find(|known| *known == name);
    found.ok_or_else(|| format!("Must be one of {}", JobState::NAMES.join(", ")))
}

fn parse_job_type(name: &str) -> Result<JobType, String> {
    let found = [JobType::Import, JobType::Export].into_iter().find(|known| known.as_str() == name);
    found.ok_or_else(|| format!("Must be one of {}, {}", JobType::Import.as_str(), JobType::Export.as_str()))
}

fn parse_resource_type(name: &str) -> Result<ResourceType, String> {
    name.parse().map_err(|_| format!("Unknown resource type{}", meant_type(name)))
}
