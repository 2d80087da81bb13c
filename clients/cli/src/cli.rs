//! The command line as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use records::ResourceType;

use crate::output::{DEFAULT_PROFILE, OutputFormat, quoted};
use crate::values::{TypeParser, delimiter, label, since};

mod common;

pub(crate) use common::{Acting, Reading, Waiting, What};

/// Imports, exports and validates clinical records through the bulk API.
///
/// Exit codes: 0 done, nothing rejected; 1 other failure; 2 usage; 3 done, with more rejected than --max-rejected;
/// 4 key or scope; 5 a job failed or was cancelled; 6 not finished, resume; 7 limit used up; 8 hash or count wrong.
#[derive(Debug, Parser)]
#[command(name = "clinik-bulk", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The profile to use: a URL and a key, as `login` stores them.
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_PROFILE)]
    pub(crate) profile: String,

    /// The API's base URL, with its path if it has one. Otherwise `CLINIKAPI_BASE_URL`, then the profile's.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// A file with the API key, or - for stdin. Otherwise `CLINIKAPI_SECRET_KEY`, then the profile's.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,

    /// Print nothing but data and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Print without colours.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

impl Global {
    /// The options that a command which is shown must have, too: with them it reaches the same service by the same key.
    pub(crate) fn repeated(&self) -> String {
        let is_named = self.profile != DEFAULT_PROFILE;
        let named = [
            ("--profile", is_named.then(|| self.profile.clone())),
            ("--url", self.url.clone()),
            ("--key-file", self.key_file.as_ref().map(|file| file.display().to_string())),
        ];
        let option = |(name, value): (&str, Option<String>)| Some(format!("{name} {} ", quoted(&value?)));
        named.into_iter().filter_map(option).collect()
    }
}

/// What a map file looks like.
const MAP_FILE: &str = r#"A map file says which column is which field, and how its text is translated. `clinik-bulk map TYPE FILE` writes one
to begin with; docs/migrating.md explains every setting:
  type = "Patient"                     # or [Patient.columns], [Encounter.columns] … in one file, or a folder of maps
  timezone = "America/New_York"        # for times without an offset
  nulls = ["n/a", "NULL"]              # cells that are no value, as empty ones are none
  [columns]
  "MRN"   = { to = "id", prefix = "mrn-" }
  "DOB"   = { to = "birthDate", formats = ["%m/%d/%Y", "%Y-%m-%d"] }
  "Sex"   = { to = "gender", values = { M = "male", F = "female" }, otherwise = "unknown", ignoreCase = true }
  "Town"  = "address.city"
  "Phone" = { to = ["phone", "contact[0].phone"] }
  "Name"  = { split = ",", to = ["lastName", "firstName"] }
  "Chart" = { drop = true }
  [fields]
  "active" = true
