//! Printing: data to stdout, everything else to stderr. The only module that prints.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::ValueEnum;
use clinikapi::ApiError;
use files::FolderLock;
use indicatif::MultiProgress;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::exit::{self, Exit};

/// What a shell expects of a process that SIGINT has ended.
const INTERRUPTED: i32 = 130;

/// The profile that is used unless another is named.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// One JSON document, also on failure.
    Json,
    /// One JSON object a line: events while they happen.
    Ndjson,
}

/// Nobody reads the output any more, as `head` does once it has seen enough.
#[derive(Debug, thiserror::Error)]
#[error("output is closed")]
pub(crate) struct OutputClosed;

/// Where a command's results and messages go.
#[derive(Clone)]
pub(crate) struct Output {
    format: OutputFormat,
    quiet: bool,
    color: bool,
    /// The options that commands which are shown must have too: profile, URL, key file.
    options: String,
    /// The bars on the terminal; lines are written past them.
    bars: Rc<RefCell<Option<MultiProgress>>>,
    has_document: Rc<Cell<bool>>,
}

impl Output {
    pub(crate) fn new(format: OutputFormat, quiet: bool, color: bool, options: String) -> Self {
        Self { format, quiet, color, options, bars: Rc::default(), has_document: Rc::default() }
    }

    /// A command to type next, on a folder of this run.
    pub(crate) fn next(&self, command: &str, folder: &Path) -> String {
        format!("clinik-bulk {}{command} {}", self.options, quoted(&files::shown(folder)))
    }

    pub(crate) fn format(&self) -> OutputFormat {
        self.format
    }

    /// Whether progress may be animated: a terminal, and somebody who wants to see it.
    pub(crate) fn is_animated(&self) -> bool {
        self.format == OutputFormat::Text && !self.quiet && io::stderr().is_terminal()
    }

    /// Lines are written past these bars from now on; `None` ends that.
    pub(crate) fn set_bars(&self, bars: Option<MultiProgress>) {
        self.bars.replace(bars);
    }

    /// The result of a command: `text` for people, or the document. Once this returns, it has been written.
    pub(crate) fn result(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            OutputFormat::Text => self.data(harmless(&text()).as_bytes()),
            OutputFormat::Json => self.document(document),
            OutputFormat::Ndjson => self.line(document),
        }
    }

    /// Results that are a list: a document with all of them, or one a line.
    pub(crate) fn list(&self, things: &[impl Serialize], text: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            OutputFormat::Text => self.data(harmless(&text()).as_bytes()),
            OutputFormat::Json => self.document(&things),
            OutputFormat::Ndjson => things.iter().try_for_each(|thing| self.line(thing)),
        }
    }

    /// The one document of `--output json`.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<()> {
        self.has_document.set(true);
        self.data(format!("{}\n", serde_json::to_string_pretty(document)?).as_bytes())
    }

    /// An event of `--output ndjson`; nothing in the other formats.
    pub(crate) fn event(&self, event: &impl Serialize) -> Result<()> {
        if self.format == OutputFormat::Ndjson { self.line(event) } else { Ok(()) }
    }

    /// What a command did: an event, or the one document; nothing for people.
    pub(crate) fn event_or_document(&self, thing: &impl Serialize) -> Result<()> {
        match self.format {
            OutputFormat::Text => Ok(()),
            OutputFormat::Json => self.document(thing),
            OutputFormat::Ndjson => self.line(thing),
        }
    }

    fn line(&self, thing: &impl Serialize) -> Result<()> {
        self.data(format!("{}\n", serde_json::to_string(thing)?).as_bytes())
    }

    /// Bytes to stdout. Not `print!`, which panics when nobody reads or the disk is full.
    #[expect(clippy::unused_self, reason = "what is printed goes through an output")]
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// What Ctrl-C says from now on.
    pub(crate) fn on_interrupt(how: &str) {
        static SAID: Mutex<String> = Mutex::new(String::new());
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = format!("interrupted; {how}");
        let handler = || {
            let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may hold a lock that the usual ways of telling need.
            let _ = writeln!(io::stderr(), "\n{}", harmless(&said));
            std::process::exit(INTERRUPTED);
        };
        // It is set once: later ones fail, and what it says has changed.
        let _ = ctrlc::set_handler(handler);
    }

    /// Says something to people, on stderr; nothing with `--quiet`.
    pub(crate) fn say(&self, message: &str) {
        if !self.quiet {
            self.write_line(&harmless(message));
        }
    }

    /// Says something on stderr that has to be seen.
    pub(crate) fn warn(&self, message: &str) {
        let label = if self.color { "\x1b[33mwarning:\x1b[0m" } else { "warning:" };
        self.write_line(&format!("{label} {}", harmless(message)));
    }

    /// Keeps other processes out of a folder until the lock is dropped, and says where nothing does.
    pub(crate) fn lock(&self, folder: &Path) -> Result<FolderLock> {
        let lock = FolderLock::take(folder)?;
        if !lock.is_held() {
            self.warn(&format!(
                "the file system of {} knows no locks: run one command at a time on it",
                files::shown(folder)
            ));
        }
        Ok(lock)
    }

    /// A line to stderr, past the bars.
    fn write_line(&self, message: &str) {
        let write = || {
            // Where nobody listens there is nobody to tell it to.
            let _ = writeln!(io::stderr().lock(), "{message}");
        };
        match &*self.bars.borrow() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Ends the process's work: says what went wrong, and gives the exit code.
    pub(crate) fn exit(&self, done: Result<Exit>) -> ExitCode {
        self.set_bars(None);
        let exit = match done {
            Ok(exit) => exit,
            Err(error) if error.is::<OutputClosed>() => {
                self.error_line("nobody reads the output");
                Exit::Failed
            }
            Err(error) => {
                let exit = exit::of_error(&error);
                self.error_line(&format!("{error:#}"));
                if let Err(error) = self.error_document(&error, exit) {
                    self.error_line(&format!("{error:#}"));
                }
                exit
            }
        };
        ExitCode::from(exit.code())
    }

    fn error_line(&self, message: &str) {
        let label = if self.color { "\x1b[31merror:\x1b[0m" } else { "error:" };
        self.write_line(&format!("{label} {}", harmless(message)));
    }

    /// The document of a failure, unless the command has printed its own.
    fn error_document(&self, error: &anyhow::Error, exit: Exit) -> Result<()> {
        let (error, exit) = (error_value(error), exit.code());
        match self.format {
            OutputFormat::Json if !self.has_document.get() => self.document(&json!({"error": error, "exitCode": exit})),
            OutputFormat::Ndjson => self.line(&json!({"event": "error", "error": error, "exitCode": exit})),
            OutputFormat::Text | OutputFormat::Json => Ok(()),
        }
    }
}

