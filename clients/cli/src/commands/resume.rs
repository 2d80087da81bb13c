//! Going on, looking at, and importing again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sources::UnknownColumns;
use transfer::{
    BatchPlan, BatchState, ExportState, ImportRequest, Journal, Manifest, Plan, SourcePlan, StateFolder, Summary,
    files, may_begin_anew, resolve_sources, source_name,
};

use super::import::{self, Run};
use crate::cli::{Global, Reading, Resume, Retry};
use crate::exit::{Exit, usage};
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::Settings;

pub(super) fn resume(arguments: &Resume, global: &Global, output: &Output) -> Result<Exit> {
    if transfer::is_unfinished(&arguments.state) {
        return super::export::resume(&arguments.state, global, output);
    }
    if let Some(manifest) = Manifest::load(&arguments.state)? {
        output.say(&format!("the export is complete: {} records", manifest.records));
        output.event_or_document(&manifest)?;
        return Ok(Exit::Done);
    }
    let folder = StateFolder::open(&arguments.state)?;
    let _lock = folder.lock()?;
    let request = ImportRequest::load(&folder.request())?;
    if let Some(summary) = finished(&folder)? {
        output.say("the import has finished");
        import::say_summary(&summary, output);
        output.event_or_document(&summary)?;
        let too_many = summary.max_rejected.is_exceeded(summary.rejected, summary.read);
        return Ok(if too_many { Exit::Rejected } else { Exit::Done });
    }
    let settings = settings_of(&request, global)?;
    let asks = request.owner.environment == "live" && !request.confirmed && !arguments.yes;
    if asks && !io::stdin().is_terminal() {
        return Err(usage("a live key and nobody to ask: add --yes"));
    }
    let client = settings.client(output)?;
    let planned: Option<Plan> = if folder.plan().exists() { Some(files::read_json(&folder.plan())?) } else { None };
    let (limits, _) = client.limits()?;
    if settings.owner(&limits) != request.owner {
        return Err(usage("the import was begun with a key of another tenant, and its records would go to two"));
    }
    let progress = Progress::new(output);
    let run = Run { client: &client, folder: &folder, output, progress: &progress, waiting: &arguments.waiting };
    let is_open = request.owner.environment == "live" && !request.confirmed;
    let Some(plan) = planned.filter(|_| !is_open) else {
        // Nothing has been sent yet.
        if request.sources.iter().any(|source| source.path.as_os_str() == "-") {
            bail!("stdin was not read to its end, and nothing was sent: import it again");
        }
        return run.plan_and_act(request, Some(&limits), arguments.yes);
    };
    if folder.retried().exists() {
        return Err(usage(
            "its rejected records have been imported again: an older record must not replace one of those",
        ));
    }
    check_sources(&plan, output)?;
    check_edited(&folder)?;
    run.act(&request, &plan)
}

fn finished(folder: &StateFolder) -> Result<Option<Summary>> {
    if !folder.summary().exists() {
        return Ok(None);
    }
    let summary: Summary = files::read_json(&folder.summary())?;
    Ok(Some(summary).filter(|summary| summary.finished))
}

/// The figures of a run that has nothing left to do: all its jobs have ended, well, or so that they cannot begin anew.
fn over(folder: &StateFolder) -> Result<Option<Summary>> {
    if !folder.plan().exists() || !folder.summary().exists() {
        return Ok(None);
    }
    let plan: Plan = files::read_json(&folder.plan())?;
    let journal = Journal::read(&folder.journal(), plan.batches.len())?;
    let is_over = |(batch, state): (&BatchPlan, &BatchState)| {
        state.is_done() || (state.trouble().is_some() && !may_begin_anew(batch, state))
    };
    let summary: Summary = files::read_json(&folder.summary())?;
    // A summary that is older than the last step does not know what that step has brought.
    let is_newest = summary.ended_at == journal.times().1;
    Ok(Some(summary).filter(|_| is_newest && plan.batches.iter().zip(journal.states()).all(is_over)))
}

/// A run stays with its service and its environment.
fn settings_of(request: &ImportRequest, global: &Global) -> Result<Settings> {
    let settings = Settings::resolve(global)?;
    if settings.url != request.owner.url {
        return Err(usage(format!("the import goes to {}, not to {}", request.owner.url, settings.url)));
    }
    if settings.key.environment() != request.owner.environment {
        return Err(usage(format!("the import was begun with a {} key", request.owner.environment)));
    }
    Ok(settings)
}

