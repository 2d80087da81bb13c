//! `clinik-bulk-admin`: the command line of the service's operators, on the tables themselves.

use std::io::{Write, stderr};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

mod audit;
mod check;
mod job;
mod key;
mod output;
mod record;
mod stores;
mod tenant;

use output::{OutputClosed, OutputFormat};
use stores::Stores;

/// Manages tenants, keys, jobs and records of one deployment, with ordinary AWS credentials: environment, profile, SSO,
/// `aws login`, `credential_process`.
#[derive(Debug, Parser)]
#[command(name = "clinik-bulk-admin", version, about, long_about = None)]
struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    /// The deployed stack to work on; its outputs name tables, bucket and queues. Without it they come from
    /// the environment (`JOBS_TABLE` …), as `.local/env` sets them.
    #[arg(long, global = true, value_name = "NAME")]
    stack: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates, lists, shows, changes and purges tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Creates, lists and revokes API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Lists, shows and redrives jobs.
    #[command(subcommand)]
    Job(job::Command),
    /// Deletes one record.
    #[command(subcommand)]
    Record(record::Command),
    /// Lists what operators have changed: who, what and when.
    Audit(audit::Arguments),
    /// Says what of a stack was changed by hand, or left out of a restore. Fails if there is anything.
    Check,
    /// Prints a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { output, stack, command } = Cli::parse();
    if let Command::Completions { shell } = command {
        // In memory first: a closed pipe is no reason to panic.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "clinik-bulk-admin", &mut script);
        let printed = std::io::stdout().write_all(&script);
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(command, stack.as_deref(), output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            // In a sentence, with its causes. Nobody hears when nobody reads it.
            let _unheard = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, stack: Option<&str>, output: OutputFormat) -> Result<()> {
    let stores = &Stores::connect(stack).await?;
    match command {
        Command::Tenant(command) => tenant::run(command, stores, output).await,
        Command::Key(command) => key::run(command, stores, output).await,
        Command::Job(command) => job::run(command, stores, output).await,
        Command::Record(command) => record::run(command, stores, output).await,
        Command::Check => check::run(stack, stores, output).await,
        Command::Audit(arguments) => audit::run(&arguments, stores, output).await,
        // Needs no stack: it was printed before.
        Command::Completions { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "clinik-bulk-admin", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(["tenant", "redrive", "audit"].iter().all(|command| script.contains(command)), "{shell}");
        }
    }
}
