//! Progress for people, on stderr: bars on a terminal, a line every half minute elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use transfer::{Events, Stage};

use crate::output::{Output, OutputFormat};

/// Without a terminal a line is written so often.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Bars are redrawn at most so often while a file is read.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Shows how far the work is.
pub(crate) struct Progress {
    output: Output,
    state: RefCell<State>,
}

struct State {
    bars: Option<Bars>,
    /// What the line says: a verb, how much of how much.
    verb: &'static str,
    unit: Unit,
    done: u64,
    total: u64,
    last_line: Instant,
    last_draw: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Records,
}

struct Bars {
    multi: MultiProgress,
    overall: ProgressBar,
    jobs: BTreeMap<String, ProgressBar>,
}

impl Progress {
    pub(crate) fn new(output: &Output) -> Self {
        let bars = output.is_animated().then(|| {
            let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            // Nothing shows until there is something to show.
            let overall = multi.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("") {
                overall.set_style(style);
            }
            Bars { multi, overall, jobs: BTreeMap::new() }
        });
        output.set_bars(bars.as_ref().map(|bars| bars.multi.clone()));
        let now = Instant::now();
        let state =
            State { bars, verb: "working", unit: Unit::Records, done: 0, total: 0, last_line: now, last_draw: now };
        Self { output: output.clone(), state: RefCell::new(state) }
    }

    /// Does something on the terminal while no bar is in its way.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        let bars = self.state.borrow().bars.as_ref().map(|bars| bars.multi.clone());
        match bars {
            Some(bars) => bars.suspend(work),
            None => work(),
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        if let Some(bars) = &self.state.borrow().bars {
            bars.overall.finish_and_clear();
            for bar in bars.jobs.values() {
                bar.finish_and_clear();
            }
        }
        self.output.set_bars(None);
    }
}

impl Events for Progress {
    fn say(&self, message: &str) {
        self.output.say(message);
    }

    fn warn(&self, message: &str) {
        self.output.warn(message);
    }

    fn event(&self, event: &Value) -> Result<()> {
        self.output.event(event)
    }

    fn begin(&self, stage: Stage, total: u64) {
        let (verb, unit) = match stage {
            Stage::Reading => ("reading", Unit::Bytes),
            Stage::Importing => ("importing", Unit::Records),
            Stage::Exporting => ("exporting", Unit::Records),
            Stage::Downloading => ("downloading", Unit::Bytes),
            Stage::Waiting => ("waiting", Unit::Records),
        };
        let mut state = self.state.borrow_mut();
        (state.verb, state.unit, state.total, state.done) = (verb, unit, total, 0);
        if let Some(bars) = &state.bars {
            let count = match unit {
                Unit::Bytes => "{decimal_bytes}/{decimal_total_bytes}",
                Unit::Records => "{human_pos}/{human_len} records",
            };
            bars.overall.reset();
            bars.overall.set_length(total);
            bars.overall.set_message(verb);
            if let Ok(style) = ProgressStyle::with_template(&format!("{{msg:11}} [{{bar:30}}] {count}")) {
                bars.overall.set_style(style.progress_chars("=> "));
            }
            bars.overall.tick();
        }
    }

    fn advance(&self, done: u64) {
        let mut state = self.state.borrow_mut();
        state.done = done;
        if let Some(bars) = &state.bars {
            if state.last_draw.elapsed() >= REDRAW_EVERY {
                bars.overall.set_position(done);
                state.last_draw = Instant::now();
            }
            return;
        }
        if state.last_line.elapsed() >= LINE_EVERY {
            state.last_line = Instant::now();
            let line = state.line();
            drop(state);
            if self.output.format() == OutputFormat::Text {
                self.output.say(&line);
            }
        }
    }

    fn set_total(&self, total: u64) {
        let mut state = self.state.borrow_mut();
        state.total = total;
        if let Some(bars) = &state.bars {
            bars.overall.set_length(total);
        }
    }

    fn job(&self, id: &str, processed: u64, total: u64) {
        let mut state = self.state.borrow_mut();
        let Some(bars) = &mut state.bars else { return };
        let bar = bars.jobs.entry(id.to_owned()).or_insert_with(|| {
            let bar = bars.multi.add(ProgressBar::new(total));
            if let Ok(style) = ProgressStyle::with_template("  {msg} {human_pos}/{human_len} records") {
                bar.set_style(style);
            }
            bar.set_message(id.to_owned());
            bar
        });
        bar.set_length(total);
        bar.set_position(processed);
    }

    fn job_ended(&self, id: &str) {
        if let Some(bars) = &mut self.state.borrow_mut().bars
            && let Some(bar) = bars.jobs.remove(id)
        {
            bar.finish_and_clear();
            bars.multi.remove(&bar);
        }
    }
}

impl State {
    fn line(&self) -> String {
        let (done, total) = match self.unit {
            Unit::Bytes => (megabytes(self.done), megabytes(self.total)),
            Unit::Records => (format!("{} records", self.done), self.total.to_string()),
        };
        if self.total == 0 { format!("{}: {done}", self.verb) } else { format!("{}: {done} of {total}", self.verb) }
    }
}

/// Bytes for people.
pub(crate) fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, to one digit")]
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.1} kB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
