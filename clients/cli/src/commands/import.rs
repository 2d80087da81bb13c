//! Imports: plan, show, ask, act.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clinikapi::{Client, Limits};
use serde_json::json;
use transfer::{
    BuildInput, Driver, ImportRequest, Journal, Memory, Owner, Plan, SourceRequest, Sources, StateFolder, Stop,
    Summary, resolve_sources, source_name, summarise,
};

use super::show;
use super::successor::Successor;
use crate::cli::{Acting, Global, Import, Reading, Waiting};
use crate::exit::{Exit, Failure, usage};
use crate::output::{Output, error_value, with};
use crate::progress::Progress;
use crate::settings::Settings;

pub(super) fn import(arguments: &Import, global: &Global, output: &Output) -> Result<Exit> {
    let sources = resolve_sources(&arguments.what.all(), arguments.reading.format, arguments.incomplete)?;
    if arguments.dry_run {
        return dry_run(arguments, &sources, global, output);
    }
    check_state(arguments)?;
    let run = Begin {
        reading: check(&sources, &arguments.reading, global)?,
        acting: &arguments.acting,
        other_tenant: arguments.other_tenant,
        of: None,
    };
    start(sources, run, global, output)
}

/// How a run begins.
pub(super) struct Begin<'a> {
    pub(super) reading: transfer::Reading,
    pub(super) acting: &'a Acting,
    /// Whether exports of another tenant or environment may be imported.
    pub(super) other_tenant: bool,
    /// The import whose rejected records these are.
    pub(super) of: Option<Retried<'a>>,
}

/// An import whose rejected records are imported again.
pub(super) struct Retried<'a> {
    /// Its state folder.
    pub(super) first: &'a Path,
    /// Whose records they are: nobody else's.
    pub(super) owner: &'a Owner,
}

/// The records of one run go to one tenant.
pub(super) fn check_tenant(begun: &Owner, now: &Owner) -> Result<()> {
    if begun == now {
        return Ok(());
    }
    Err(usage("the import was begun with a key of another tenant, and its records would go to two"))
}

/// A folder that is imported holds what it holds, also afterwards: the run's own folder lies elsewhere.
fn check_state(arguments: &Import) -> Result<()> {
    let state = arguments.acting.state.clone().unwrap_or_else(|| PathBuf::from("state"));
    let beside = std::path::absolute(&state).ok().and_then(|state| state.parent().map(Path::to_owned));
    let Some(beside) = beside.and_then(|beside| beside.canonicalize().ok()) else { return Ok(()) };
    if arguments.what.folders().filter_map(|folder| folder.canonicalize().ok()).any(|folder| beside.starts_with(folder))
    {
        return Err(usage(
            "the state folder would lie in the folder that is imported: name another place with --state, or change into one",
        ));
    }
    Ok(())
}

/// A backup goes back to whom it is of, unless somebody says otherwise.
fn check_owner(sources: &Sources, owner: &Owner) -> Result<()> {
    let is_of_others = |of: &Owner| !of.is_same(owner);
    let is_foreign = |source: &&SourceRequest| source.export.as_ref().is_some_and(|of| is_of_others(&of.owner));
    match sources.files().find(is_foreign) {
        Some(source) => Err(usage(format!(
            "{} is an export of another tenant or environment than the key's: add --other-tenant if that is meant",
            source_name(&source.path)
        ))),
        None => Ok(()),
    }
}

