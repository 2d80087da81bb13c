//! The queue of a processor.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use model::{JobId, JobMessage, Partition};
use ports::{JobQueue, PortError};

use crate::error::port_error;

/// [`JobQueue`] on SQS.
pub struct SqsJobQueue {
    pub(crate) client: Client,
    pub(crate) url: String,
}

#[async_trait]
impl JobQueue for SqsJobQueue {
    async fn send(&self, partition: &Partition, id: &JobId) -> Result<(), PortError> {
        // The trace of the invocation that is under way, so that the processor's is found from it: the runtime sets it
        // anew for every invocation.
        self.send_traced(partition, id, std::env::var("_X_AMZN_TRACE_ID").ok()).await
    }
}

impl SqsJobQueue {
    /// Sends a message with a trace, and without it where SQS does not take that: no job waits for a trace.
    async fn send_traced(&self, partition: &Partition, id: &JobId, trace: Option<String>) -> Result<(), PortError> {
        let sending = |trace: Option<String>| {
            let trace = trace.and_then(|trace| {
                let trace =
                    MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build().ok()?;
                Some(HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)]))
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
        };
        let is_traced = trace.is_some();
        match sending(trace).await {
            Err(error) if is_traced && error.code().is_some_and(|code| code.starts_with("Invalid")) => {
                tracing::warn!(job_id = %id, "message is refused: send it without its trace");
                sending(None).await
            }
            sent => sent,
        }
        .map(|_| ())
        .map_err(|error| port_error("send message", &error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use jiff::Timestamp;

    use super::*;

    /// A queue that takes no message with a trace; says how many calls there were.
    fn picky() -> (SqsJobQueue, std::thread::JoinHandle<Vec<bool>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut traced = Vec::new();
            while traced.last() != Some(&false) {
                let (mut stream, _) = listener.accept().unwrap();
                let mut call = Vec::new();
                let mut piece = [0; 4_096];
                while !call.ends_with(b"}") {
                    let read = stream.read(&mut piece).unwrap();
                    call.extend_from_slice(&piece[..read]);
                }
                let is_traced = String::from_utf8_lossy(&call).contains("AWSTraceHeader");
                let (status, body) = if is_traced {
                    ("400 Bad Request", r#"{"__type":"com.amazonaws.sqs#InvalidParameterValue","message":"no"}"#)
                } else {
                    ("200 OK", r#"{"MessageId":"1","MD5OfMessageBody":"0"}"#)
                };
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).unwrap();
                traced.push(is_traced);
            }
            traced
        });
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .region(Region::new("us-east-1"))
            .endpoint_url(&url);
        (SqsJobQueue { client: Client::from_conf(config.build()), url }, server)
    }

    #[tokio::test]
    async fn a_trace_that_is_refused_costs_no_message() {
        let (queue, server) = picky();
        let (partition, id) = ("clinic#test".parse().unwrap(), JobId::new(Timestamp::UNIX_EPOCH, 1));
        queue.send_traced(&partition, &id, Some("Root=1-a".to_owned())).await.unwrap();
        assert_eq!(server.join().unwrap(), [true, false]);
    }
}
