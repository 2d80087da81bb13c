//! Validates files. Nothing leaves the machine.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use records::{RecordId, ResourceType};
use serde_json::json;
use sources::{
    Format, Map, Sink, Source, SourceViolation, TableOptions, Types, Validator, encoding, format_of, read_ndjson,
    read_table,
};
use transfer::{Events, OpenBatch, Place, Stage, duplicate, source_name};

use crate::cli::Validate;
use crate::exit::{Exit, usage};
use crate::output::{self, Output, OutputFormat};
use crate::progress::Progress;

/// The document of `--output json` holds so many violations, as an answer of the API does.
const MAX_LISTED: usize = 1000;

pub(super) fn validate(arguments: &Validate, output: &Output) -> Result<Exit> {
    let reading = &arguments.reading;
    let resource_type = arguments.resource_type;
    let encoding = reading.encoding.as_deref().map(encoding).transpose()?;
    let map = match &reading.map {
        Some(path) => Map::load(path, resource_type)?,
        None => Map::default(),
    };
    if arguments.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err(usage("stdin can be read once"));
    }
    let format_of_file = |path: &PathBuf| reading.format.or_else(|| format_of(path)).unwrap_or(Format::Ndjson);
    reading.check_formats(arguments.files.iter().map(format_of_file))?;
    let progress = Progress::new(output);
    progress.begin(Stage::Reading, total_bytes(&arguments.files));
    let mut printer = Printer::new(arguments, output);
    let mut before = 0;
    let mut read = 0;
    let mut blank_rows = 0;
    for (at, path) in arguments.files.iter().enumerate() {
        printer.source = at;
        let mut open = Source::open(path)?.decoded(encoding);
        let mut reader = std::mem::replace(&mut open.reader, Box::new(io::empty()));
        let mut seen = || progress.advance(before + open.bytes());
        let validator = Validator::of(resource_type)?;
        let format = format_of_file(path);
        let counted = match format {
            Format::Ndjson => read_ndjson(&mut reader, &mut Types::One(validator), &mut printer, &mut seen)
                .map(|records| (records, 0)),
            Format::Csv | Format::Tsv => {
                let delimiter = (format == Format::Tsv).then_some(b'\t');
                let options = TableOptions { delimiter, map: &map, unknown: reading.unknown };
                read_table(&mut reader, &options, &validator, &mut printer, &mut seen)
                    .map(|count| (count.records, count.blank))
            }
        };
        before += open.bytes();
        let (records, blank) = counted.with_context(|| source_name(path))?;
        read += records;
        blank_rows += blank;
    }
    progress.finish();
    let Printer { rejected, violations, listed, out, .. } = printer;
    output::written(out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error))?;
    let summary = json!({"event": "summary", "totalRecords": read, "validRecords": read - rejected,
        "invalidRecords": rejected, "errorCount": violations, "blankRows": blank_rows});
    match output.format() {
        OutputFormat::Json => output.document(&json!({"totalRecords": read, "validRecords": read - rejected,
            "invalidRecords": rejected, "blankRows": blank_rows, "errors": listed, "errorCount": violations,
            "errorsTruncated": violations > listed.len() as u64}))?,
        OutputFormat::Ndjson => output.event(&summary)?,
        OutputFormat::Text => {
            let blank = if blank_rows > 0 { format!(", {blank_rows} empty rows") } else { String::new() };
            output.say(&format!("{read} records: {} valid, {rejected} invalid{blank}", read - rejected));
        }
    }
    Ok(if rejected > 0 { Exit::Rejected } else { Exit::Done })
}

fn total_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Prints what is wrong while it is found.
struct Printer<'a> {
    output: &'a Output,
    names: Vec<String>,
    source: usize,
    batches: HashMap<ResourceType, OpenBatch>,
    rejected: u64,
    violations: u64,
    listed: Vec<serde_json::Value>,
    out: BufWriter<io::Stdout>,
}

impl<'a> Printer<'a> {
    fn new(arguments: &Validate, output: &'a Output) -> Self {
        Self {
            output,
            names: arguments.files.iter().map(|path| source_name(path)).collect(),
            source: 0,
            batches: HashMap::new(),
            rejected: 0,
            violations: 0,
            listed: Vec::new(),
            out: BufWriter::new(io::stdout()),
        }
    }
}

impl Sink for Printer<'_> {
    fn valid(
        &mut self,
        line: u64,
        resource_type: ResourceType,
        id: Option<RecordId>,
        record: &[u8],
    ) -> Result<Option<SourceViolation>> {
        let batch = self.batches.entry(resource_type).or_insert_with(|| OpenBatch::new(resource_type));
        if !batch.has_room(record.len()) {
            *batch = OpenBatch::new(resource_type);
        }
        let added = batch.add(id, Place { source: self.source, line }, record.len());
        Ok(added.err().map(|first| duplicate(first, self.source, &self.names)))
    }

    fn rejected_bytes(&mut self, _: ResourceType, _: &[u8], _: bool) -> Result<()> {
        Ok(())
    }

    fn rejected(&mut self, line: u64, _: ResourceType, violations: &[SourceViolation]) -> Result<()> {
        self.rejected += 1;
        self.violations += violations.len() as u64;
        let file = self.names.get(self.source).map(String::as_str).unwrap_or_default();
        for violation in violations {
            let document = || {
                json!({"event": "error", "file": file, "line": line, "column": violation.column, "code": violation.code,
                    "path": violation.path, "message": violation.message})
            };
            match self.output.format() {
                OutputFormat::Text => {
                    let column = violation.column.as_ref().map(|column| format!("column \"{column}\": "));
                    let column = column.unwrap_or_default();
                    let written =
                        writeln!(self.out, "{file}:{line}: {column}{} [{}]", violation.message, violation.code);
                    output::written(written)?;
                }
                OutputFormat::Ndjson => output::written(writeln!(self.out, "{}", document()))?,
                OutputFormat::Json if self.listed.len() < MAX_LISTED => self.listed.push(document()),
                OutputFormat::Json => {}
            }
        }
        Ok(())
    }
}
