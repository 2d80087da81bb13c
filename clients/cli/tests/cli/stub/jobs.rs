//! Jobs: started, run to their end, shown, listed, cancelled, deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use records::{RecordId, ResourceType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::server::{Reply, Request};
use super::{State, Upload, error, success};

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) body: Value,
    pub(crate) polls_left: u32,
    pub(crate) ended: Option<&'static str>,
    pub(crate) failure: Option<String>,
    pub(crate) stored: u64,
    pub(crate) rejected: u64,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) created_at: String,
    pub(crate) completed_at: Option<String>,
    errors: Vec<Value>,
}

pub(super) fn start(request: &Request, state: &mut State, kind: &'static str) -> Reply {
    let body = request.json();
    let key = request.header("idempotency-key").unwrap().to_owned();
    let text = String::from_utf8(request.body.clone()).unwrap();
    if let Some((first, job)) = state.starts.get(&key) {
        if *first != text {
            return error(409, "IDEMPOTENCY_CONFLICT", "The key was used with another body", &[]);
        }
        return accepted(job, kind).with("idempotency-replayed", "true");
    }
    if kind == "import" {
        let upload = body["uploadId"].as_str().and_then(|id| state.uploads.get(id));
        let fault = match upload {
            None => Some("uploadId: Unknown upload".to_owned()),
            Some(Upload { used_by: Some(job), .. }) => Some(format!("uploadId: Used by {job}")),
            Some(Upload { is_expired: true, .. }) => Some("uploadId: Expired".to_owned()),
            Some(Upload { content: None, .. }) => Some("uploadId: Nothing has been uploaded".to_owned()),
            Some(_) => None,
        };
        if let Some(fault) = fault {
            return error(422, "VALIDATION_ERROR", "Validation failed", &[&fault]);
        }
    }
    if state.month_used_up {
        return error(429, "MONTHLY_QUOTA_EXCEEDED", "Monthly request quota exceeded", &[]);
    }
    if state.operations_left == 0 {
        let retry_after = state.slot_in.to_string();
        return error(429, "RATE_LIMITED", "Hourly bulk operation limit reached", &[])
            .with("retry-after", &retry_after);
    }
    state.operations_left -= 1;
    let id = state.new_id("job");
    if let Some(upload) = body["uploadId"].as_str().and_then(|id| state.uploads.get_mut(id)) {
        upload.used_by = Some(id.clone());
    }
    state.starts.insert(key, (text, id.clone()));
    let job = Job {
        id: id.clone(),
        kind,
        body,
        polls_left: state.polls,
        ended: None,
        failure: state.fail_with.take(),
        stored: 0,
        rejected: 0,
        files: BTreeMap::new(),
        created_at: jiff::Timestamp::now().to_string(),
        completed_at: None,
        errors: Vec::new(),
    };
    state.jobs.push(job);
    accepted(&id, kind)
}

fn accepted(id: &str, kind: &str) -> Reply {
    success(202, &json!({"jobId": id, "status": "pending", "message": format!("{kind} job started")}))
}

/// Runs a job to its end, once it has been polled often enough.
fn advance(state: &mut State, at: usize) {
    let job = &mut state.jobs[at];
    if job.ended.is_some() {
        return;
    }
    if job.polls_left > 0 {
        job.polls_left -= 1;
        return;
    }
    if job.failure.is_some() {
        job.ended = Some("failed");
        return;
    }
    let mut job = job.clone();
    if job.kind == "import" {
        import(&mut job, state);
    } else {
        export(&mut job, state);
    }
    state.jobs[at] = job;
}

