//! The queue's side of the processors: messages about jobs from SQS, one after the other.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use engine::JobWorker;
use futures::FutureExt;
use jiff::Timestamp;
use lambda_runtime::{Context, LambdaEvent};
use model::JobMessage;
use ports::METRICS;
use tokio::time::Instant;

/// The end of an invocation that is kept free for putting things in order.
const DEADLINE_MARGIN: Duration = Duration::from_secs(30);

/// The message's attribute that names the trace of the call that sent it.
const TRACE: &str = "AWSTraceHeader";

/// Serves batches of job messages until the sandbox ends.
pub async fn serve(worker: impl JobWorker) -> Result<(), lambda_runtime::Error> {
    let worker = &worker;
    lambda_runtime::run(lambda_runtime::service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let deadline = deadline(&event.context);
        Ok::<_, lambda_runtime::Error>(handle(worker, event.payload, deadline).await)
    }))
    .await
}

/// When work has to stop, on the monotonic clock: the invocation's end less a reserve of 30 s, or of
/// half its time where it has less than a minute.
#[must_use]
pub fn deadline(context: &Context) -> Instant {
    let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(DEADLINE_MARGIN.min(left / 2))
}

/// Works on every message, and returns those that have to come again. Both event sources hand over one message at a
/// time, so there is nothing to gain by working on several at once.
///
/// A message that cannot be read comes again too, and ends in the dead-letter queue as evidence.
pub async fn handle(worker: &dyn JobWorker, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in event.records {
        let id = message.message_id.clone().unwrap_or_default();
        match AssertUnwindSafe(deliver(worker, &message, deadline)).catch_unwind().await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => {
                tracing::error!(message_id = id, error = error.as_ref(), "message comes again");
            }
            Err(_panic) => {
                tracing::error!(message_id = id, "worker panicked; message comes again");
                tracing::info!(target: METRICS, panics = 1);
            }
        }
        // Lambda counts no error of an invocation that hands its message back.
        tracing::info!(target: METRICS, deliveries_refused = 1);
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        response.batch_item_failures.push(failure);
    }
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
    let delivery = worker.deliver(&partition, &job_id, deadline).await.inspect_err(|_| {
        // How often it came is how often its job was deferred in a row.
        tracing::info!(target: METRICS, deferrals_in_a_row = received(message));
    })?;
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
