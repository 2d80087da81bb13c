//! `clinik-bulk`: the command line of the service's operators.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod admin;
mod output;

use output::{OutputClosed, OutputFormat};

/// Works on the bulk service's tables, with ordinary AWS credentials.
#[derive(Debug, Parser)]
#[command(name = "clinik-bulk", version, about, long_about = None)]
struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manages tenants and their keys.
    #[command(subcommand)]
    Admin(admin::Command),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Admin(command) => admin::run(command, cli.output).await,
    };
    done.or_else(|error| if error.is::<OutputClosed>() { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
