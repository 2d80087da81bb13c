//! What a plan and a summary say, for people and as documents.

use std::path::Path;

use clinikapi::Limits;
use fhir::LossLine;
use records::ResourceType;
use serde_json::json;
use transfer::{FhirPlan, Plan, SourcePlan, StateFolder, Summary, source_name};

use crate::output::{Output, OutputFormat};
use crate::progress::megabytes;

/// So many files are listed, whatever is in them.
const MAX_FILES: usize = 20;
/// So many kinds of violations are listed, the most frequent first.
const MAX_VIOLATIONS: usize = 10;
/// So many lost elements that do not change a record's meaning are listed, the most frequent first.
const MAX_LOSSES: usize = 20;

/// The figures, for people.
pub(super) fn summary(summary: &Summary, output: &Output) {
    output.say(&summary.figures.to_string());
    for violation in summary.violations.iter().take(MAX_VIOLATIONS) {
        let column = violation.column.as_ref().map(|column| format!("column \"{column}\"")).unwrap_or_default();
        let of = violation.resource_type.map(ResourceType::as_str).unwrap_or_default();
        let place = [of, &column, &violation.path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        let place = if place.is_empty() { String::new() } else { format!("{} ", place.join(" ")) };
        output.say(&format!("  {} × {place}[{}]", violation.count, violation.code));
    }
    if summary.violations.len() > MAX_VIOLATIONS {
        output.say(&format!("  … and {} kinds more, in report.html", summary.violations.len() - MAX_VIOLATIONS));
    }
    let folder = files::shown(&summary.folder);
    let unread = summary.fhir.as_ref().map_or(0, |fhir| fhir.refused + fhir.unsupported.values().sum::<u64>());
    if unread > 0 {
        output.say(&format!(
            "resources that no records were made of: {folder}/refused.ndjson and unsupported.ndjson, and why in errors.ndjson; \
             whoever fixes the first imports it with --format fhir"
        ));
    }
    let rejected = summary.figures.rejected - unread;
    if rejected > 0 && summary.rejected_files.is_empty() {
        output.say("which records were rejected cannot be told: the reports of a job are gone");
    } else if rejected > 0 && !summary.finished {
        // How to go on is said once, and that is another command.
        output.say(&format!("what is wrong with the rejected records stands in {folder}/errors.ndjson"));
    } else if rejected > 0 {
        let files: Vec<_> = summary.rejected_files.keys().map(|name| format!("{folder}/{name}")).collect();
        output.say(&format!(
            "what is wrong stands in {folder}/errors.ndjson; fix the records in {} (as the service reads them: a map is \
             not applied again) and run: {}",
            files.join(", "),
            output.next("retry", &summary.folder)
        ));
        let rows = StateFolder::open(&summary.folder).and_then(|folder| folder.all_rejected_rows()).unwrap_or_default();
        for path in rows {
            output.say(&format!("rejected rows as they came, each with what is wrong: {}", files::shown(&path)));
        }
    }
    output.say(&format!("report: {}", files::shown(&summary.folder.join("report.html"))));
}

/// What was read, file by file, and what is no error and can hardly be meant.
pub(super) fn sources(plan: &Plan, output: &Output) {
    // Of many files those are listed of which there is something to say.
    let is_listed = |source: &&SourcePlan| {
        plan.sources.len() <= MAX_FILES || source.rejected + source.left_out + source.blank_rows > 0
    };
    let (listed, others): (Vec<_>, Vec<_>) = plan.sources.iter().partition(is_listed);
    for source in listed {
        let left_out = if source.left_out > 0 { format!(", {} left out", source.left_out) } else { String::new() };
        let blank = if source.blank_rows > 0 { format!(", {} empty rows", source.blank_rows) } else { String::new() };
        output.say(&format!(
            "{}: {} records, {} rejected{left_out}{blank} ({})",
            files::shown(Path::new(&source_name(&source.path))),
            source.records,
            source.rejected,
            megabytes(source.bytes)
        ));
    }
    if !others.is_empty() {
        let records: u64 = others.iter().map(|source| source.records).sum();
        output.say(&format!("{} other files: {records} records, 0 rejected", others.len()));
    }
    for warning in &plan.warnings {
        output.say(&format!("note: {warning}"));
    }
    if let Some(fhir) = &plan.fhir {
        of_fhir(fhir, output);
    }
    if plan.without_id() > 0 {
        output.say(&format!(
            "note: {} records have no id and get one from the service: imported again, they are stored again",
            plan.without_id()
        ));
    }
}

/// What is lost of FHIR's resources, and which have no records.
fn of_fhir(FhirPlan { unsupported, losses, .. }: &FhirPlan, output: &Output) {
    let listed = losses.iter().filter(|loss| loss.modifier).count() + MAX_LOSSES;
    for LossLine { resource_type, element, records, kept, modifier } in losses.iter().take(listed) {
        let kept = if *kept { "kept in x-fhir" } else { "left out" };
        let meaning = if *modifier { "; it changes what they mean: --unmapped drop names them" } else { "" };
        output.say(&format!("no member for {resource_type} {element}: {records} records, {kept}{meaning}"));
    }
    let more = losses.len().saturating_sub(listed);
    if more > 0 {
        output.say(&format!("… and {more} elements more: --output json, and an import's report.html, list all"));
    }
    for (name, count) in unsupported {
        output.say(&format!("no records here for {name}: {count} resources"));
    }
}

pub(super) fn plan(plan: &Plan, limits: Option<&Limits>, output: &Output) {
    if output.format() != OutputFormat::Text {
        return;
    }
    sources(plan, output);
    let month = limits.and_then(|limits| limits.requests_per_month.remaining);
    if let Some(left) = month.filter(|left| *left < plan.to_send()) {
        output.warn(&format!(
            "the month has {left} requests left, and every record takes one: the import will stop there until the next month"
        ));
    }
    if plan.deleted > 0 {
        output.warn(&format!(
            "the exports name {} records as deleted: lines from before that are left out; what of them this tenant has already \
             stays, and its operator deletes it",
            plan.deleted
        ));
    }
    let jobs = plan.batches.len();
    output.say(&format!(
        "plan: {} records in {} {}{}",
        plan.to_send(),
        jobs,
        if jobs == 1 { "job" } else { "jobs" },
        hours(plan, limits)
    ));
}

/// How long it takes at the tenant's limit.
fn hours(plan: &Plan, limits: Option<&Limits>) -> String {
    let Some(limits) = limits else { return String::new() };
    let operations = &limits.bulk_operations;
    let (Some(limit), Some(remaining)) = (operations.limit.filter(|limit| *limit > 0), operations.remaining) else {
        return ", without an hourly limit".to_owned();
    };
    let jobs = plan.batches.len() as u64;
    if jobs <= remaining {
        return format!(", all within this hour ({remaining} of {limit} operations left)");
    }
    let hours = (jobs - remaining).div_ceil(limit);
    format!(", about {hours} h at {limit} operations an hour ({remaining} left now)")
}

pub(super) fn plan_event(plan: &Plan, limits: Option<&Limits>) -> serde_json::Value {
    let operations = limits.map(|limits| &limits.bulk_operations);
    json!({"event": "plan", "run": plan.run, "records": plan.read(), "rejected": plan.rejected(),
        "leftOut": plan.left_out(), "deleted": plan.deleted, "withoutId": plan.without_id(), "warnings": plan.warnings, "fhir": plan.fhir, "toSend": plan.to_send(), "jobs": plan.batches.len(), "sources": plan.sources, "batches": plan.batches,
        "recordsLeftThisMonth": limits.and_then(|limits| limits.requests_per_month.remaining),
        "operationsPerHour": operations.and_then(|operations| operations.limit),
        "operationsLeft": operations.and_then(|operations| operations.remaining)})
}