fn import(job: &mut Job, state: &mut State) {
    let id = job.body["uploadId"].as_str().unwrap();
    let upload = state.uploads.get(id).or_else(|| state.forgotten_uploads.get(id)).unwrap();
    let content = upload.content.clone().unwrap();
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(content.as_slice()).read_to_end(&mut text).unwrap();
    let resource_type: ResourceType = job.body["resourceType"].as_str().unwrap().parse().unwrap();
    let schema = resource_type.schema();
    let mut ids = BTreeSet::new();
    let (mut results, mut errors, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let lines: Vec<_> = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n').collect();
    assert!(lines.len() <= 10_000);
    for (line, bytes) in (1u64..).zip(lines) {
        // A stricter service than the client knows: it rejects this name.
        let refused = bytes.windows(12).any(|window| window == b"\"RejectThis\"");
        match schema.scan(bytes) {
            Ok(record) if !refused && record.id().is_none_or(|id| ids.insert(id.clone())) => {
                let derived = record.id().is_none();
                let id = || RecordId::try_from(format!("{}-{line}", job.id)).unwrap();
                let stored = record.into_stored("tenant", id).unwrap();
                let key = (resource_type.to_string(), stored.id().to_string());
                let entry = state.records.entry(key).or_insert_with(|| (String::new(), 0));
                *entry = (stored.as_str().to_owned(), entry.1 + 1);
                let outcome = if derived { "created" } else { "stored" };
                writeln!(results, "{}", json!({"line": line, "outcome": outcome, "id": stored.id()})).unwrap();
                job.stored += 1;
            }
            _ => {
                let fault = json!({"index": line - 1, "line": line, "code": "enum", "path": "/firstName",
                    "message": "firstName: Refused by the service"});
                writeln!(errors, "{fault}").unwrap();
                writeln!(results, "{}", json!({"line": line, "outcome": "rejected"})).unwrap();
                rejected.extend_from_slice(bytes);
                rejected.push(b'\n');
                job.errors.push(fault);
                job.rejected += 1;
            }
        }
    }
    job.files.insert("results.ndjson".to_owned(), results);
    if job.rejected > 0 {
        job.files.insert("errors.ndjson".to_owned(), errors);
        job.files.insert("rejected.ndjson".to_owned(), rejected);
    }
    job.ended = Some("completed");
}

fn export(job: &mut Job, state: &State) {
    let types: Vec<_> =
        job.body["resourceTypes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let gzip = job.body["compression"] == "gzip";
    let suffix = if gzip { ".ndjson.gz" } else { ".ndjson" };
    let mut put = |name: String, wanted: &[&str], is_optional: bool| {
        let lines = state.records.iter().filter(|((known, _), _)| wanted.contains(&known.as_str()));
        let lines: Vec<_> = lines.map(|(_, (line, _))| format!("{line}\n")).collect();
        if lines.is_empty() && is_optional {
            return 0;
        }
        let mut content = lines.concat().into_bytes();
        if gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&content).unwrap();
            content = encoder.finish().unwrap();
        }
        job.files.insert(name, content);
        lines.len() as u64
    };
    job.stored = if job.body["files"] == "perType" {
        types.iter().map(|known| put(format!("{known}{suffix}"), &[known], true)).sum()
    } else {
        put(format!("{}{suffix}", job.id), &types, false)
    };
    let is_gone = |key: &&(String, String)| !state.records.contains_key(*key) && types.contains(&key.0.as_str());
    let deleted: Vec<_> = state.deleted.iter().filter(is_gone).collect();
    if !job.body["since"].is_null() && !deleted.is_empty() {
        let lines = deleted.iter().map(|(resource_type, id)| {
            json!({"resourceType": resource_type, "id": id, "deletedAt": "2026-01-15T10:00:00.000Z"}).to_string() + "\n"
        });
        job.files.insert("deleted.ndjson".to_owned(), lines.collect::<String>().into_bytes());
    }
    job.ended = Some("completed");
}

pub(super) fn show(id: &str, state: &mut State) -> Reply {
    let Some(at) = state.jobs.iter().position(|job| job.id == id) else {
        return error(404, "NOT_FOUND", "Not found", &[]);
    };
    advance(state, at);
    let job = &mut state.jobs[at];
    if job.ended.is_some() {
        job.completed_at.get_or_insert_with(|| jiff::Timestamp::now().to_string());
    }
    let job = &state.jobs[at];
    let reply = success(200, &document(job, state, true));
    if job.ended.is_some() { reply } else { reply.with("retry-after", "1") }
}

