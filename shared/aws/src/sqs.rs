//! The queues of the processors.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use domain::ports::{JobQueue, PortError};
use domain::{JobMessage, JobType, Partition, Target};

use crate::error::{port_error, unreadable};

/// [`JobQueue`] on SQS: one queue of imports, one of exports.
pub struct SqsJobQueue {
    client: Client,
    imports_url: Option<String>,
    exports_url: Option<String>,
}

impl SqsJobQueue {
    pub(crate) fn new(client: Client, imports_url: Option<String>, exports_url: Option<String>) -> Self {
        Self { client, imports_url, exports_url }
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
    async fn send(&self, partition: &Partition, target: &Target, job_type: JobType) -> Result<(), PortError> {
        const OPERATION: &str = "send message";
        let url = match job_type {
            JobType::Import => &self.imports_url,
            JobType::Export => &self.exports_url,
        };
        let url = url.as_ref().ok_or_else(|| unreadable(OPERATION, "no queue for this type of job"))?;
        let trace = trace().map(|trace| {
            std::collections::HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)])
        });
        self.client
            .send_message()
            .queue_url(url)
            .message_body(JobMessage::new(partition.clone(), target.clone()).encode())
            // Fair queues: tenants take turns
            // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
            .message_group_id(partition.tenant.as_str())
            .set_message_system_attributes(trace)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| port_error(OPERATION, &error))
    }
}
