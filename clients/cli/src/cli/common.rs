//! What several commands take.

use std::path::PathBuf;

use clap::Args;
use fhir::Unmapped;
use sources::Format;
use tables::UnknownColumns;
use transfer::{Duplicates, MaxRejected};

use crate::exit::usage;
use crate::values::{TypeOrFolder, UNMAPPED, delimiter, duration, label, one_of};

/// How files are read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// The files' format; by their names unless given (a file without a telling name is NDJSON).
    #[arg(long, value_parser = one_of(Format::ALL))]
    pub(crate) format: Option<Format>,
    /// A map file, or a folder of them: which column is which field, and how its text is translated (see below).
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) map: Option<PathBuf>,
    /// The files' encoding, as windows-1252; UTF-8 or what the file shows itself unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) encoding: Option<String>,
    /// What stands between the cells of a table: a character, or tab, comma, semicolon, pipe; found unless given.
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
    /// What to do with a column that the type does not define.
    #[arg(long, value_parser = one_of(UnknownColumns::ALL), default_value = "error")]
    pub(crate) unknown: UnknownColumns,
    /// Which of several records with one id is imported, over all files.
    #[arg(long, value_parser = one_of(Duplicates::ALL), default_value = "first")]
    pub(crate) duplicates: Duplicates,
    /// What becomes of elements of FHIR that records have no member for.
    #[arg(long, value_parser = one_of(UNMAPPED), default_value = "keep")]
    pub(crate) unmapped: Unmapped,
}

impl Reading {
    /// What is said of columns needs columns.
    pub(crate) fn check_formats(&self, mut formats: impl Iterator<Item = Format>) -> anyhow::Result<()> {
        let needs_columns = self.map.is_some() || self.unknown != UnknownColumns::Error || self.delimiter.is_some();
        if needs_columns && !formats.any(Format::is_table) {
            return Err(usage("--map, --unknown and --delimiter are for CSV and TSV"));
        }
        Ok(())
    }

    /// As a run keeps it: a later `resume` may begin in another folder.
    pub(crate) fn for_run(&self) -> anyhow::Result<transfer::Reading> {
        Ok(transfer::Reading {
            map: self.map.as_deref().map(files::absolute).transpose()?,
            encoding: self.encoding.clone(),
            delimiter: self.delimiter,
            unknown: self.unknown,
            duplicates: self.duplicates,
            unmapped: self.unmapped,
        })
    }
}

/// What is read.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// The type of the records, or one folder with the files of several types. With --format fhir: files and folders alone.
    #[arg(value_name = "TYPE|DIR", value_parser = TypeOrFolder, hide_possible_values = true)]
    first: PathBuf,
    /// The files of the type; - is stdin.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

impl What {
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        std::iter::once(&self.first).chain(&self.files).cloned().collect()
    }

    /// The folders among it.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.all().into_iter().filter(|path| path.is_dir())
    }
}

/// How an import is carried out.
#[derive(Debug, Clone, Args)]
pub(crate) struct Acting {
    /// The state folder; a new one in the current folder unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// A label for the jobs: up to 44 of A-Za-z0-9 ._:-, never patients' data.
    // A job's label may have 64: the names of the run and of the batch take the rest.
    #[arg(long, value_name = "TEXT", value_parser = label(44))]
    pub(crate) label: Option<String>,
    /// How many rejected records still count as success: a number, or a part as 0.5%.
    #[arg(long, value_name = "N|N%", default_value = "0", value_parser = |text: &str| MaxRejected::try_from(text.to_owned()))]
    pub(crate) max_rejected: MaxRejected,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Do not ask before an import with a live key.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How long a run waits.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Start what can be started now, and wait for nothing.
    #[arg(long, conflicts_with = "wait_for")]
    pub(crate) no_wait: bool,
    /// Wait so long for slots and jobs, as 90m or 6h; without end unless given.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait_for: Option<std::time::Duration>,
}

impl From<&Waiting> for transfer::Waiting {
    fn from(waiting: &Waiting) -> Self {
        Self { no_wait: waiting.no_wait, wait_for: waiting.wait_for }
    }
}
