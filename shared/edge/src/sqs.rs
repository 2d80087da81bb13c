//! The SQS side: one function for one message, lifted to a batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use domain::{Delivery, JobMessage, METRICS, Worker};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use lambda_runtime::{Context, LambdaEvent};
use tokio::time::Instant;

/// The end of an invocation that is kept free for putting things in order.
const RESERVE: Duration = Duration::from_secs(30);

/// The message's attribute that names the trace of the call that sent it.
const TRACE: &str = "AWSTraceHeader";

/// Messages of one batch that are worked on at a time.
const AT_ONCE: usize = 4;

/// Serves batches of job messages until the sandbox ends.
pub async fn serve(worker: Worker) -> Result<(), lambda_runtime::Error> {
    let worker = Arc::new(worker);
    lambda_runtime::run(lambda_runtime::service_fn(move |event: LambdaEvent<SqsEvent>| {
        let worker = Arc::clone(&worker);
        async move {
            let deadline = deadline(&event.context);
            Ok::<_, lambda_runtime::Error>(handle(&worker, event.payload, deadline).await)
        }
    }))
    .await
}

/// When work has to stop, on the monotonic clock: the invocation's end less a reserve of 30 s, or of
/// half its time where it has less than a minute.
#[must_use]
pub fn deadline(context: &Context) -> Instant {
    let end = Duration::from_millis(context.deadline);
    let now = Duration::try_from(Timestamp::now().as_duration()).unwrap_or_default();
    let left = end.saturating_sub(now);
    Instant::now() + left.saturating_sub(RESERVE.min(left / 2))
}

/// Works on every message of a batch and returns those that have to come again.
///
/// A message that cannot be read comes again too, and ends in the dead-letter queue as evidence.
pub async fn handle(worker: &Worker, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
    let failed: Vec<_> = stream::iter(event.records)
        .map(|message| async move {
            let id = message.message_id.clone().unwrap_or_default();
            let delivered = AssertUnwindSafe(deliver(worker, &message, deadline)).catch_unwind().await;
            match delivered {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    tracing::error!(message_id = id, error = error.as_ref(), "message comes again");
                    Some(id)
                }
                Err(_panic) => {
                    tracing::error!(message_id = id, "worker panicked; message comes again");
                    Some(id)
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|failed| async move { failed })
        .collect()
        .await;
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed
        .into_iter()
        .map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

async fn deliver(
    worker: &Worker,
    message: &SqsMessage,
    deadline: Instant,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let JobMessage { partition, target, .. } = JobMessage::decode(message.body.as_deref().unwrap_or_default())?;
    let attribute = |name| message.attributes.get(name).map(String::as_str);
    let sent = attribute("SentTimestamp")
        .and_then(|sent| sent.parse().ok())
        .and_then(|sent| Timestamp::from_millisecond(sent).ok());
    let queue_age =
        sent.map_or(Duration::ZERO, |sent| Timestamp::now().duration_since(sent).try_into().unwrap_or_default());
    let started = Instant::now();
    let delivery = worker.deliver(&partition, &target, deadline).await?;
    let outcome = match delivery {
        Delivery::Done => "done",
        Delivery::Ended => "had ended",
        Delivery::Busy => "is busy",
        Delivery::RestsUntilDependencyIsBack => "rests",
        Delivery::Yielded => "yielded",
        Delivery::LeaseLost => "lost its lease",
    };
    let duration_ms = millis(started.elapsed());
    tracing::info!(job_id = %target.job_id, segment = target.segment, tenant = %partition.tenant, outcome, duration_ms,
        sent_by_trace = attribute(TRACE), "looked at job");
    tracing::info!(target: METRICS, deliveries = 1, queue_age_ms = millis(queue_age),
        delivery_duration_ms = duration_ms);
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
