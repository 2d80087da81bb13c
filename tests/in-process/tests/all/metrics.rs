//! The metrics that a test's thread tells.

#![allow(clippy::unwrap_used, reason = "test")]

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::rc::{Rc, Weak};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

thread_local! {
    static TOLD: RefCell<Weak<RefCell<Vec<String>>>> = const { RefCell::new(Weak::new()) };
}

/// Metrics that this thread tells while this lives, as lines of `name=value`.
pub(crate) struct Metrics(Rc<RefCell<Vec<String>>>);

impl Metrics {
    /// Of one subscriber for all threads: with one for each, who comes first to an event without one would switch it off
    /// for the others, too.
    pub(crate) fn told() -> Self {
        static COLLECTING: Once = Once::new();
        COLLECTING.call_once(|| tracing_subscriber::registry().with(Collector).init());
        let told = Rc::default();
        TOLD.set(Rc::downgrade(&told));
        Self(told)
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// How many of the lines told since the last time have this in them.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.take().iter().filter(|line| line.contains(text)).count()
    }
}

struct Collector;

impl<S: Subscriber> Layer<S> for Collector {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == ports::METRICS
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, "{}={value:?} ", field.name()).unwrap();
            }
        }
        if let Some(told) = TOLD.with_borrow(Weak::upgrade) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            told.borrow_mut().push(fields.0);
        }
    }
}