/// Begins a run of its own.
pub(super) fn start(
    sources: Sources,
    Begin { reading, acting, other_tenant, of }: Begin<'_>,
    global: &Global,
    output: &Output,
) -> Result<Exit> {
    let settings = Settings::resolve(global)?;
    let reads_stdin = sources.files().any(|source| source.path.as_os_str() == "-");
    if settings.key.environment() == "live" && !acting.yes && (reads_stdin || !io::stdin().is_terminal()) {
        return Err(usage("a live key and nobody to ask: add --yes"));
    }
    // Before a folder is made for nothing.
    super::offline::check(&sources, &reading, output)?;
    let client = settings.client(output)?;
    // A wrong key or address shows before anything is read.
    let (limits, _) = settings.limits(&client)?;
    let owner = settings.owner(&limits);
    if let Some(of) = &of {
        check_tenant(of.owner, &owner)?;
    }
    if !other_tenant {
        check_owner(&sources, &owner)?;
    }
    let request = ImportRequest {
        version: transfer::VERSION,
        run: new_run()?,
        from: sources,
        reading,
        label: acting.label.clone(),
        max_rejected: acting.max_rejected,
        owner,
        retry_of: of.as_ref().map(|of| of.first.to_owned()),
        confirmed: acting.yes,
    };
    let folder = StateFolder::create(&match &acting.state {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("clinik-import-{}", request.run)),
    })?;
    let _lock = output.lock(folder.path())?;
    // Whatever was asked for: a share may know no modes.
    if !files::is_private(folder.path())? {
        output.warn(&format!("others may look into {}: its file system knows no modes", files::shown(folder.path())));
    }
    // Before it can be resumed, and once it can: whoever retries again knows whether something may have been sent.
    if let Some(of) = &of {
        Successor::write(of.first, &folder, false)?;
    }
    folder.begin(&request)?;
    if let Some(of) = &of {
        Successor::write(of.first, &folder, true)?;
    }
    output.say(&format!("to {}, with a {} key", settings.url, settings.key.environment()));
    output.say(&format!("state folder: {}", files::shown(folder.path())));
    let progress = Progress::new(output);
    let (waiting, is_resumed) = (&acting.waiting, false);
    let run = Run { client: &client, folder: &folder, output, progress: &progress, waiting, is_resumed };
    run.plan_and_act(request, Some(&limits), acting.yes)
}

/// What does not fit together is said before anything is read.
fn check(Sources { sources, .. }: &Sources, reading: &Reading, global: &Global) -> Result<transfer::Reading> {
    let stdin = sources.iter().filter(|source| source.path.as_os_str() == "-").count();
    let has_key = global.key_file.as_ref().is_some_and(|file| file.as_os_str() == "-");
    if stdin + usize::from(has_key) > 1 {
        return Err(usage("stdin can be read once"));
    }
    reading.check_formats(sources.iter().map(|source| source.format))?;
    reading.for_run()
}

/// A name for a run: when, and twelve random characters. No two runs share one.
fn new_run() -> Result<String> {
    let random = clinikapi::new_key()?;
    Ok(format!("r{}", random.get(..12).unwrap_or_default()))
}

fn dry_run(arguments: &Import, sources: &Sources, global: &Global, output: &Output) -> Result<Exit> {
    let reading = check(sources, &arguments.reading, global)?;
    super::offline::check(sources, &reading, output)?;
    let limits = match Settings::resolve_if_given(global)? {
        Some(settings) => Some(settings.limits(&settings.client(output)?)?.0),
        None => None,
    };
    let progress = Progress::new(output);
    let plan = transfer::build(BuildInput::new(&new_run()?, sources, &reading, &progress))?;
    progress.finish();
    show::plan(&plan, limits.as_ref(), output);
    output.event_or_document(&show::plan_event(&plan, limits.as_ref()))?;
    if plan.rejected() > 0 {
        output.say("what is wrong with the rejected records: clinik-bulk validate says it");
    }
    let too_many = arguments.acting.max_rejected.is_exceeded(plan.rejected(), plan.read());
    Ok(if too_many { Exit::Rejected } else { Exit::Done })
}

/// What carries a run out.
pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    pub(super) folder: &'a StateFolder,
    pub(super) output: &'a Output,
    pub(super) progress: &'a Progress,
    pub(super) waiting: &'a Waiting,
    /// Whether another process has begun it.
    pub(super) is_resumed: bool,
}

