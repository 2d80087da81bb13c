//! Importing again what was rejected and has been repaired.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use records::ResourceType;
use transfer::{
    BatchPlan, BatchState, ImportRequest, Journal, Plan, Reading, StateFolder, Summary, may_begin_anew, resolve_sources,
};

use super::import;
use super::resume::{edited, settings_of};
use super::successor::Successor;
use crate::cli::{Global, Retry};
use crate::exit::{Exit, usage};
use crate::output::Output;

pub(super) fn retry(arguments: &Retry, global: &Global, output: &Output) -> Result<Exit> {
    let folder = StateFolder::open(&arguments.of)?;
    let _lock = output.lock(folder.path())?;
    let first = ImportRequest::load(&folder.request())?;
    // The service and the environment; the tenant is known once the service has been asked.
    let _same = settings_of(&first, global)?;
    let Some((plan, summary)) = over(&folder, &first)? else {
        return Err(usage("the import has not finished; resume it first"));
    };
    if summary.rejected_files.is_empty() {
        return Err(usage(match summary.figures.rejected {
            0 => "the import has rejected nothing",
            _ if folder.refused().exists() || folder.unsupported().exists() => {
                "what was refused is no records yet: fix the resources in refused.ndjson, and import that with --format fhir"
            }
            _ => "which records were rejected cannot be told: the reports of a job are gone",
        }));
    }
    check_retried(&folder, output)?;
    if edited(&folder)?.is_empty() {
        let names: Vec<_> = summary.rejected_files.keys().map(String::as_str).collect();
        return Err(usage(format!("nothing has changed in {}: fix the records first", names.join(", "))));
    }
    let what = if summary.rejected_files.contains_key("rejected.ndjson") {
        let resource_type = rejected_type(&folder, &plan)?;
        vec![PathBuf::from(resource_type.as_str()), folder.rejected()]
    } else {
        vec![folder.rejected_folder()]
    };
    warn_of_stored(&folder, &plan, &summary, output)?;
    let of = import::Retried { first: folder.path(), owner: &first.owner };
    let (reading, acting) = (Reading::default(), &arguments.acting);
    let run = import::Begin { reading, acting, other_tenant: false, of: Some(of) };
    import::start(resolve_sources(&what, None, false)?, run, global, output)
}

/// The plan and the figures of a run that has nothing left to do: all its jobs have ended, well, or so that they cannot begin anew.
fn over(folder: &StateFolder, request: &ImportRequest) -> Result<Option<(Plan, Summary)>> {
    let Some(plan) = Plan::load(folder, request)? else { return Ok(None) };
    let Some(summary) = Summary::load(folder)? else { return Ok(None) };
    let journal = Journal::read(&folder.journal(), plan.batches.len())?;
    let is_over = |(batch, state): (&BatchPlan, &BatchState)| {
        state.is_done() || (state.trouble().is_some() && !may_begin_anew(batch, state))
    };
    // A summary that is older than the last step does not know what that step has brought.
    let is_newest = summary.ended_at == journal.times().1;
    let is_over = is_newest && plan.batches.iter().zip(journal.states()).all(is_over);
    Ok(is_over.then_some((plan, summary)))
}

/// A rejected record may have the id of one that was stored, from another line: what is imported last stays.
fn warn_of_stored(folder: &StateFolder, plan: &Plan, summary: &Summary, output: &Output) -> Result<()> {
    // Of the two lists the one that is kept in memory is that of the few.
    let mut rejected = BTreeSet::new();
    for name in summary.rejected_files.keys() {
        // Of several types each has a file of its own.
        let of = Path::new(name).file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let of = of.map_or_else(|| rejected_type(folder, plan), Ok)?;
        each_id(&folder.path().join(name), |_, id| rejected.extend([(of, id)]))?;
    }
    let mut stored = BTreeSet::new();
    each_id(&folder.ids(), |of, id| stored.extend(of.and_then(|of| rejected.take(&(of, id)))))?;
    if !stored.is_empty() {
        output.warn(&format!(
            "{} of the rejected records have ids under which the import has stored other lines: these are replaced now",
            stored.len()
        ));
    }
    Ok(())
}

/// Every id in a file of JSON lines, with the type that its line names. Lines without one, and what is no JSON, are passed over.
fn each_id(path: &Path, mut each: impl FnMut(Option<ResourceType>, String)) -> Result<()> {
    let context = || format!("read {}", path.display());
    if !path.exists() {
        return Ok(());
    }
    for line in BufReader::new(File::open(path).with_context(context)?).split(b'\n') {
        let record: serde_json::Value = serde_json::from_slice(&line.with_context(context)?).unwrap_or_default();
        if let Some(id) = record.get("id").and_then(serde_json::Value::as_str) {
            let of = record.get("resourceType").and_then(serde_json::Value::as_str);
            each(of.and_then(|of| of.parse().ok()), id.to_owned());
        }
    }
    Ok(())
}

/// Records without ids that are sent twice are stored twice. Only an import that has not begun has sent nothing.
fn check_retried(folder: &StateFolder, output: &Output) -> Result<()> {
    if !folder.retried().exists() {
        return Ok(());
    }
    let Successor { folder: earlier, begun } = Successor::read(folder)?;
    if StateFolder::open(&earlier).is_err() {
        if earlier.exists() && !begun {
            return Ok(());
        }
        return Err(usage(format!(
            "these records were imported again with the state folder {}, which is gone or empty: what was stored cannot be told. \
             If you know that nothing was, remove {}",
            earlier.display(),
            folder.retried().display()
        )));
    }
    Err(usage(format!(
        "these records are being imported again, or were: go on with {}; what it rejects, fix there, and run {}",
        output.next("resume", &earlier),
        output.next("retry", &earlier)
    )))
}

/// The one type of the rejected records.
fn rejected_type(folder: &StateFolder, plan: &Plan) -> Result<ResourceType> {
    let held = ResourceType::ALL.iter().find(|known| folder.held(**known, "records").exists());
    let reported = || plan.batches.iter().find(|batch| folder.reported(batch.number, "rejected").exists());
    let found = held.copied().or_else(|| reported().map(|batch| batch.resource_type));
    found.context("the type of the rejected records is not known")
}
