//! One module for each command.

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output::Output;

mod convert;
mod export;
mod import;
mod jobs;
mod login;
mod map;
mod offline;
mod resume;
mod retry;
mod shell;
mod show;
mod successor;
mod types;
mod validate;

/// Carries a command out.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<Exit> {
    let global = &cli.global;
    let done = match &cli.command {
        // These can also end with rejected records.
        Command::Validate(arguments) => return validate::validate(arguments, output),
        Command::Convert(arguments) => return convert::convert(arguments, output),
        Command::Import(arguments) => return import::import(arguments, global, output),
        Command::Resume(arguments) => return resume::resume(arguments, global, output),
        Command::Retry(arguments) => return retry::retry(arguments, global, output),
        Command::Login => login::login(global, output),
        Command::Types { resource_type } => types::types(*resource_type, output),
        Command::Template { resource_type } => types::template(*resource_type, output),
        Command::Map(arguments) => map::map(arguments, output),
        Command::Status { state } => resume::status(state, output),
        Command::Export(arguments) => export::export(arguments, global, output),
        Command::Jobs(command) => jobs::jobs(command, global, output),
        Command::Download { job, out } => export::download(job, out, global, output),
        Command::Limits => jobs::limits(global, output),
        Command::Completions { shell } => shell::completions(*shell, output),
        Command::Man { out } => shell::man(out, output),
    };
    done.map(|()| Exit::Done)
}
