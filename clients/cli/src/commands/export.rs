//! Exports and downloads.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use clinikapi::{Client, JobStatus};
use files::FolderLock;
use records::ResourceType;
use serde_json::{Value, json};
use transfer::{ExportState, Exporter, Manifest, Owner, StateFolder};

use crate::cli::{Export, ExportFormat, Global};
use crate::exit::{Exit, Failure, usage};
use crate::output::{self, Output, OutputFormat};
use crate::progress::Progress;
use crate::settings::Settings;

pub(super) fn export(arguments: &Export, global: &Global, output: &Output) -> Result<()> {
    let to_stdout = arguments.out == Path::new("-");
    if to_stdout && (arguments.per_type || arguments.format == ExportFormat::Fhir) {
        return Err(usage("--per-type and --format fhir write several files: name a folder"));
    }
    if to_stdout && arguments.since_last {
        return Err(usage("--since-last looks at earlier exports: name their folder"));
    }
    if to_stdout && output.format() != OutputFormat::Text {
        return Err(usage("stdout takes the records, or --output, not both"));
    }
    if !to_stdout && (Manifest::load(&arguments.out)?.is_some() || transfer::is_unfinished(&arguments.out)) {
        return Err(usage(format!("{} is an export itself: name the folder above it", arguments.out.display())));
    }
    let settings = Settings::resolve(global)?;
    let client = settings.client(output)?;
    let types = types(arguments);
    let progress = Progress::new(output);
    let exporter = Exporter { client: &client, events: &progress };
    if to_stdout {
        // A wrong key or address shows at once, and is not waited out.
        let _reached = settings.limits(&client)?;
        let body = body(arguments, &types, arguments.since.clone());
        let job_id = exporter.start(&body, &clinikapi::new_key()?)?;
        // What went to stdout already is a part, and nobody keeps where it ends.
        let download = output.next(&format!("download {job_id} --out"), Path::new("FOLDER"));
        Output::on_interrupt(&format!("the export goes on: have it from its beginning with: {download}"));
        let job = exporter.wait(&job_id)?;
        transfer::check_answer(&job, &body)?;
        progress.finish();
        return output::piped(exporter.to_writer(&job, &mut io::stdout().lock()));
    }
    let owner = settings.owner(&settings.limits(&client)?.0);
    let since = match (&arguments.since, arguments.since_last) {
        (Some(since), _) => Some(since.clone()),
        (None, true) => since_last(arguments, &types, &owner, output)?,
        (None, false) => None,
    };
    let body = body(arguments, &types, since);
    let folder = transfer::new_folder(&arguments.out)?;
    let _lock = output.lock(&folder)?;
    let state = ExportState { version: transfer::VERSION, body, key: clinikapi::new_key()?, job_id: None, owner };
    state.store(&folder)?;
    finish(&exporter, &progress, output, &folder, state)
}

/// The types to export, each once, in the order in which they were named.
fn types(arguments: &Export) -> Vec<&'static str> {
    let named = if arguments.all { ResourceType::ALL } else { arguments.types.as_slice() };
    let mut seen = BTreeSet::new();
    named.iter().filter(|known| seen.insert(**known)).map(|known| known.as_str()).collect()
}

