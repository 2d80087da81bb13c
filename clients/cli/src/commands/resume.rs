//! Going on with a run, and looking at it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::json;
use transfer::{
    BatchState, ExportState, Figures, ImportRequest, Journal, Manifest, Plan, SourcePlan, StateFolder, Summary,
    source_name,
};

use super::import::{self, Run};
use super::successor::Successor;
use crate::cli::{Global, Resume};
use crate::exit::{Exit, usage};
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::Settings;

pub(super) fn resume(arguments: &Resume, global: &Global, output: &Output) -> Result<Exit> {
    if transfer::is_unfinished(&arguments.state) {
        return super::export::resume(&arguments.state, global, output).map(|()| Exit::Done);
    }
    if let Some(manifest) = Manifest::load(&arguments.state)? {
        return super::export::resume_complete(&arguments.state, &manifest, global, output).map(|()| Exit::Done);
    }
    let folder = StateFolder::open(&arguments.state)?;
    let _lock = output.lock(folder.path())?;
    let request = ImportRequest::load(&folder.request())?;
    if let Some(summary) = Summary::load(&folder)?.filter(|summary| summary.finished) {
        output.say("the import has finished");
        super::show::summary(&summary, output);
        output.event_or_document(&summary)?;
        let too_many = summary.max_rejected.is_exceeded(summary.figures.rejected, summary.figures.read);
        return Ok(if too_many { Exit::Rejected } else { Exit::Done });
    }
    let planned = Plan::load(&folder, &request)?;
    let settings = settings_of(&request, global)?;
    let is_unconfirmed = request.owner.environment == "live" && !request.confirmed;
    if is_unconfirmed && !arguments.yes && !io::stdin().is_terminal() {
        return Err(usage("a live key and nobody to ask: add --yes"));
    }
    let client = settings.client(output)?;
    let (limits, _) = settings.limits(&client)?;
    import::check_tenant(&request.owner, &settings.owner(&limits))?;
    if let Some(first) = &request.retry_of {
        // As when the process died in between.
        match StateFolder::open(first) {
            Ok(_) => Successor::write(first, &folder, true)?,
            Err(_) => output.warn(&format!(
                "{} is gone: nothing keeps its rejected records from being imported once more",
                files::shown(first)
            )),
        }
    }
    let progress = Progress::new(output);
    let (waiting, is_resumed) = (&arguments.waiting, true);
    let run = Run { client: &client, folder: &folder, output, progress: &progress, waiting, is_resumed };
    let Some(plan) = planned.filter(|_| !is_unconfirmed) else {
        // Nothing has been sent yet.
        if let Some(source) = request.from.files().find(|source| is_read_once(&source.path)) {
            let name = source_name(&source.path);
            bail!("{name} was not read to its end and cannot be read again, and nothing was sent: import it anew");
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

/// A run stays with its service and its environment.
pub(super) fn settings_of(request: &ImportRequest, global: &Global) -> Result<Settings> {
    let settings = Settings::resolve(global)?;
    if settings.url != request.owner.url {
        return Err(usage(format!("the import goes to {}, not to {}", request.owner.url, settings.url)));
    }
    if settings.key.environment() != request.owner.environment {
        return Err(usage(format!("the import was begun with a {} key", request.owner.environment)));
    }
    Ok(settings)
}

/// Whether what was read of it is gone, as of stdin and other pipes.
fn is_read_once(path: &Path) -> bool {
    path.as_os_str() == "-" || (path.exists() && !path.is_file())
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
        if is_read_once(path) {
            output.warn(&format!(
                "{} cannot be read again, and is not compared; what is to be sent lies in the state folder",
                source_name(path)
            ));
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
    match edited(folder)?.first() {
        None => Ok(()),
        Some(path) => {
            Err(usage(format!("{} has been edited and would be written anew: move it away first", path.display())))
        }
    }
}

/// The files of rejected records that are no longer as they were written: for the summary, or for the next one, if that was
/// interrupted.
pub(super) fn edited(folder: &StateFolder) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    written.extend(Summary::load(folder)?.into_iter().flat_map(|summary| summary.rejected_files));
    if folder.rejected_sums().exists() {
        let next: BTreeMap<String, String> = files::read_json(&folder.rejected_sums())?;
        written.extend(next);
    }
    let mut edited = Vec::new();
    for name in written.iter().map(|(name, _)| name).collect::<BTreeSet<_>>() {
        let path = folder.path().join(name);
        if path.exists() {
            let found = files::digest(&path)?.0;
            if !written.iter().any(|(known, sha256)| known == name && *sha256 == found) {
                edited.push(path);
            }
        }
    }
    Ok(edited)
}

pub(super) fn status(state: &Path, output: &Output) -> Result<()> {
    if transfer::is_unfinished(state) {
        let export = ExportState::load(state)?;
        let job = export.job_id.clone().unwrap_or_else(|| "not started".to_owned());
        return output.result(&json!({"kind": "export", "finished": false, "jobId": export.job_id}), || {
            format!("export, not complete\njob  {job}\n")
        });
    }
    if let Some(manifest) = Manifest::load(state)? {
        transfer::check_sizes(state, &manifest)?;
        return output.result(&manifest, || {
            format!("export, complete: {} records in {} files\n", manifest.records, manifest.files.len())
        });
    }
    let folder = StateFolder::open(state)?;
    let request = ImportRequest::load(&folder.request())?;
    let Some(plan) = Plan::load(&folder, &request)? else {
        let document = json!({"kind": "import", "run": request.run, "finished": false, "planned": false});
        return output.result(&document, || "import, not planned to the end: nothing was sent\n".to_owned());
    };
    let journal = Journal::read(&folder.journal(), plan.batches.len())?;
    let jobs = plan.batches.iter().zip(journal.states()).map(|(batch, state)| {
        json!({"batch": batch.number, "resourceType": batch.resource_type, "records": batch.records,
            "state": state.name(), "jobId": state.job_id()})
    });
    let jobs: Vec<_> = jobs.collect();
    let finished = journal.states().iter().all(BatchState::is_done);
    let figures = Figures::of(&plan, &journal);
    let Figures { read, stored, rejected, left_out, open } = figures;
    let document = json!({"kind": "import", "run": plan.run, "finished": finished, "read": read, "stored": stored,
        "rejected": rejected, "leftOut": left_out, "open": open, "jobs": jobs});
    output.result(&document, || {
        let state = if finished { "finished" } else { "not finished" };
        let head = format!("import, {state}: {figures}\n");
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
    })
}
