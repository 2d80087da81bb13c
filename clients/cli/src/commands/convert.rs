//! Prints the records that files become. Nothing leaves the machine.

use std::io::{self, BufWriter, Write};

use anyhow::Result;
use sources::SourceViolation;
use transfer::Findings;

use super::offline::look_at;
use crate::cli::Convert;
use crate::exit::{Exit, usage};
use crate::output::{self, Output, OutputFormat};

pub(super) fn convert(arguments: &Convert, output: &Output) -> Result<Exit> {
    if output.format() != OutputFormat::Text {
        return Err(usage("stdout takes the records, or --output, not both"));
    }
    let mut records = Records { left: arguments.limit.unwrap_or(u64::MAX), out: BufWriter::new(io::stdout()) };
    let plan = look_at(&arguments.what, &arguments.reading, false, &mut records, output)?;
    output::written(records.out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error))?;
    super::show::sources(&plan, output);
    if plan.rejected() > 0 {
        output.say("what is wrong with the rejected records: clinik-bulk validate says it");
    }
    Ok(if plan.rejected() > 0 { Exit::Rejected } else { Exit::Done })
}

/// Prints them as they come.
struct Records {
    left: u64,
    out: BufWriter<io::Stdout>,
}

impl Findings for Records {
    fn accepted(&mut self, _: &str, _: u64, record: &[u8]) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        output::written(self.out.write_all(record).and_then(|()| self.out.write_all(b"\n")))
    }

    fn rejected(&mut self, _: &str, _: u64, _: &[SourceViolation]) -> Result<()> {
        Ok(())
    }

    fn missing(&mut self, _: &str, _: u64, _: &SourceViolation) -> Result<()> {
        Ok(())
    }
}
