//! Printing: aligned lines for people, JSON for programs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

impl OutputFormat {
    /// Prints one thing: an object, or a list of objects. Once this returns, it has been written.
    pub(crate) fn print(self, thing: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(thing)?;
        let text = match self {
            Self::Json => format!("{}\n", serde_json::to_string_pretty(&value)?),
            Self::Text => as_text(&value),
        };
        // Not `print!`, which panics when nobody reads or the disk is full.
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
            written => written.context("write output"),
        }
    }
}

/// Nobody reads the output any more, as `head` does once it has seen enough: a command ends, quietly.
#[derive(Debug, thiserror::Error)]
#[error("output is closed")]
pub(crate) struct OutputClosed;

fn as_text(value: &Value) -> String {
    match value {
        Value::Array(things) if things.is_empty() => "none\n".to_owned(),
        Value::Array(things) => things.iter().map(as_text).collect::<Vec<_>>().join("\n"),
        Value::Object(members) => {
            let width = members.keys().map(String::len).max().unwrap_or(0);
            let line = |(name, value)| format!("{name:width$}  {}\n", plain(value));
            members.iter().map(line).collect::<Vec<_>>().concat()
        }
        other => format!("{}\n", plain(other)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_aligned() {
        let text = as_text(&json!([{"id": "a", "scopes": ["read", "write"]}, {"id": "b"}]));
        assert_eq!(text, "id      a\nscopes  read,write\n\nid  b\n");
    }
}
