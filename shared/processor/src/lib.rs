//! The rim of the processors: one function for one message, lifted to a batch from SQS.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use engine::JobWorker;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use lambda_runtime::{Context, LambdaEvent};
use model::JobMessage;
use ports::METRICS;
use tokio::time::Instant;

/// The end of an invocation that is kept free for putting things in order.
const DEADLINE_MARGIN: Duration = Duration::from_secs(30);

/// The message's attribute that names the trace of the call that sent it.
const TRACE: &str = "AWSTraceHeader";

/// Messages of one batch that are worked on at a time, where memory allows it.
const MAX_CONCURRENCY: usize = 4;

/// Memory that one message may need, in megabytes: an export with `since` of the largest records needs 160
/// (BENCHMARKS.md).
const MESSAGE_MEMORY: usize = 200;

/// Serves batches of job messages until the sandbox ends.
pub async fn serve(worker: impl JobWorker + 'static) -> Result<(), lambda_runtime::Error> {
    let worker = Arc::new(worker);
    lambda_runtime::run(lambda_runtime::service_fn(move |event: LambdaEvent<SqsEvent>| {
        let worker = Arc::clone(&worker);
        async move {
            let (deadline, at_once) = (deadline(&event.context), at_once(&event.context));
            Ok::<_, lambda_runtime::Error>(handle(worker.as_ref(), event.payload, deadline, at_once).await)
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
    Instant::now() + left.saturating_sub(DEADLINE_MARGIN.min(left / 2))
}

/// How many messages are worked on at a time: as many as the function's memory holds, one at least.
#[must_use]
pub fn at_once(context: &Context) -> usize {
    let memory = usize::try_from(context.env_config.memory).unwrap_or(0);
    (memory / MESSAGE_MEMORY).clamp(1, MAX_CONCURRENCY)
}

/// Works on every message of a batch, so many at a time, and returns those that have to come again.
///
/// A message that cannot be read comes again too, and ends in the dead-letter queue as evidence.
pub async fn handle(worker: &dyn JobWorker, event: SqsEvent, deadline: Instant, at_once: usize) -> SqsBatchResponse {
    let failed: Vec<_> = stream::iter(event.records)
        .map(|message| async move {
            let id = message.message_id.clone().unwrap_or_default();
            let delivered = AssertUnwindSafe(deliver(worker, &message, deadline)).catch_unwind().await;
            match delivered {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    tracing::error!(message_id = id, error = error.as_ref(), "message comes again");
                    // How often it came is how often its job was deferred in a row.
                    tracing::info!(target: METRICS, deferrals_in_a_row = received(&message));
                    Some(id)
                }
                Err(_panic) => {
                    tracing::error!(message_id = id, "worker panicked; message comes again");
                    Some(id)
                }
            }
        })
        .buffer_unordered(at_once)
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
    worker: &dyn JobWorker,
    message: &SqsMessage,
    deadline: Instant,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let JobMessage { partition, job_id, .. } = JobMessage::decode(message.body.as_deref().unwrap_or_default())?;
    let attribute = |name| message.attributes.get(name).map(String::as_str);
    let sent = attribute("SentTimestamp")
        .and_then(|sent| sent.parse().ok())
        .and_then(|sent| Timestamp::from_millisecond(sent).ok());
    let queue_age =
        sent.map_or(Duration::ZERO, |sent| Timestamp::now().duration_since(sent).try_into().unwrap_or_default());
    let started = Instant::now();
    let delivery = worker.deliver(&partition, &job_id, deadline).await?;
    let duration_ms = millis(started.elapsed());
    tracing::info!(%job_id, tenant = %partition.tenant, outcome = delivery.as_str(), duration_ms,
        sent_by_trace = attribute(TRACE), "looked at job");
    tracing::info!(target: METRICS, deliveries = 1, queue_age_ms = millis(queue_age),
        delivery_duration_ms = duration_ms);
    Ok(())
}

/// How often a message was received, this time included.
fn received(message: &SqsMessage) -> u64 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_the_memory() {
        let of = |memory: i32| {
            let mut context = Context::default();
            Arc::make_mut(&mut context.env_config).memory = memory;
            at_once(&context)
        };
        assert_eq!([128, 512, 1_024, 10_240].map(of), [1, 2, 4, 4]);
    }
}