/// The line numbers of all reports are those of the sources as they were.
fn check_sources(plan: &Plan, output: &Output) -> Result<()> {
    let files = plan.sources.iter().filter(|source| source.path.as_os_str() != "-");
    for SourcePlan { path, sha256, .. } in files {
        if !path.exists() {
            // What is to be sent lies in the state folder.
            output.warn(&format!("{} is not there any more; the import goes on without it", source_name(path)));
            continue;
        }
        let found = files::digest(path)?;
        if found.0 != *sha256 {
            bail!(
                "{} has changed since the import was planned; put the old file back, or import the new one as a new run",
                source_name(path)
            );
        }
    }
    Ok(())
}

/// The reports are written anew: what somebody has fixed in them must not be lost.
fn check_edited(folder: &StateFolder) -> Result<()> {
    if !folder.summary().exists() {
        return Ok(());
    }
    let summary: Summary = files::read_json(&folder.summary())?;
    for (name, sha256) in &summary.rejected_files {
        let path = folder.path().join(name);
        if path.exists() && files::digest(&path)?.0 != *sha256 {
            return Err(usage(format!(
                "{} has been edited and would be written anew: move it away first",
                path.display()
            )));
        }
    }
    Ok(())
}

pub(super) fn status(state: &Path, output: &Output) -> Result<Exit> {
    if transfer::is_unfinished(state) {
        let export = ExportState::load(state)?;
        let job = export.job_id.clone().unwrap_or_else(|| "not started".to_owned());
        output.result(&json!({"kind": "export", "finished": false, "jobId": export.job_id}), || {
            format!("export, not complete\njob  {job}\n")
        })?;
        return Ok(Exit::Done);
    }
    if let Some(manifest) = Manifest::load(state)? {
        output.result(&manifest, || {
            format!("export, complete: {} records in {} files\n", manifest.records, manifest.files.len())
        })?;
        return Ok(Exit::Done);
    }
    let folder = StateFolder::open(state)?;
    let request = ImportRequest::load(&folder.request())?;
    if !folder.plan().exists() {
        output.result(&json!({"kind": "import", "run": request.run, "finished": false, "planned": false}), || {
            "import, not planned to the end: nothing was sent\n".to_owned()
        })?;
        return Ok(Exit::Done);
    }
    let plan: Plan = files::read_json(&folder.plan())?;
    let journal = Journal::read(&folder.journal(), plan.batches.len())?;
    let (mut stored, mut rejected) = (0, plan.rejected());
    let mut jobs = Vec::new();
    for (batch, state) in plan.batches.iter().zip(journal.states()) {
        if let Some((new, bad)) = state.counts().filter(|_| state.is_done()) {
            stored += new;
            rejected += bad;
        }
        jobs.push(json!({"batch": batch.number, "resourceType": batch.resource_type, "records": batch.records,
            "state": state.name(), "jobId": state.job_id()}));
    }
    let finished = journal.states().iter().all(BatchState::is_done);
    let open = plan.read().saturating_sub(stored + rejected);
    let document = json!({"kind": "import", "run": plan.run, "finished": finished, "read": plan.read(),
        "stored": stored, "rejected": rejected, "open": open, "jobs": jobs});
    output.result(&document, || {
        let state = if finished { "finished" } else { "not finished" };
        let head =
            format!("import, {state}: {} read = {stored} stored + {rejected} rejected + {open} open\n", plan.read());
        let rows = plan.batches.iter().zip(journal.states()).map(|(batch, state)| {
            vec![
                format!("{:04}", batch.number),
                batch.resource_type.to_string(),
                format!("{} records", batch.records),
                state.name().to_owned(),
                state.job_id().unwrap_or_default().to_owned(),
            ]
        });
        format!("{head}{}", crate::output::columns(&rows.collect::<Vec<_>>()))
    })?;
    Ok(Exit::Done)
}

/// What an import's rejected records became, written down before any of them is sent again.
#[derive(Serialize, Deserialize)]
struct Retried {
    /// The state folder of the import that took them.
    folder: PathBuf,
}

