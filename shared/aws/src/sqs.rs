//! The queue of a processor.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use model::{JobId, JobMessage, Partition};
use ports::{JobQueue, PortError};

use crate::error::port_error;

/// [`JobQueue`] on SQS.
pub struct SqsJobQueue {
    client: Client,
    url: String,
}

impl SqsJobQueue {
    pub(crate) fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }
}

/// The trace of the invocation that is under way, so that the processor's is found from it.
fn trace() -> Option<MessageSystemAttributeValue> {
    // The runtime sets it anew for every invocation.
    let trace = std::env::var("_X_AMZN_TRACE_ID").ok()?;
    MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build().ok()
}

#[async_trait]
impl JobQueue for SqsJobQueue {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        let trace = trace().map(|trace| {
            std::collections::HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)])
        });
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(JobMessage::new(partition.clone(), id.clone()).encode())
            // Fair queues prefer tenants that use little
            // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
            .message_group_id(partition.tenant.as_str())
            .set_message_system_attributes(trace)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| port_error("send message", &error))
    }
}
