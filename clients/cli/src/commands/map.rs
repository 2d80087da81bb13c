//! Writes a map to begin with. Nothing leaves the machine.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::json;
use sources::{Format, Source, encoding, format_of};
use tables::draft_map;
use transfer::source_name;

use crate::cli::MapArguments;
use crate::exit::usage;
use crate::output::Output;

pub(super) fn map(arguments: &MapArguments, output: &Output) -> Result<()> {
    let MapArguments { resource_type, file, out, .. } = arguments;
    let encoding = arguments.encoding.as_deref().map(encoding).transpose()?;
    let format = format_of(file).filter(|format| *format != Format::Ndjson).unwrap_or(Format::Csv);
    let delimiter = arguments.delimiter.or((format == Format::Tsv).then_some(b'\t'));
    let draft = || draft_map(Source::open(file)?.text(encoding, format)?.reader, delimiter, *resource_type);
    let map = draft().with_context(|| source_name(file))?;
    let Some(out) = out else {
        return output.result(&json!({"map": map}), || map.clone());
    };
    // Somebody may have worked on a map of that name.
    let created = std::fs::File::create_new(out);
    let mut created = created.map_err(|error| usage(format!("{}: cannot be created: {error}", files::shown(out))))?;
    created.write_all(map.as_bytes()).with_context(|| format!("write {}", out.display()))?;
    output.say(&format!("map written to {}: check every line of it", files::shown(out)));
    Ok(())
}
