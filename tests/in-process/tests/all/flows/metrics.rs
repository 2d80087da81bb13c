//! The metrics that a test's thread tells.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Metrics as lines of `name=value`.
#[derive(Clone, Default)]
pub(super) struct Metrics(Arc<Mutex<Vec<String>>>);

impl Metrics {
    /// Keeps what is told while the guard lives.
    pub(super) fn told() -> (Self, DefaultGuard) {
        let told = Self::default();
        let guard = tracing_subscriber::registry().with(told.clone()).set_default();
        (told, guard)
    }

    /// What was told since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// How many of the lines told since the last time have this in them.
    pub(super) fn count(&self, text: &str) -> usize {
        self.take().iter().filter(|line| line.contains(text)).count()
    }
}

impl<S: Subscriber> Layer<S> for Metrics {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, "{}={value:?} ", field.name()).unwrap();
            }
        }
        if event.metadata().target() == ports::METRICS {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}