Columns that are named after fields need no entry. `clinik-bulk types TYPE` lists the fields."#;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores a URL (--url) and its key: read from a prompt or stdin, checked, and kept in a file of mode 0600.
    Login,
    /// Lists the resource types, or the fields of one.
    Types {
        /// The type whose fields are listed.
        #[arg(value_name = "TYPE", value_parser = TypeParser, hide_possible_values = true)]
        resource_type: Option<ResourceType>,
    },
    /// Prints a CSV header to fill in.
    Template {
        /// The type of the records.
        #[arg(value_name = "TYPE", value_parser = TypeParser, hide_possible_values = true)]
        resource_type: ResourceType,
    },
    /// Writes a map to begin with: which column is likely which field. Nothing leaves the machine.
    Map(MapArguments),
    /// Validates files by the service's own rules, or a folder as import takes it. Nothing leaves the machine.
    #[command(after_long_help = MAP_FILE)]
    Validate(Validate),
    /// Prints the records that files become, one JSON object a line: to look at what a map does. Nothing leaves the machine.
    #[command(after_long_help = MAP_FILE)]
    Convert(Convert),
    /// Imports files, or a folder: TYPE FILE…, or DIR with Patient.ndjson, Observation.csv.gz …, an export, or exports.
    #[command(after_long_help = MAP_FILE)]
    Import(Import),
    /// Goes on with an import or export that was interrupted.
    Resume(Resume),
    /// Shows where an import or export stands. Asks nobody.
    Status {
        /// The state folder.
        #[arg(value_name = "DIR")]
        state: PathBuf,
    },
    /// Imports what was rejected, once it has been fixed: DIR/rejected.ndjson, or of several types DIR/rejected/TYPE.ndjson.
    Retry(Retry),
    /// Exports records to a folder, or to stdout.
    Export(Export),
    /// Lists, shows, watches, cancels and deletes jobs.
    #[command(subcommand)]
    Jobs(Jobs),
    /// Downloads the files of a job, and verifies them.
    Download {
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
        /// The folder to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Shows the plan's limits and what is left of them.
    Limits,
    /// Prints a completion script.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Writes manual pages.
    Man {
        /// The folder to write to.
        #[arg(value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MapArguments {
    /// The type of the records.
    #[arg(value_name = "TYPE", value_parser = TypeParser, hide_possible_values = true)]
    pub(crate) resource_type: ResourceType,
    /// The table.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file to write; stdout unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The table's encoding, as windows-1252; UTF-8 or what the file shows itself unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) encoding: Option<String>,
    /// What stands between the cells: a character, or tab, comma, semicolon, pipe; found unless given.
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Check that the records which others refer to (patientId and the like) are among them.
    #[arg(long)]
    pub(crate) references: bool,
    /// List so many violations at most; all are counted.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Print so many records at most.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) acting: Acting,
    /// Show the plan, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Import an export of another tenant, or of the other environment.
    #[arg(long)]
    pub(crate) other_tenant: bool,
    /// Restore a chain of exports of which some are missing.
    #[arg(long)]
    pub(crate) incomplete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The state folder.
    #[arg(value_name = "DIR")]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Do not ask before an import with a live key.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The state folder of the import whose records were rejected.
    #[arg(value_name = "DIR")]
    pub(crate) of: PathBuf,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Export {
    /// The types, with commas between them.
    #[arg(value_name = "TYPE,…", value_parser = TypeParser, hide_possible_values = true, value_delimiter = ',', required_unless_present = "all")]
    pub(crate) types: Vec<ResourceType>,
    /// All types.
    #[arg(long, conflicts_with = "types")]
    pub(crate) all: bool,
    /// The folder to write to (the export gets a folder of its own in it), or - for stdout.
    #[arg(long, value_name = "DIR|-")]
    pub(crate) out: PathBuf,
    /// Only what was created or updated at or after this moment, as 2026-01-15T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<String>,
    /// Only what was created or updated since the newest complete export in DIR.
    #[arg(long, conflicts_with = "since")]
    pub(crate) since_last: bool,
    /// One file for each type.
    #[arg(long)]
    pub(crate) per_type: bool,
    /// Files compressed with gzip.
    #[arg(long)]
    pub(crate) gzip: bool,
    /// What the records look like. FHIR has one file for each type; import takes it with the same option.
    #[arg(long, value_enum, default_value_t = ExportFormat::Flat)]
    pub(crate) format: ExportFormat,
    /// A label for the job: up to 64 of A-Za-z0-9 ._:-, never patients' data.
    #[arg(long, value_name = "TEXT", value_parser = label(64))]
    pub(crate) label: Option<String>,
}

/// The shape of exported records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// As the service takes them.
    Flat,
    /// FHIR R4 resources.
    Fhir,
}

impl ExportFormat {
    /// As calls and jobs name it; flat ones need no name.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Flat => None,
            Self::Fhir => Some("fhir"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// Lists jobs, newest first.
    List {
        /// Only these statuses: pending, processing, completed, failed.
        #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
        status: Vec<String>,
        /// Only imports, or only exports.
        #[arg(long = "type", value_name = "import|export", value_delimiter = ',')]
        kind: Vec<String>,
        /// Only jobs with these resource types.
        #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = TypeParser, hide_possible_values = true)]
        resource_type: Vec<ResourceType>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Shows a job.
    Show {
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Waits until a job has ended.
    Watch {
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Cancels a job. What an import has stored stays stored.
    Cancel {
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Deletes a job that has ended, and its files. Imported records stay.
    Delete {
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
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
