//! The payloads under `events/run-import/` and what comes of them.

#![allow(clippy::unwrap_used, reason = "test")]

use std::sync::{Arc, Mutex};

use in_process::messages_to_retry;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Keeps the names of the fields that are told on this thread.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<&'static str>>>);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().extend(event.metadata().fields().iter().map(|field| field.name()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_about_a_job_that_is_gone_is_done() {
    assert!(messages_to_retry("run-import", "job").await.is_empty());
    assert!(messages_to_retry("run-import", "same-job-twice").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_retried_and_ends_in_the_dlq() {
    let told = Told::default();
    let _telling = tracing_subscriber::registry().with(told.clone()).set_default();
    let again = messages_to_retry("run-import", "unreadable-message").await;
    assert_eq!(again, ["00000000-0000-4000-8000-000000000000"]);
    let told = told.0.lock().unwrap();
    assert!(told.contains(&"deliveries_refused"), "{told:?}");
    assert!(!told.contains(&"deferrals_in_a_row"), "no job was deferred: {told:?}");
}