impl Run<'_> {
    /// Makes the plan, shows it, asks where it must, and acts.
    pub(super) fn plan_and_act(&self, mut request: ImportRequest, limits: Option<&Limits>, yes: bool) -> Result<Exit> {
        let reads_stdin = request.from.files().any(|source| source.path.as_os_str() == "-");
        let resume = format!("go on with: {}", self.output.next("resume", self.folder.path()));
        let how = if reads_stdin { "begin again" } else { &resume };
        Output::on_interrupt(&format!("nothing was sent; {how}"));
        let plan = transfer::build(BuildInput {
            folder: Some(self.folder),
            retry_of: request.retry_of.as_deref(),
            ..BuildInput::new(&request.run, &request.from, &request.reading, self.progress)
        })?;
        plan.store(self.folder)?;
        show::plan(&plan, limits, self.output);
        self.output.event(&show::plan_event(&plan, limits))?;
        if request.owner.environment == "live" && !request.confirmed {
            if !yes {
                self.progress.suspend(|| confirm(&plan, self.folder, self.output))?;
            }
            request.confirmed = true;
            files::write_json(&self.folder.request(), &request)?;
        }
        self.act(&request, &plan)
    }

    /// Carries the plan out, as far as it goes now, and reports.
    pub(super) fn act(&self, request: &ImportRequest, plan: &Plan) -> Result<Exit> {
        Output::on_interrupt(&format!("go on with: {}", self.output.next("resume", self.folder.path())));
        let mut journal = Journal::open(&self.folder.journal(), plan.batches.len())?;
        let mut driver = Driver {
            client: self.client,
            folder: self.folder,
            request,
            plan,
            journal: &mut journal,
            events: self.progress,
            waiting: self.waiting.into(),
            memory: if self.is_resumed { Memory::of_resume() } else { Memory::default() },
        };
        let stopped = driver.run();
        self.progress.finish();
        let reason = match &stopped {
            Ok(Stop::Finished) => None,
            Ok(Stop::Unfinished(reason) | Stop::Limit(reason)) => Some(reason.clone()),
            Err(error) => Some(format!("{error:#}")),
        };
        // Where the disk is full this fails too, and the first failure is the one to tell.
        let summary = match summarise(self.folder, request, plan, &journal, reason, crate::report::html) {
            Ok(summary) => summary,
            Err(error) => return Err(stopped.err().unwrap_or(error)),
        };
        self.report(&summary, stopped)
    }

    /// Says how the run ended: the exit code, and what to do next.
    fn report(&self, summary: &Summary, stopped: Result<Stop>) -> Result<Exit> {
        let resume = || format!("go on with: {}", self.output.next("resume", self.folder.path()));
        let failure = match stopped {
            Err(error) => Some(error.context(resume()).context("the import stopped")),
            Ok(Stop::Unfinished(reason)) => {
                Some(Failure::Unfinished(format!("not finished: {reason}; {}", resume())).into())
            }
            Ok(Stop::Limit(reason)) => Some(Failure::Limit(format!("{reason}; {}", resume())).into()),
            Ok(Stop::Finished) if !summary.finished => Some(failed_jobs(summary)),
            Ok(Stop::Finished) => None,
        };
        let is_rejected = summary.max_rejected.is_exceeded(summary.figures.rejected, summary.figures.read);
        let exit = match &failure {
            Some(error) => crate::exit::of_error(error),
            None if is_rejected => Exit::Rejected,
            None => Exit::Done,
        };
        let document = with(serde_json::to_value(summary)?, json!({"event": "summary", "exitCode": exit.code()}));
        let document = match &failure {
            Some(error) => with(document, json!({"error": error_value(error)})),
            None => document,
        };
        show::summary(summary, self.output);
        self.output.event_or_document(&document)?;
        failure.map_or(Ok(exit), Err)
    }
}

fn failed_jobs(summary: &Summary) -> anyhow::Error {
    let failed: Vec<_> = summary.jobs.iter().filter(|job| matches!(job.state.as_str(), "failed" | "gone")).collect();
    let jobs: Vec<_> = failed.iter().filter_map(|job| job.job_id.as_deref()).collect();
    let records: u64 = failed.iter().map(|job| job.records).sum();
    Failure::JobFailed(format!(
        "{} of {} jobs failed, with {records} records: {}; resume begins those anew whose records all have ids; \
         of the others some may be stored, and importing them again would double those",
        failed.len(),
        summary.jobs.len(),
        jobs.join(", ")
    ))
    .into()
}

/// Asks on the terminal, once a run.
fn confirm(plan: &Plan, folder: &StateFolder, output: &Output) -> Result<()> {
    let question = format!("import {} records with a live key? [y/N] ", plan.to_send());
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).context("ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    let message = format!("nothing was sent; go on with: {}", output.next("resume", folder.path()));
    Err(Failure::Unfinished(message).into())
}
