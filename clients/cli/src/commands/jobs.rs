//! Jobs in the user's hands, and limits.

use anyhow::Result;
use clinikapi::{Client, JobStatus, Limits};
use serde_json::{Value, json};
use transfer::{Backoff, Events, Stage};

use crate::cli::{Global, Jobs};
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::settings::Settings;

pub(super) fn jobs(command: &Jobs, global: &Global, output: &Output) -> Result<()> {
    let client = Settings::resolve(global)?.client(output)?;
    match command {
        Jobs::List { status, kind, resource_type, limit } => {
            let types: Vec<_> = resource_type.iter().map(|known| known.as_str().to_owned()).collect();
            let filters = [("status", status), ("type", kind), ("resourceType", &types)];
            let filters = filters.into_iter().filter(|(_, values)| !values.is_empty());
            let filters: Vec<_> = filters.map(|(name, values)| (name, values.join(","))).collect();
            let jobs = list(&client, &filters, *limit as usize)?;
            output.list(&jobs, || as_table(&jobs))
        }
        Jobs::Show { job } => show(&client.job(job)?.raw, output),
        Jobs::Watch { job } => watch(&client, job, output),
        Jobs::Cancel { job } => show(&client.cancel(job)?, output),
        Jobs::Delete { job } => {
            client.delete(job)?;
            output.say(&format!("{job} and its files are deleted"));
            output.event_or_document(&json!({"event": "deleted", "jobId": job}))
        }
    }
}

fn list(client: &Client, filters: &[(&str, String)], limit: usize) -> Result<Vec<Value>> {
    let mut jobs = Vec::new();
    let mut cursor: Option<String> = None;
    while jobs.len() < limit {
        let mut query = vec![("count", (limit - jobs.len()).min(100).to_string())];
        query.extend(filters.iter().cloned());
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let (page, next) = client.jobs(&query)?;
        jobs.extend(page);
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    jobs.truncate(limit);
    Ok(jobs)
}

fn text(job: &Value, name: &str) -> String {
    match job.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            match items.as_slice() {
                [first, second, _, ..] => format!("{first},{second},… ({})", items.len()),
                few => few.join(","),
            }
        }
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn as_table(jobs: &[Value]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let heading = ["JOB", "KIND", "STATUS", "OUTCOME", "RECORDS", "TYPES", "CREATED", "LABEL"];
    let rows = jobs.iter().map(|job| {
        let types = [text(job, "resourceType"), text(job, "resourceTypes")].concat();
        let records = format!("{}/{}", text(job, "processedRecords"), text(job, "totalRecords"));
        let [id, kind, status] = ["id", "type", "status"].map(|name| text(job, name));
        vec![id, kind, status, text(job, "outcome"), records, types, text(job, "createdAt"), text(job, "label")]
    });
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
    output::fitting_columns(&rows)
}

/// A job for people: without its signed URLs, which fill the screen.
fn show(job: &Value, output: &Output) -> Result<()> {
    output.result(job, || {
        let members = job.as_object().into_iter().flatten();
        let plain = members.filter(|(name, _)| !name.ends_with("Url") && !matches!(name.as_str(), "files" | "errors"));
        let mut rows: Vec<_> = plain.map(|(name, _)| vec![name.clone(), text(job, name)]).collect();
        let list = |name| job.get(name).and_then(Value::as_array).into_iter().flatten();
        for file in list("files") {
            let size = format!("{} records, {} bytes", text(file, "records"), text(file, "bytes"));
            rows.push(vec!["file".to_owned(), format!("{}  {size}", text(file, "name"))]);
        }
        for error in list("errors") {
            let line = text(error, "line");
            let line = if line.is_empty() { line } else { format!("line {line}: ") };
            rows.push(vec!["error".to_owned(), format!("{line}{} ({})", text(error, "message"), text(error, "code"))]);
        }
        output::columns(&rows)
    })
}

fn watch(client: &Client, id: &str, output: &Output) -> Result<()> {
    let progress = Progress::new(output);
    progress.begin(Stage::Waiting, 0);
    // A wrong address shows at once; an outage behind the first answer is waited out.
    let mut is_known = false;
    loop {
        let polled = if is_known { Backoff::until_done(&progress, || Ok(client.job(id)?))? } else { client.job(id)? };
        is_known = true;
        let job = &polled.job;
        progress.set_total(job.total_records);
        progress.advance(job.processed_records);
        if !job.has_ended() {
            output.event(&json!({"event": "progress", "jobId": id, "status": job.status,
                "processedRecords": job.processed_records, "totalRecords": job.total_records}))?;
            std::thread::sleep(polled.retry_after);
            continue;
        }
        progress.finish();
        show(&polled.raw, output)?;
        return match job.status {
            JobStatus::Failed => Err(Failure::JobFailed(format!("job {id} failed: {}", job.reason())).into()),
            _ => Ok(()),
        };
    }
}

pub(super) fn limits(global: &Global, output: &Output) -> Result<()> {
    let settings = Settings::resolve(global)?;
    let (limits, raw) = settings.limits(&settings.client(output)?)?;
    output.result(&raw, || limits_as_text(&limits))
}

fn limits_as_text(limits: &Limits) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    let (bulk, month) = (&limits.bulk_operations, &limits.requests_per_month);
    let next = match (bulk.remaining, bulk.reset_seconds) {
        (Some(0), Some(seconds)) => format!("; the next slot is in {} min", seconds.div_ceil(60)),
        _ => String::new(),
    };
    let reset = month.reset_at.as_deref().map(|at| format!("; resets at {at}")).unwrap_or_default();
    let used = month.used.unwrap_or(0);
    output::columns(&[
        vec!["tenant".to_owned(), limits.tenant_id.clone()],
        vec!["plan".to_owned(), limits.plan.clone()],
        vec!["environment".to_owned(), limits.environment.clone()],
        vec![
            "bulk operations an hour".to_owned(),
            format!("{} left of {}{next}", number(bulk.remaining), number(bulk.limit)),
        ],
        vec![
            "requests this month".to_owned(),
            format!("{} left of {}, {used} used{reset}", number(month.remaining), number(month.limit)),
        ],
    ])
}