fn body(arguments: &Export, types: &[&str], since: Option<String>) -> Value {
    let is_per_type = arguments.per_type || arguments.format == ExportFormat::Fhir;
    let members = [
        ("resourceTypes", Some(json!(types))),
        ("since", since.map(Value::from)),
        ("label", arguments.label.clone().map(Value::from)),
        ("format", arguments.format.name().map(Value::from)),
        ("files", is_per_type.then(|| json!("perType"))),
        ("compression", arguments.gzip.then(|| json!("gzip"))),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Where the newest complete export in the folder ends. Without one, everything is exported.
fn since_last(arguments: &Export, types: &[&str], owner: &Owner, output: &Output) -> Result<Option<String>> {
    let chain = transfer::newest(&arguments.out, types, owner, arguments.format.name())?;
    // All that a restore will need has to be there: a file that is missing is not for ever with the service.
    for (folder, manifest) in &chain {
        transfer::check_sizes(folder, manifest)
            .with_context(|| format!("mend it first, with: {}", output.next("resume", folder)))?;
    }
    let newest = chain.last();
    match newest {
        Some((_, manifest)) => {
            output.say(&format!(
                "since {}, six minutes before the last export began: what changed in them comes again, so that nothing is missed",
                manifest.transaction_time
            ));
        }
        None => output.say("no complete export of these types is there yet: exporting everything"),
    }
    Ok(newest.map(|(_, manifest)| manifest.transaction_time.clone()))
}

fn finish(
    exporter: &Exporter<'_>,
    progress: &Progress,
    output: &Output,
    folder: &Path,
    state: ExportState,
) -> Result<()> {
    Output::on_interrupt(&format!("go on with: {}", output.next("resume", folder)));
    let done = exporter.to_folder(folder, state);
    progress.finish();
    match done {
        Ok(manifest) => report(&manifest, folder, output),
        Err(error) => {
            // A job that has failed does not come back; anything else may be gone on with.
            let is_over = matches!(error.downcast_ref(), Some(Failure::JobFailed(_)));
            let job_id = ExportState::load(folder).ok().and_then(|state| state.job_id);
            if is_over {
                ExportState::remove(folder)?;
                FolderLock::remove(folder)?;
                std::fs::remove_dir(folder).unwrap_or(());
            } else {
                output.say(&format!("go on with: {}", output.next("resume", folder)));
            }
            if output.format() == OutputFormat::Json {
                output.document(&json!({"error": output::error_value(&error), "jobs": [{"jobId": job_id}],
                    "folder": folder, "exitCode": crate::exit::of_error(&error).code()}))?;
            }
            Err(error)
        }
    }
}

fn report(manifest: &Manifest, folder: &Path, output: &Output) -> Result<()> {
    output.say(&format!("{} records in {}, verified", manifest.records, files::shown(folder)));
    let more = json!({"event": "summary", "folder": folder, "exitCode": Exit::Done.code()});
    output.event_or_document(&output::with(serde_json::to_value(manifest)?, more))
}

/// A client for the owner of an export, and for nobody else.
fn client_of(owner: &Owner, global: &Global, output: &Output) -> Result<Client> {
    let settings = Settings::resolve(global)?;
    let Owner { url, environment, .. } = owner;
    if settings.url != *url || settings.key.environment() != *environment {
        return Err(usage(format!("the export is of {url}, with a {environment} key")));
    }
    let client = settings.client(output)?;
    if settings.owner(&settings.limits(&client)?.0) != *owner {
        return Err(usage("the export is another tenant's: use a key of that one"));
    }
    Ok(client)
}

/// A complete export is what its manifest says, or is made so.
pub(super) fn resume_complete(folder: &Path, manifest: &Manifest, global: &Global, output: &Output) -> Result<()> {
    let _lock = output.lock(folder)?;
    let damaged = transfer::damaged(folder, manifest)?;
    for path in &damaged {
        output.warn(&format!("{} is not the file of its manifest: fetching it anew", files::shown(path)));
    }
    if !damaged.is_empty() {
        let client = client_of(&manifest.owner, global, output)?;
        let progress = Progress::new(output);
        let mended = Exporter { client: &client, events: &progress }.mend(folder, manifest);
        progress.finish();
        mended?;
    }
    transfer::write_sums(folder, &manifest.files)?;
    output.say(&format!("the export is complete: {} records", manifest.records));
    output.event_or_document(&manifest)
}

pub(super) fn resume(folder: &Path, global: &Global, output: &Output) -> Result<()> {
    let _lock = output.lock(folder)?;
    let state = ExportState::load(folder)?;
    let client = client_of(&state.owner, global, output)?;
    let progress = Progress::new(output);
    finish(&Exporter { client: &client, events: &progress }, &progress, output, folder, state)
}

/// An export that is not complete in the folder of a download, which completes it: no other job's files may.
fn unfinished(out: &Path, job: &str, owner: &Owner) -> Result<Option<ExportState>> {
    let other = || usage(format!("{} belongs to another job: name another folder", out.display()));
    if Manifest::load(out)?.is_some_and(|manifest| manifest.job_id != job) || StateFolder::open(out).is_ok() {
        return Err(other());
    }
    if !transfer::is_unfinished(out) {
        return Ok(None);
    }
    let state = ExportState::load(out)?;
    if state.job_id.as_deref() == Some(job) && state.owner == *owner { Ok(Some(state)) } else { Err(other()) }
}

pub(super) fn download(job: &str, out: &Path, global: &Global, output: &Output) -> Result<()> {
    let settings = Settings::resolve(global)?;
    let client = settings.client(output)?;
    let polled = client.job(job)?;
    match polled.job.status {
        JobStatus::Completed => {}
        JobStatus::Failed => {
            return Err(Failure::JobFailed(format!("job {job} failed: {}", polled.job.reason())).into());
        }
        JobStatus::Pending | JobStatus::Processing => {
            let message = format!("job {job} has not ended; wait with: clinik-bulk jobs watch {job}");
            return Err(Failure::Unfinished(message).into());
        }
    }
    let owner = settings.owner(&settings.limits(&client)?.0);
    files::create_private_folder(out)?;
    if let Some(within) = transfer::first_within(out)? {
        return Err(usage(format!(
            "{} holds exports, as {}: name a folder of its own for the download",
            out.display(),
            files::shown(&within)
        )));
    }
    let _lock = output.lock(out)?;
    let progress = Progress::new(output);
    let exporter = Exporter { client: &client, events: &progress };
    if let Some(state) = unfinished(out, job, &owner)? {
        return finish(&exporter, &progress, output, out, state);
    }
    let manifest = exporter.download(out, &polled.job, &owner)?;
    progress.finish();
    report(&manifest, out, output)
}
