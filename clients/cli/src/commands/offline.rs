//! Reads files as an import would, and sends nothing.

use anyhow::Result;
use transfer::{BuildInput, Findings, Plan, Sources, resolve_sources};

use crate::cli::{Reading, What};
use crate::exit::usage;
use crate::output::Output;
use crate::progress::Progress;

/// Checks what can be checked before anything is read, and notes what may not be meant.
pub(super) fn check(from: &Sources, reading: &transfer::Reading, output: &Output) -> Result<()> {
    for note in transfer::check_sources(from, reading)? {
        output.say(&format!("note: {note}"));
    }
    Ok(())
}

/// Hands all that is found in the files to `findings`. What does not fit together is said before anything is read.
pub(super) fn look_at(
    what: &What,
    reading: &Reading,
    has_references: bool,
    findings: &mut Findings<'_>,
    output: &Output,
) -> Result<Plan> {
    let what = what.all();
    if what.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(usage("stdin can be read once"));
    }
    let from = resolve_sources(&what, reading.format, true)?;
    reading.check_formats(from.sources.iter().map(|source| source.format))?;
    let reading = reading.for_run()?;
    check(&from, &reading, output)?;
    let progress = Progress::new(output);
    let plan = transfer::build(BuildInput {
        findings: Some(findings),
        has_references,
        ..BuildInput::new("", &from, &reading, &progress)
    })?;
    progress.finish();
    Ok(plan)
}
