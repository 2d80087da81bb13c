//! What goes through the queues.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition};

/// "Look at this job": the item is the truth, the message only wakes a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMessage {
    /// The format's version.
    v: u32,
    pub partition: Partition,
    pub job_id: JobId,
}

/// The message is none that this version understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    #[error("message cannot be read")]
    Unreadable,
    #[error("message has unknown version {0}")]
    UnknownVersion(u32),
}

impl JobMessage {
    const VERSION: u32 = 1;

    #[must_use]
    pub fn new(partition: Partition, job_id: JobId) -> Self {
        Self { v: Self::VERSION, partition, job_id }
    }

    #[must_use]
    pub fn encode(&self) -> String {
        // A struct of strings and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn decode(text: &str) -> Result<Self, InvalidMessage> {
        let message: Self = serde_json::from_str(text).map_err(|_| InvalidMessage::Unreadable)?;
        if message.v == Self::VERSION { Ok(message) } else { Err(InvalidMessage::UnknownVersion(message.v)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let text =
            r#"{"v":1,"partition":{"tenant":"clinic","environment":"test"},"jobId":"job_00000000000000000000000000"}"#;
        let message = JobMessage::decode(text).unwrap();
        assert_eq!(message.encode(), text);
        assert_eq!(JobMessage::decode(&text.replace(":1", ":2")), Err(InvalidMessage::UnknownVersion(2)));
        assert_eq!(JobMessage::decode("{}"), Err(InvalidMessage::Unreadable));
    }
}
