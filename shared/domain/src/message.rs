//! What goes through the queues.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Partition};

/// What a worker can be asked to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// A job.
    pub job_id: JobId,
    /// A segment of it, or the job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u8>,
}

impl From<&JobId> for Target {
    fn from(job_id: &JobId) -> Self {
        Self { job_id: job_id.clone(), segment: None }
    }
}

/// "Look at this": the item is the truth, the message only wakes a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMessage {
    /// The format's version.
    v: u32,
    /// Whose job.
    pub partition: Partition,
    /// What to look at.
    #[serde(flatten)]
    pub target: Target,
}

/// The message is none that this version understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// Not the JSON of a message.
    #[error("message cannot be read")]
    Unreadable,
    /// A message of a later version.
    #[error("message has unknown version {0}")]
    UnknownVersion(u32),
}

impl JobMessage {
    const VERSION: u32 = 1;

    /// A message about a job or a segment.
    #[must_use]
    pub fn new(partition: Partition, target: Target) -> Self {
        Self { v: Self::VERSION, partition, target }
    }

    /// The message's text.
    #[must_use]
    pub fn encode(&self) -> String {
        // A struct of strings and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a message's text.
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
        assert_eq!(message.target.segment, None);
        let segment = text.replace('}', r#","segment":3}"#).replacen(r#","segment":3}"#, "}", 1);
        assert_eq!(JobMessage::decode(&segment).unwrap().target.segment, Some(3));
        assert_eq!(JobMessage::decode(&segment).unwrap().encode(), segment);
    }
}
