//! Prints the records that files become. Nothing leaves the machine.

use std::io::{self, BufWriter, Write};

use anyhow::Result;
use transfer::{Finding, Findings};

use super::offline::look_at;
use crate::cli::Convert;
use crate::exit::{Exit, usage};
use crate::output::{self, Output, OutputFormat};

pub(super) fn convert(arguments: &Convert, output: &Output) -> Result<Exit> {
    if output.format() != OutputFormat::Text {
        return Err(usage("stdout takes the records, or --output, not both"));
    }
    let (mut left, mut out) = (arguments.limit.unwrap_or(u64::MAX), BufWriter::new(io::stdout()));
    let print: &mut Findings<'_> = &mut |_, _, found| match found {
        Finding::Accepted(record) if left > 0 => {
            left -= 1;
            output::written(out.write_all(record).and_then(|()| out.write_all(b"\n")))
        }
        _ => Ok(()),
    };
    let plan = look_at(&arguments.what, &arguments.reading, false, print, output)?;
    output::written(out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error))?;
    super::show::sources(&plan, output);
    if plan.rejected() > 0 {
        output.say("what is wrong with the rejected records: clinik-bulk validate says it");
    }
    Ok(if plan.rejected() > 0 { Exit::Rejected } else { Exit::Done })
}
