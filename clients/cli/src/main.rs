//! `clinik-bulk`: the command line of the bulk API's users. Over HTTP only.
//!
//! It knows the contract's limits, never loses a job, never shows a value of a record, and writes nothing but data
//! to stdout.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

mod cli;
mod commands;
mod exit;
mod output;
mod progress;
mod report;
mod settings;
mod values;

use cli::{Cli, Global};
use output::Output;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let color = output::color_of(&arguments);
    let command = Cli::command().color(if color { clap::ColorChoice::Auto } else { clap::ColorChoice::Never });
    let parsed = command.try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let Global { output, quiet, .. } = cli.global;
    let output = Output::new(output, quiet, color, cli.global.repeated());
    let done = commands::run(&cli, &output);
    output.exit(done)
}
