//! `GET /v1/bulk/jobs`: the partition's jobs, newest first, page by page.

use api::{JobCursor, JobFilter, JobLister, JobPage, MAX_PAGE};
use http::{
    ApiError, Billing, Call, Endpoint, Issues, JobReport, Reply, Request, RequestExt, RequestLimitKind, StatusCode,
};
use model::{JobState, JobType, Scope};
use serde::Serialize;

/// The jobs of a page for which nothing else is asked.
const DEFAULT_COUNT: usize = 20;

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
    const LIMIT: RequestLimitKind = RequestLimitKind::Minute;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let partition = &call.principal.partition;
        let query = request.query_string_parameters_ref();
        let parameter = |name| query.and_then(|query| query.first(name)).filter(|value| !value.is_empty());
        // The gateway joins what is given twice by commas, and the event's reader parts all values at them.
        let all = |name| query.and_then(|query| query.all(name)).unwrap_or_default();
        let mut issues = Issues::default();
        let count = count(parameter("count"), &mut issues);
        let filter = JobFilter {
            statuses: several("status", &all("status"), known_status, &mut issues),
            job_types: several("type", &all("type"), known_type, &mut issues),
            resource_types: several("resourceType", &all("resourceType"), |name| name.parse().ok(), &mut issues),
        };
        let behind = parameter("cursor").map(|cursor| JobCursor::behind(cursor, partition)).transpose();
        if behind.is_err() {
            issues.add("cursor", "Must be a cursor of this list");
        }
        if !issues.is_empty() {
            return Err(issues.into());
        }
        let JobPage { jobs, next } = self.lister.list(partition, &filter, behind.unwrap_or_default(), count).await?;
        let page = Page {
            data: jobs.iter().map(JobReport::in_list).collect(),
            has_more: next.is_some(),
            cursor: next.map(|next| next.to_string()),
        };
        Reply::new(StatusCode::OK, page, Billing::Afterwards)
    }
}

/// How many jobs are asked for: out of range the nearest.
fn count(text: Option<&str>, issues: &mut Issues) -> usize {
    let Some(text) = text else { return DEFAULT_COUNT };
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        issues.add("count", "Expected integer");
        return DEFAULT_COUNT;
    }
    match sign {
        1 => digits.parse().unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE),
        _ => 1,
    }
}

/// Any number of values, all of them known; one that is empty is none.
fn several<T>(name: &str, given: &[&str], known: impl Fn(&str) -> Option<T>, issues: &mut Issues) -> Vec<T> {
    if given.iter().all(|value| value.is_empty()) {
        return Vec::new();
    }
    let values: Option<Vec<_>> = given.iter().flat_map(|value| value.split(',')).map(known).collect();
    values.unwrap_or_else(|| {
        issues.add(name, "Unknown value");
        Vec::new()
    })
}

fn known_status(name: &str) -> Option<&'static str> {
    JobState::NAMES.into_iter().find(|known| *known == name)
}

fn known_type(name: &str) -> Option<JobType> {
    [JobType::Import, JobType::Export].into_iter().find(|known| known.as_str() == name)
}