/// A word as a shell takes it, and no option.
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    if word.starts_with('-') && word.len() > 1 {
        return Cow::Owned(quoted(&format!("./{word}")).into_owned());
    }
    // What cannot be quoted holds a zero, and is no name of a file.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

/// A text without the characters that steer a terminal, or turn the order of what is read: names of files and columns,
/// labels and answers of the service are others' words.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(escaped.collect())
}

/// A document with more members.
pub(crate) fn with(document: Value, more: Value) -> Value {
    let members = |part: Value| if let Value::Object(members) = part { members } else { Map::new() };
    Value::Object(members(document).into_iter().chain(members(more)).collect())
}

/// An error as JSON, with the API's code and request id where it has them.
pub(crate) fn error_value(error: &anyhow::Error) -> Value {
    let value = json!({"message": format!("{error:#}")});
    match error.downcast_ref() {
        Some(ApiError::Refused(refused)) => {
            with(value, json!({"code": refused.code, "status": refused.status, "requestId": refused.request_id}))
        }
        _ => value,
    }
}

/// A closed pipe is an error of its own.
pub(crate) fn written(result: io::Result<()>) -> Result<()> {
    piped(result.context("write output"))
}

/// The same, of what something else has written.
pub(crate) fn piped(result: Result<()>) -> Result<()> {
    match result {
        Err(error)
            if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Err(OutputClosed.into())
        }
        result => result,
    }
}

/// Whether errors may be coloured: a terminal, no `NO_COLOR`, no `--no-color`.
pub(crate) fn color_of(arguments: &[OsString]) -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || arguments.iter().any(|argument| argument == "--no-color");
    !is_unwanted && io::stderr().is_terminal()
}

/// Prints what clap has to say: help and version to stdout, what is wrong to stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let is_printed = error.print().is_ok();
    let exit = match (error.use_stderr(), is_printed) {
        (true, _) => Exit::Usage,
        (false, true) => Exit::Done,
        (false, false) => Exit::Failed,
    };
    ExitCode::from(exit.code())
}

/// A column that is cut has still so many characters.
const NARROWEST: usize = 6;

/// Rows as aligned columns that fit the terminal; elsewhere they are as wide as they are.
pub(crate) fn fitting_columns(rows: &[Vec<String>]) -> String {
    let terminal = console::Term::stdout();
    let width = if terminal.is_term() { terminal.size_checked().map(|(_, width)| usize::from(width)) } else { None };
    columns_within(rows, width.unwrap_or(usize::MAX))
}

/// Rows as aligned columns, two spaces between them.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    columns_within(rows, usize::MAX)
}

/// The widest columns but for the first, which is a name, are cut until all fit.
fn columns_within(rows: &[Vec<String>], most: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut widths: Vec<_> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    while widths.iter().sum::<usize>() + 2 * count.saturating_sub(1) > most {
        match widths.iter_mut().skip(1).max().filter(|widest| **widest > NARROWEST) {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    let cut = |cell: &String, width: usize| match cell.char_indices().nth(width.saturating_sub(1)) {
        Some((end, _)) if cell.chars().count() > width => format!("{}…", cell.get(..end).unwrap_or_default()),
        _ => cell.clone(),
    };
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", cut(cell, *width)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_cut_to_what_fits() {
        let rows = [vec!["job_1234567".to_owned(), "a long label indeed".to_owned(), "ok".to_owned()]];
        assert_eq!(columns_within(&rows, 30), "job_1234567  a long label…  ok\n");
        assert_eq!(columns_within(&rows, 10), "job_1234567  a lon…  ok\n");
    }

    #[test]
    fn commands_that_are_shown_can_be_typed() {
        let output = Output::new(OutputFormat::Text, false, false, "--profile other ".to_owned());
        assert_eq!(output.next("resume", Path::new("state")), "clinik-bulk --profile other resume state");
        assert_eq!(output.next("resume", Path::new("it's here")), "clinik-bulk --profile other resume \"it's here\"");
        assert_eq!(output.next("resume", Path::new("-x")), "clinik-bulk --profile other resume ./-x");
    }

    #[test]
    fn no_text_steers_the_terminal() {
        assert_eq!(harmless("a\tb\nMüller"), "a\tb\nMüller");
        assert_eq!(harmless("\x1b[2Jx\r\u{202e}y\u{9b}"), "\\u{1b}[2Jx\\r\\u{202e}y\\u{9b}");
    }

    #[test]
    fn columns_are_aligned_and_end_without_spaces() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["bcd".to_owned(), "e".to_owned()]];
        assert_eq!(columns(&rows), "a    long\nbcd  e\n");
    }
}
