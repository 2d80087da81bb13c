//! Validates files. Nothing leaves the machine.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sources::SourceViolation;
use transfer::{Finding, Findings, Plan};

use super::offline::look_at;
use crate::cli::Validate;
use crate::exit::Exit;
use crate::output::{self, Output, OutputFormat};

/// The document of `--output json` holds so many violations, as an answer of the API does.
const MAX_LISTED: u64 = 1000;

pub(super) fn validate(arguments: &Validate, output: &Output) -> Result<Exit> {
    let mut printer = Printer::new(arguments.limit, output);
    let findings: &mut Findings<'_> = &mut |file, line, found| printer.found(file, line, found);
    let plan = look_at(&arguments.what, &arguments.reading, arguments.references, findings, output)?;
    printer.end(&plan)
}

/// Prints what is wrong while it is found.
struct Printer<'a> {
    output: &'a Output,
    limit: u64,
    violations: u64,
    missing: u64,
    listed: Vec<Value>,
    out: BufWriter<io::Stdout>,
}

impl<'a> Printer<'a> {
    fn new(limit: Option<u64>, output: &'a Output) -> Self {
        let all = if output.format() == OutputFormat::Json { MAX_LISTED } else { u64::MAX };
        let out = BufWriter::new(io::stdout());
        Self { output, limit: limit.unwrap_or(all), violations: 0, missing: 0, listed: Vec::new(), out }
    }

    fn found(&mut self, file: &str, line: u64, found: Finding<'_>) -> Result<()> {
        match found {
            Finding::Accepted(_) => Ok(()),
            Finding::Rejected(violations) => {
                violations.iter().try_for_each(|violation| self.print(file, line, violation))
            }
            Finding::Missing(violation) => {
                self.missing += 1;
                self.print(file, line, &violation)
            }
        }
    }

    fn print(&mut self, file: &str, line: u64, violation: &SourceViolation) -> Result<()> {
        let file = files::shown(Path::new(file));
        self.violations += 1;
        if self.violations > self.limit {
            return Ok(());
        }
        let document = || {
            json!({"event": "error", "file": file, "line": line, "column": violation.column, "code": violation.code,
                "path": violation.path, "message": violation.message})
        };
        match self.output.format() {
            OutputFormat::Text => {
                let column = violation.column.as_ref().map(|column| format!("column \"{column}\": "));
                let text =
                    format!("{file}:{line}: {}{} [{}]", column.unwrap_or_default(), violation.message, violation.code);
                output::written(writeln!(self.out, "{}", output::harmless(&text)))
            }
            OutputFormat::Ndjson => output::written(writeln!(self.out, "{}", document())),
            OutputFormat::Json => {
                self.listed.push(document());
                Ok(())
            }
        }
    }

    /// Says how it went.
    fn end(self, plan: &Plan) -> Result<Exit> {
        let Self { output, limit, violations, missing, listed, out } = self;
        output::written(out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error))?;
        let (read, invalid) = (plan.read(), plan.rejected());
        let blank_rows: u64 = plan.sources.iter().map(|source| source.blank_rows).sum();
        let figures = json!({"totalRecords": read, "validRecords": read - invalid, "invalidRecords": invalid,
            "leftOut": plan.left_out(), "blankRows": blank_rows, "withoutId": plan.without_id(),
            "missingReferences": missing, "errorCount": violations, "warnings": plan.warnings, "fhir": plan.fhir});
        match output.format() {
            OutputFormat::Json => {
                let more = json!({"errors": listed, "errorsTruncated": violations > limit});
                output.document(&output::with(figures, more))?;
            }
            OutputFormat::Ndjson => output.event(&output::with(figures, json!({"event": "summary"})))?,
            OutputFormat::Text => {
                if violations > limit {
                    output.say(&format!("… and {} violations more", violations - limit));
                }
                super::show::sources(plan, output);
                let blank = if blank_rows > 0 { format!(", {blank_rows} empty rows") } else { String::new() };
                output.say(&format!("{read} records: {} valid, {invalid} invalid{blank}", read - invalid));
                if missing > 0 {
                    output.say(&format!("{missing} records that others refer to are not in these files"));
                }
            }
        }
        Ok(if invalid + missing > 0 { Exit::Rejected } else { Exit::Done })
    }
}
