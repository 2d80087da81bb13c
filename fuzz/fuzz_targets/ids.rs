//! What is parsed is said again as it came, and no id or key can carry a separator into another's place.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use model::{ApiKey, IdempotencyKey, JobId, JobMessage, Partition, TenantId, UploadId};
use libfuzzer_sys::fuzz_target;
use records::{RecordId, ResourceType};

fn says_itself<T: FromStr + Display>(text: &str, separators: &[char]) {
    if let Ok(id) = text.parse::<T>() {
        assert_eq!(id.to_string(), text);
        assert!(text.is_ascii() && !text.is_empty() && !text.contains(separators));
    }
}

fuzz_target!(|text: &str| {
    says_itself::<TenantId>(text, &['#', '/', '%', '.']);
    says_itself::<JobId>(text, &['#', '/', '%', '.']);
    says_itself::<UploadId>(text, &['#', '/', '%', '.']);
    says_itself::<Partition>(text, &['/', '%', '.']);
    says_itself::<ResourceType>(text, &['#', '/', '%', '.']);
    if let Ok(id) = RecordId::try_from(text.to_owned()) {
        assert!(id.as_str() == text && text.len() <= 64 && !text.contains(['#', '/']));
    }
    if let Ok(key) = text.parse::<ApiKey>() {
        assert_eq!(key.reveal(), text);
    }
    let _key = IdempotencyKey::parse(text.as_bytes());
    if let Ok(message) = JobMessage::decode(text) {
        assert_eq!(JobMessage::decode(&message.encode()), Ok(message));
    }
});
