//! What shells and manuals need.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::Cli;
use crate::output::Output;

pub(super) fn completions(shell: clap_complete::Shell, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clinik-bulk", &mut script);
    output.data(&script)
}

pub(super) fn man(out: &Path, output: &Output) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    clap_mangen::generate_to(Cli::command(), out).with_context(|| format!("write to {}", out.display()))?;
    output.say(&format!("manual pages are in {}; try man -l {}/clinik-bulk.1", out.display(), out.display()));
    Ok(())
}
