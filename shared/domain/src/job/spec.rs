//! What a job is about.

use std::slice;

use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};

use crate::object_key::ObjectKey;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobSpec {
    /// Read NDJSON of one type into the record store.
    Import {
        /// The type of every record.
        resource_type: ResourceType,
        /// Where the NDJSON stands.
        source: ImportSource,
    },
    /// Write records to one NDJSON file.
    Export {
        /// The types asked for, each once.
        resource_types: Vec<ResourceType>,
        /// Only what was created or updated at this moment or later.
        since: Option<Timestamp>,
    },
}

impl JobSpec {
    /// The types it is about.
    #[must_use]
    pub fn resource_types(&self) -> &[ResourceType] {
        match self {
            Self::Import { resource_type, .. } => slice::from_ref(resource_type),
            Self::Export { resource_types, .. } => resource_types,
        }
    }
}

/// Where the NDJSON of an import stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ImportSource {
    /// It came with the call: its lines are counted and reserved.
    Inline {
        /// Where the API function has put it.
        key: ObjectKey,
    },
    /// The client has uploaded it: a processor counts it, and reserves its records in the month.
    Upload {
        /// Where it was uploaded to.
        key: ObjectKey,
        /// The content that was there when the job was accepted; no other is read.
        etag: String,
        /// The month's limit that its records must fit, if any refuses.
        month_limit: Option<u64>,
    },
}

impl ImportSource {
    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Inline { key } | Self::Upload { key, .. } => key,
        }
    }
}

/// Whether a job is an import or an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobType {
    /// See [`JobSpec::Import`].
    Import,
    /// See [`JobSpec::Export`].
    Export,
}

impl JobType {
    /// The type's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}