fn document(job: &Job, state: &State, whole: bool) -> Value {
    let claimed = state.claimed_records.filter(|_| job.kind == "export");
    let total = claimed.unwrap_or(job.stored + job.rejected);
    let status = job.ended.unwrap_or("processing");
    let mut document = json!({"id": job.id, "type": job.kind, "status": status, "totalRecords": total,
        "processedRecords": total, "createdAt": job.created_at});
    for name in ["resourceType", "resourceTypes", "label", "since", "format"] {
        if !job.body[name].is_null() {
            document[name] = job.body[name].clone();
        }
    }
    if job.ended.is_some() {
        let cancelled = job.failure.as_deref() == Some("cancelled");
        let outcome = match (status, job.rejected) {
            ("failed", _) if cancelled => "cancelled",
            ("failed", _) => "failed",
            (_, 0) => "succeeded",
            _ => "partial",
        };
        document["outcome"] = json!(outcome);
        document["completedAt"] = json!(job.completed_at);
    }
    if job.kind == "import" {
        document["succeededRecords"] = json!(job.stored);
        document["failedRecords"] = json!(job.rejected);
    } else {
        document["transactionTime"] = json!(state.transaction_time);
    }
    if whole {
        let errors = match (&job.failure, job.ended) {
            (Some(code), Some(_)) => vec![json!({"code": code, "message": "The job failed"})],
            _ => job.errors.clone(),
        };
        document["errors"] = json!(errors);
        document["files"] = job.files.iter().map(|(name, content)| file(job, name, content, state)).collect();
    }
    document
}

fn file(job: &Job, name: &str, content: &[u8], state: &State) -> Value {
    let sha256 = base16ct::lower::encode_string(&Sha256::digest(content));
    let sha256 = if state.capital_hashes { sha256.to_uppercase() } else { sha256 };
    let mut plain = Vec::new();
    if content.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(content).read_to_end(&mut plain).unwrap();
    } else {
        plain = content.to_vec();
    }
    let records = state.claimed_records.unwrap_or(memchr::memchr_iter(b'\n', &plain).count() as u64);
    let mut file = json!({"name": name, "records": records, "bytes": content.len(), "sha256": sha256, "url": "stable"});
    if job.body["files"] == "perType" && name != "deleted.ndjson" {
        file["resourceType"] = json!(name.split('.').next().unwrap());
    }
    file
}

pub(super) fn list(query: &str, state: &State) -> Reply {
    let pairs: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let count: usize = pairs.get("count").map_or(20, |count| count.parse().unwrap());
    let start: usize = pairs.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let is_wanted = |job: &&Job| {
        pairs.get("type").is_none_or(|kinds| kinds.split(',').any(|kind| kind == job.kind))
            && pairs
                .get("status")
                .is_none_or(|wanted| wanted.split(',').any(|one| one == job.ended.unwrap_or("processing")))
    };
    let all: Vec<_> = state.jobs.iter().rev().filter(is_wanted).collect();
    let page: Vec<_> = all.iter().skip(start).take(count).map(|job| document(job, state, false)).collect();
    let next = start + page.len();
    let mut body = json!({"data": page, "hasMore": next < all.len()});
    if next < all.len() {
        body["cursor"] = json!(next.to_string());
    }
    success(200, &body)
}

pub(super) fn cancel(id: &str, state: &mut State) -> Reply {
    let Some(at) = state.jobs.iter().position(|job| job.id == id) else {
        return error(404, "NOT_FOUND", "Not found", &[]);
    };
    let job = &mut state.jobs[at];
    if job.ended.is_none() {
        job.ended = Some("failed");
        job.failure = Some("cancelled".to_owned());
    }
    let document = document(&state.jobs[at], state, true);
    success(200, &document)
}

pub(super) fn delete(id: &str, state: &mut State) -> Reply {
    match state.jobs.iter().position(|job| job.id == id) {
        None => error(404, "NOT_FOUND", "Not found", &[]),
        Some(at) if state.jobs[at].ended.is_none() => error(409, "JOB_NOT_FINISHED", "The job has not ended", &[]),
        Some(at) => {
            state.jobs.remove(at);
            Reply::bytes(204, Vec::new()).with("x-request-id", "req_stub")
        }
    }
}