pub(super) fn retry(arguments: &Retry, global: &Global, output: &Output) -> Result<Exit> {
    let folder = StateFolder::open(&arguments.of)?;
    let _lock = folder.lock()?;
    let Some(summary) = over(&folder)? else {
        return Err(usage("the import has not finished; resume it first"));
    };
    if summary.rejected_files.is_empty() {
        return Err(usage(match summary.rejected {
            0 => "the import has rejected nothing",
            _ => "which records were rejected cannot be told: the reports of a job are gone",
        }));
    }
    check_retried(&folder, output)?;
    let names: Vec<_> = summary.rejected_files.keys().map(String::as_str).collect();
    let is_as_it_was = |(name, sha256): (&String, &String)| -> Result<bool> {
        let path = folder.path().join(name);
        Ok(!path.exists() || files::digest(&path)?.0 == *sha256)
    };
    if summary.rejected_files.iter().map(is_as_it_was).collect::<Result<Vec<_>>>()?.iter().all(|same| *same) {
        return Err(usage(format!("{} is as it was: fix the records first", names.join(", "))));
    }
    let what = if summary.rejected_files.contains_key("rejected.ndjson") {
        let plan: Plan = files::read_json(&folder.plan())?;
        let resource_type = rejected_type(&folder, &plan)?;
        vec![PathBuf::from(resource_type), folder.rejected()]
    } else {
        vec![folder.rejected_folder()]
    };
    warn_of_stored(&folder, &summary, output)?;
    let reading = Reading { format: None, map: None, encoding: None, unknown: UnknownColumns::Error };
    let begun = |new: &StateFolder| files::write_json(&folder.retried(), &Retried { folder: new.path().to_owned() });
    let run = import::Begin { reading: &reading, acting: &arguments.acting, other_tenant: false };
    import::start(resolve_sources(&what, None)?, &run, global, output, &begun)
}

/// A rejected record may have the id of one that was stored, from another line: what is imported last stays.
fn warn_of_stored(folder: &StateFolder, summary: &Summary, output: &Output) -> Result<()> {
    // Of the two lists the one that is kept in memory is that of the few.
    let mut rejected = BTreeSet::new();
    for name in summary.rejected_files.keys() {
        each_id(&folder.path().join(name), |id| rejected.extend([id]))?;
    }
    let mut stored = BTreeSet::new();
    each_id(&folder.ids(), |id| stored.extend(rejected.take(&id)))?;
    if !stored.is_empty() {
        output.warn(&format!(
            "{} of the repaired records have ids under which the import has stored other lines: those of the same type are \
             replaced now",
            stored.len()
        ));
    }
    Ok(())
}

/// Every id in a file of JSON lines. Lines without one, and what is no JSON, are passed over.
fn each_id(path: &Path, mut each: impl FnMut(String)) -> Result<()> {
    let context = || format!("read {}", path.display());
    if !path.exists() {
        return Ok(());
    }
    for line in BufReader::new(File::open(path).with_context(context)?).split(b'\n') {
        let record: serde_json::Value = serde_json::from_slice(&line.with_context(context)?).unwrap_or_default();
        if let Some(id) = record.get("id").and_then(serde_json::Value::as_str) {
            each(id.to_owned());
        }
    }
    Ok(())
}

/// Records without ids that are sent twice are stored twice. Only a folder that cannot be resumed has sent nothing.
fn check_retried(folder: &StateFolder, output: &Output) -> Result<()> {
    if !folder.retried().exists() {
        return Ok(());
    }
    let Retried { folder: earlier } = files::read_json(&folder.retried())?;
    if !earlier.exists() {
        return Err(usage(format!(
            "these records were imported again with the state folder {}, which is gone: what was stored cannot be told. If you \
             know that nothing was, remove {}",
            earlier.display(),
            folder.retried().display()
        )));
    }
    if StateFolder::open(&earlier).is_err() {
        return Ok(());
    }
    Err(usage(format!(
        "these records are being imported again, or were: go on with {}; what it rejects, fix there, and run {}",
        output.next("resume", &earlier),
        output.next("retry", &earlier)
    )))
}

/// The one type of the rejected records.
fn rejected_type(folder: &StateFolder, plan: &Plan) -> Result<String> {
    let held = records::ResourceType::ALL.iter().find(|known| folder.held(**known, "records").exists());
    let reported = || plan.batches.iter().find(|batch| folder.reported(batch.number, "rejected").exists());
    let found = held.copied().or_else(|| reported().map(|batch| batch.resource_type));
    Ok(found.context("the type of the rejected records is not known")?.to_string())
}
